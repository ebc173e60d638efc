//! Doors: carries the engine's orders to whatever can be opened, and the answers back.
//!
//! Doors in the packet filter have a thread of their own, since the kernel may keep it waiting; commands run as child
//! processes. Either gets an [`Order`] and answers with a receipt, both plain values, so that each can become a process of
//! its own with fewer privileges than this one.

use std::collections::HashSet;
use std::time::Duration;

use postern_config::{Config, DoorKind};
use postern_core::{
    Again, DoorId, DoorPolicy, DoorsTable, Durability, Event, GuardDoor, Listing, NetDoor, OpeningKey,
    OpeningNote, Order, OrderLimits, Posture, Release, RuleId,
};
use postern_doorman::{DoormanEvent, NotedOrder};
use postern_link::NotInPlace;
use postern_runner::{Journal, JournalRecord, RunnerEvent};
use tokio::sync::oneshot;

use crate::command_doors::{CommandDoors, RecordedOpening};
use crate::main_loop_event::MainLoopEvent;
use crate::net_doors::{DoorsReply, NetDoors};
use crate::origin::Numbers;
use crate::plan::{DoorNumbers, Plan};
use crate::remote_runner::RemoteRunnerEvent;

/// There is no answer any more.
const GONE: &str = "the thread of the packet filter has ended";

/// All doors, by number.
pub(crate) struct Doors {
    net: Box<dyn NetDoors>,
    commands: Box<dyn CommandDoors>,
    numbers: DoorNumbers,
    /// Doors whose commands are knockd's, of all plans.
    shell: HashSet<DoorId>,
    /// The newest plan's part for the packet filter.
    in_place: Option<DoorsTable>,
}

impl Doors {
    /// Without any door and without a journal so far.
    pub(crate) fn start(net: Box<dyn NetDoors>, commands: Box<dyn CommandDoors>) -> Self {
        Self { net, commands, numbers: DoorNumbers::default(), shell: HashSet::new(), in_place: None }
    }

    /// Writes down in this journal what commands open from now on, if there was none.
    pub(crate) fn use_journal(&self, journal: Journal) {
        self.commands.use_journal(journal);
    }

    /// Takes over what an earlier run opened and could not close; what the engine must know of it.
    pub(crate) fn inherit(&mut self, row: u64, record: JournalRecord) -> Event {
        let door = self.numbers.next();
        let (client, remaining) = (record.client, record.remaining());
        let (policy, note) = (policy_of_recorded(&record.door, remaining), record.note.clone());
        self.commands.inherit(OpeningKey { door, client, occurrence: 0 }, row, record);
        Event::Inherited { door, policy, client, remaining, note }
    }

    /// Numbers the doors of a configuration, unless they have `numbers`, and says what its rules may do with them.
    pub(crate) fn plan(&mut self, config: &Config, numbers: Option<&Numbers>) -> Plan {
        self.numbers.plan_numbered(config, numbers)
    }

    /// Closes what could be read of guard doors, before anything else is known of the configuration. They cannot be opened yet, and
    /// ports that were guarded before stay so.
    pub(crate) fn guard(
        &self,
        guards: &[GuardDoor],
    ) -> impl Future<Output = Result<Posture, NotInPlace>> + use<> {
        let doors = guards.iter().cloned().map(NetDoor::Guard);
        // No order is for one of these.
        let limits = OrderLimits { longest: Duration::ZERO, most_openings: 0, orders_per_second: 0 };
        let doors = (0..).map(DoorId).zip(doors).collect();
        self.put_in_place(&DoorsTable { number: 0, doors, limits }, Release::Later)
    }

    /// Puts the doors of a plan in place, from now on; what comes of it is known later. If it fails nothing has changed.
    pub(crate) fn apply(
        &mut self,
        plan: &Plan,
        release: Release,
    ) -> impl Future<Output = Result<Posture, NotInPlace>> + use<> {
        self.commands.follow(plan);
        let is_shell = |kind: &DoorKind| matches!(kind, DoorKind::Shell(_));
        self.shell.extend(plan.doors.iter().filter(|(_, kind)| is_shell(kind)).map(|(id, _)| *id));
        let table = plan.doors_table();
        let answer = self.put_in_place(&table, release);
        self.in_place = Some(table);
        answer
    }

    /// Puts the doors of the newest plan in place once more, and releases ports that none of them guards.
    pub(crate) fn let_go(&self) -> impl Future<Output = Result<Posture, NotInPlace>> + use<> {
        let answer = self.in_place.as_ref().map(|table| self.put_in_place(table, Release::Now));
        async { answer.ok_or_else(|| NotInPlace::failed("no doors are in place so far"))?.await }
    }

