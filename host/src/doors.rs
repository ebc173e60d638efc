//! Doors: carries the engine's orders to whatever can be opened, and the answers back.
//!
//! Doors in the packet filter have a thread of their own, since the kernel may keep it waiting; commands run as child
//! processes. Either gets an [`Order`] and answers with a receipt, both plain values, so that each can become a process of
//! its own with fewer privileges than this one.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use postern_capture::Shown;
use postern_config::{Config, DoorKind};
use postern_core::{
    Again, ConfigIdentity, DoorId, DoorPolicy, DoorsTable, Durability, Event, GuardDoor, Listing, NetDoor,
    Observer, OpeningKey, Order, OrderLimits, Posture, Release, RuleId,
};
use postern_doorman::{DoormanEvent, DoormanHandle};
use postern_link::NotInPlace;
use postern_runner::{Call, Commands, Journal, JournalRecord, Runner, RunnerEvent};
use tokio::sync::oneshot;

use crate::kept_socket;
use crate::main_loop_event::{MainLoopEvent, MainLoopSender};
use crate::net_doors::NetDoors;
use crate::origin::Numbers;
use crate::plan::{DoorNumbers, Plan};
use crate::systemd::ServiceManager;

/// There is no answer any more.
const GONE: &str = "the thread of the packet filter has ended";

/// All doors, by number.
pub(crate) struct Doors {
    net: Box<dyn NetDoors>,
    runner: Runner,
    numbers: DoorNumbers,
    commands: HashMap<DoorId, Commands>,
    /// The newest plan's part for the packet filter.
    in_place: Option<DoorsTable>,
}

impl Doors {
    /// Starts without any door and without a journal. Ports are guarded for the configuration that `identity` names; without one none is.
    pub(crate) fn start(
        sender: MainLoopSender,
        observer: Arc<dyn Observer>,
        identity: Option<ConfigIdentity>,
    ) -> io::Result<Self> {
        let net = {
            let sender = sender.clone();
            let tell = move |event| sender.send(MainLoopEvent::from(event)).is_ok();
            // Who guards nothing owns no table.
            let socket =
                identity.as_ref().and_then(|_| kept_socket::take_or_open(&ServiceManager::of_this_process()));
            DoormanHandle::start(tell, Arc::clone(&observer), identity, socket)?
        };
        Ok(Self {
            net: Box::new(net),
            runner: Runner::new(move |event| sender.send(MainLoopEvent::from(event)).is_ok(), observer),
            numbers: DoorNumbers::default(),
            commands: HashMap::new(),
            in_place: None,
        })
    }

    /// Writes down in this journal what commands open from now on, if there was none.
    pub(crate) fn use_journal(&self, journal: Journal) {
        self.runner.use_journal(journal);
    }

    /// Takes over what an earlier run opened and could not close; what the engine must know of it.
    pub(crate) fn inherit(&mut self, row: u64, record: JournalRecord) -> Event {
        let door = self.numbers.next();
        let (client, remaining) = (record.client, record.remaining());
        let name = record.door.as_str().into();
        let policy = DoorPolicy {
            name,
            lasts: remaining,
            keeps_time: false,
            // It is in the journal, and is never opened.
            durability: Durability::None,
            again: Again::Extend,
            prefixes: Vec::new(),
            takes_links: true,
        };
        self.commands.insert(door, Commands::Recorded(Arc::new(record.clone())));
        self.runner.inherit(OpeningKey { door, client, occurrence: 0 }, row, record);
        Event::Inherited { door, policy, client, remaining }
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
        // Commands of doors that are gone stay: something may still be open that only they can close.
        let commands = plan.doors.iter().filter_map(|(id, kind)| Some((*id, commands_of(kind)?)));
        self.commands.extend(commands);
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

    /// Asks whether the packet filter's thread and the kernel answer; nothing is changed.
    pub(crate) fn probe(&self, reply: impl FnOnce(Result<(), String>) + Send + 'static) {
        self.net.probe(Box::new(reply));
    }

    /// Has a door carry out an order. Its receipt comes as an event of the main loop, also if the order fails.
    pub(crate) fn carry_out(&mut self, order: Order, rule: Option<&RuleId>, door: &str) {
        match self.commands.get(&order.door) {
            Some(commands) => {
                let Order { serial, door: id, client, occurrence, act } = order;
                let (key, shown) = (OpeningKey { door: id, client, occurrence }, Shown(client));
                self.runner.run(commands, serial, act, &Call { key, rule, door, client: &shown });
            }
            None => self.net.carry_out(order),
        }
    }

    /// Has the journal write down how to close an opening of a command door that will last so long. The answer comes as a
    /// [`MainLoopEvent::Recorded`].
    pub(crate) fn record(&self, serial: u64, key: OpeningKey, lasts: Duration, rule: &RuleId, door: &str) {
        if let Some(commands) = self.commands.get(&key.door) {
            let shown = Shown(key.client);
            let call = Call { key, rule: Some(rule), door, client: &shown };
            self.runner.record(commands, serial, lasts, &call);
        }
    }

    /// Strikes out of the journal an opening that was recorded and will not be ordered.
    pub(crate) fn strike_out(&self, key: OpeningKey) {
        self.runner.strike_out(key);
    }

    /// Notes in the journal for how long an opening lasts from now.
    pub(crate) fn note(&self, key: OpeningKey, lasts: Duration) {
        self.runner.note(key, lasts);
    }

    /// Keeps the journal's entry of an opening that the engine does not try to close any more.
    pub(crate) fn abandon(&self, key: OpeningKey) {
        self.runner.abandon(key);
    }

    /// How many openings of command doors were given up and are still open.
    pub(crate) fn abandoned(&self) -> usize {
        self.runner.abandoned()
    }

    /// Ends the thread of the packet filter, and has the journal written. Everything that is open there stays open for its time.
    pub(crate) fn stop(&mut self) {
        self.net.stop();
        self.runner.flush();
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

/// The commands of a door; none if no command opens it.
fn commands_of(door: &DoorKind) -> Option<Commands> {
    match door {
        DoorKind::Net(_) => None,
        DoorKind::Command(door) => Some(Commands::Argv(Arc::new(door.clone()))),
        DoorKind::Shell(door) => Some(Commands::Shell(Arc::new(door.clone()))),
    }
}