    /// What is open in the packet filter, from this run or an earlier one.
    pub(crate) fn list(&self) -> impl Future<Output = Result<Listing, String>> + use<> {
        let (reply, answer) = oneshot::channel();
        // If the caller does not wait any more, the answer is not needed.
        self.net.list(Box::new(|listing| drop(reply.send(listing))));
        async { answer.await.map_err(|_| GONE.to_owned())? }
    }

    /// Asks how many packets came through an opening; none of a command door.
    pub(crate) fn packets(&self, key: OpeningKey, reply: DoorsReply<Option<u64>>) {
        match self.commands.has(key.door) {
            true => reply(None),
            false => self.net.packets(key.door, key.client, reply),
        }
    }

    /// Asks whether the packet filter's thread and the kernel answer; nothing is changed.
    pub(crate) fn probe(&self, reply: impl FnOnce(Result<(), String>) + Send + 'static) {
        self.net.probe(Box::new(reply));
    }

    /// Has a door carry out an order; one of the packet filter keeps the note with what it opens. Its receipt comes as an event of the main
    /// loop, also if the order fails.
    pub(crate) fn carry_out(&mut self, order: Order, rule: Option<&RuleId>, door: &str, note: OpeningNote) {
        match self.commands.has(order.door) {
            true => self.commands.carry_out(order, rule, door),
            false => self.net.carry_out(NotedOrder { order, note }),
        }
    }

    /// Has the journal write down how to close an opening of a command door, and whose it is. The answer comes as a [`MainLoopEvent::Recorded`].
    pub(crate) fn record(&self, opening: RecordedOpening, rule: &RuleId, door: &str) {
        self.commands.record(opening, rule, door);
    }

    /// Whether the commands of a door are run as knockd runs them.
    pub(crate) fn is_shell(&self, door: DoorId) -> bool {
        self.shell.contains(&door)
    }

    /// Strikes out of the journal an opening that was recorded and will not be ordered.
    pub(crate) fn strike_out(&self, key: OpeningKey) {
        self.commands.strike_out(key);
    }

    /// Notes in the journal for how long an opening lasts from now, and whose it is.
    pub(crate) fn note(&self, key: OpeningKey, lasts: Duration, note: OpeningNote) {
        self.commands.note(key, lasts, note);
    }

    /// Keeps the journal's entry of an opening that the engine does not try to close any more.
    pub(crate) fn abandon(&self, key: OpeningKey) {
        self.commands.abandon(key);
    }

    /// How many openings of command doors were given up and are still open.
    pub(crate) fn abandoned(&self) -> usize {
        self.commands.abandoned()
    }

    /// Ends the thread of the packet filter, and has the journal written. Everything that is open there stays open for its time.
    pub(crate) fn stop(&mut self) {
        self.net.stop();
        self.commands.flush();
    }

    fn put_in_place(
        &self,
        table: &DoorsTable,
        release: Release,
    ) -> impl Future<Output = Result<Posture, NotInPlace>> + use<> {
        let (reply, answer) = oneshot::channel();
        self.net.put_in_place(table, release, Box::new(|posture| drop(reply.send(posture))));
        async { answer.await.map_err(|_| NotInPlace::failed(GONE))? }
    }
}

impl From<DoormanEvent> for MainLoopEvent {
    fn from(event: DoormanEvent) -> Self {
        match event {
            DoormanEvent::Answered(receipt) => Self::Answered(receipt),
            DoormanEvent::RulesetChanged(listing) => Self::RulesetChanged(listing),
            DoormanEvent::CameIn(door, client) => Self::CameIn { door, client },
        }
    }
}

impl From<RemoteRunnerEvent> for MainLoopEvent {
    fn from(event: RemoteRunnerEvent) -> Self {
        match event {
            RemoteRunnerEvent::Runner(event) => event.into(),
            RemoteRunnerEvent::HandedOver { key, remaining, name, note } => {
                Self::HandedOver { key, remaining, name, note }
            }
        }
    }
}

impl From<RunnerEvent> for MainLoopEvent {
    fn from(event: RunnerEvent) -> Self {
        match event {
            RunnerEvent::Answered(receipt) => Self::Answered(receipt),
            RunnerEvent::Recorded { serial, result } => Self::Recorded { serial, result },
        }
    }
}

/// What there is to know of a door of which only the journal knows.
pub(crate) fn policy_of_recorded(name: &str, remaining: Duration) -> DoorPolicy {
    DoorPolicy {
        name: name.into(),
        lasts: remaining,
        keeps_time: false,
        // It is in the journal, and is never opened.
        durability: Durability::None,
        again: Again::Extend,
        prefixes: Vec::new(),
        takes_links: true,
    }
}
