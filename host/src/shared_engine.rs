//! SharedEngine: the engine behind a lock, and what carries out its actions.
//!
//! Judging threads come here themselves, so that a verdict is an order to a door before any other thread is woken. The main loop comes with
//! everything that is not urgent: answers of doors, deadlines, reloads. The engine decides; here events are handed in and actions carried out,
//! and nothing waits for anything but the lock.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use postern_config::Config;
use postern_core::{
    Action, ClaimKind, Client, Engine, Event, Listing, ModuleDigest, Moment, Observer, Opening, OpeningKey,
    OpeningPart, OpeningState, Policy, Posture, Release, Report, RuleId, TenantId, What,
};
use postern_ledger::{Answer, Ledger};
use postern_link::NotInPlace;
use postern_runner::{Journal, JournalRecord};
use postern_text::panic::PastPanic;

use crate::clock::Clock;
use crate::command_doors::RecordedOpening;
use crate::doors::Doors;
use crate::net_doors::DoorsReply;
use crate::one_time::OneTimeLines;
use crate::origin::Numbers;
use crate::plan::Plan;

/// The engine, and what carries out its actions.
pub(crate) struct SharedEngine {
    locked: Mutex<Locked>,
    clock: Clock,
    /// Claims that the ledger recorded, and those that it refused.
    claims: [AtomicU64; 2],
    /// How often the ledger wrote to the disk, and how many microseconds that took.
    commits: [AtomicU64; 2],
    ruleset_changes: AtomicU64,
}

/// Openings that are looked at while a knock may wait.
const AT_ONCE: usize = 256;

/// What one owner of rules has of an opening, for whoever asks what is open.
pub(crate) struct OpenDoor {
    pub(crate) key: OpeningKey,
    /// The door's name.
    pub(crate) door: Arc<str>,
    pub(crate) state: OpeningState,
    /// The owner's rule that opened it last; none if it was found open.
    pub(crate) rule: Option<RuleId>,
    /// What that rule runs now.
    pub(crate) module: Option<ModuleDigest>,
    /// For how long by now; none if it is not open, or was found open.
    pub(crate) open_for: Option<Duration>,
    /// For how long from now.
    pub(crate) left: Duration,
}

impl OpenDoor {
    fn of(engine: &Engine, key: OpeningKey, opening: &Opening, part: &OpeningPart, now: Moment) -> Self {
        Self {
            key,
            door: engine.door_name(key.door),
            state: opening.state,
            rule: part.rule.clone(),
            module: part.rule.as_ref().and_then(|rule| engine.module(rule)),
            open_for: part.since.map(|since| now.since(since)),
            left: part.until.since(now),
        }
    }
}

struct Locked {
    engine: Engine,
    doors: Doors,
    ledger: Box<dyn Ledger>,
    one_time: OneTimeLines,
    observer: Arc<dyn Observer>,
}

impl SharedEngine {
    /// Begins with the doors of `plan` for generation 1.
    pub(crate) fn new(
        doors: Doors,
        ledger: Box<dyn Ledger>,
        one_time: OneTimeLines,
        plan: &Plan,
        clock: Clock,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let engine = Engine::new(Arc::clone(&plan.policy));
        limit_lines(&*observer, &plan.policy);
        let locked = Locked { engine, doors, ledger, one_time, observer };
        Self {
            locked: Mutex::new(locked),
            clock,
            claims: Default::default(),
            commits: Default::default(),
            ruleset_changes: AtomicU64::new(0),
        }
    }

    /// Hands an event to the engine.
    pub(crate) fn handle(&self, event: Event) {
        self.lock().handle(event, self.clock);
    }

    /// An answer of the ledger: to a claim that the engine made, or about the ledger itself.
    pub(crate) fn ledger_said(&self, answer: Answer) {
        let what = match answer {
            Answer::Claimed { serial, result } => {
                self.claims[usize::from(result.is_err())].fetch_add(1, Ordering::Relaxed);
                return self.handle(Event::Claimed { serial, result });
            }
            Answer::Committed { took } => {
                let [commits, micros] = &self.commits;
                commits.fetch_add(1, Ordering::Relaxed);
                micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
                return;
            }
            Answer::Fails(detail) => What::LedgerUnusable { detail: detail.into() },
            Answer::Works(path) => What::LedgerUsable { path: path.into() },
        };
        let observer = Arc::clone(&self.lock().observer);
        observer.report(&Report::new(what));
    }

    /// How many claims the ledger recorded so far, and how many it refused.
    pub(crate) fn claims(&self) -> (u64, u64) {
        let [recorded, refused] = &self.claims;
        (recorded.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
    }

    /// How often the ledger wrote to the disk so far, and how long that took in all.
    pub(crate) fn commits(&self) -> (u64, Duration) {
        let [commits, micros] = &self.commits;
        (commits.load(Ordering::Relaxed), Duration::from_micros(micros.load(Ordering::Relaxed)))
    }

    /// Another program changed the packet filter, or it was read back for another reason; this is what is open now.
    pub(crate) fn ruleset_changed(&self, open: Listing) {
        self.ruleset_changes.fetch_add(1, Ordering::Relaxed);
        self.handle(Event::Listed(open));
    }

    /// How often that was so.
    pub(crate) fn ruleset_changes(&self) -> u64 {
        self.ruleset_changes.load(Ordering::Relaxed)
    }

    /// Does what is due.
    pub(crate) fn handle_deadline(&self) {
        let mut locked = self.lock();
        let actions = locked.engine.handle_deadline(self.clock.now());
        locked.carry_out(actions);
    }

    /// When something is due. A request of a judging thread changes that only when its answer comes, and that wakes the main loop; a claim
    /// or a record without an answer is forgotten when the loop wakes next, and opens nothing before.
    pub(crate) fn next_deadline(&self) -> Option<std::time::Instant> {
        self.lock().engine.next_deadline().and_then(|moment| self.clock.instant(moment))
    }

    /// The number of the generation in force.
    pub(crate) fn generation(&self) -> u64 {
        self.lock().engine.generation()
    }

    /// Whether any rule opens nothing at the moment because its file is gone.
    pub(crate) fn has_suspended(&self) -> bool {
        self.lock().engine.has_suspended()
    }

    /// Rules that open nothing at the moment because their files are gone.
    pub(crate) fn suspended(&self) -> HashSet<RuleId> {
        self.lock().engine.suspended().clone()
    }

    /// What an owner of rules has of at most so many openings that it has a part of, from the one behind `after` on, and the last of these
    /// openings; of all openings what everybody has, if no owner is named. Whoever wants all of them asks again and again, so that no knock
    /// waits for it.
    pub(crate) fn openings_after(
        &self,
        owner: Option<&TenantId>,
        after: Option<OpeningKey>,
        most: usize,
    ) -> (Vec<OpenDoor>, Option<OpeningKey>) {
        let (locked, now) = (self.lock(), self.clock.now());
        let engine = &locked.engine;
        let (mut doors, mut last) = (Vec::new(), None);
        let mut take = |(key, opening): (OpeningKey, &Opening)| {
            let parts = opening.parts().iter().filter(|part| owner.is_none_or(|owner| part.is_of(owner)));
            doors.extend(parts.map(|part| OpenDoor::of(engine, key, opening, part, now)));
            last = Some(key);
        };
        match owner {
            Some(owner) => engine.openings_of_tenant(owner, after).take(most).for_each(&mut take),
            None => engine.openings_after(after).take(most).for_each(&mut take),
        }
        (doors, last)
    }

    /// How many openings each door has that are open now. No knock waits for all of it.
    pub(crate) fn open_by_door(&self) -> HashMap<Arc<str>, u64> {
        let mut open = HashMap::new();
        let mut after = None;
        loop {
            let locked = self.lock();
            let before = after;
            for (key, opening) in locked.engine.openings_after(after).take(AT_ONCE) {
                after = Some(key);
                if opening.state == OpeningState::Open {
                    *open.entry(key.door).or_default() += 1;
                }
            }
            if after == before {
                return open
                    .into_iter()
                    .map(|(door, count)| (locked.engine.door_name(door), count))
                    .collect();
            }
        }
    }

    /// What everybody has of the openings for this client, of whatever door.
    pub(crate) fn openings_of(&self, client: Client) -> Vec<OpenDoor> {
        let (locked, now) = (self.lock(), self.clock.now());
        let engine = &locked.engine;
        let parts = |(key, opening): (OpeningKey, &Opening)| {
            opening
                .parts()
                .iter()
                .map(move |part| OpenDoor::of(engine, key, opening, part, now))
                .collect::<Vec<_>>()
        };
        engine.openings_of(client).flat_map(parts).collect()
    }

    /// How many openings there are.
    pub(crate) fn open(&self) -> usize {
        self.lock().engine.openings_count()
    }

    /// How many openings an owner of rules has a part of; how many parts all of them have, if none is named.
    pub(crate) fn parts_of(&self, owner: Option<&TenantId>) -> usize {
        let locked = self.lock();
        owner.map_or_else(|| locked.engine.parts_count(), |owner| locked.engine.tenants_count(owner))
    }

    /// Writes down in this journal what commands open from now on, if there was none.
    pub(crate) fn use_journal(&self, journal: Journal) {
        self.lock().doors.use_journal(journal);
    }

    /// Takes over what an earlier run opened and could not close.
    pub(crate) fn inherit(&self, row: u64, record: JournalRecord) {
        let mut locked = self.lock();
        let event = locked.doors.inherit(row, record);
        locked.handle(event, self.clock);
    }

    /// A configuration's doors.
    pub(crate) fn plan(&self, config: &Config, numbers: Option<&Numbers>) -> Plan {
        self.lock().doors.plan(config, numbers)
    }

    /// Puts the doors of a plan in place, from now on. If that fails nothing has changed.
    pub(crate) fn apply(
        &self,
        plan: &Plan,
        release: Release,
    ) -> impl Future<Output = Result<Posture, NotInPlace>> + use<> {
        self.lock().doors.apply(plan, release)
    }

    /// Puts the doors in force in place once more, and releases ports that none of them guards.
    pub(crate) fn let_go(&self) -> impl Future<Output = Result<Posture, NotInPlace>> + use<> {
        self.lock().doors.let_go()
    }

    /// What is open in the packet filter, from this run or an earlier one.
    pub(crate) fn list(&self) -> impl Future<Output = Result<Listing, String>> + use<> {
        self.lock().doors.list()
    }

    /// Has the doorman say how many packets came through openings, as [`crate::net_doors::NetDoors::packets`]; nobody waits for that here. A reply
    /// must not come back here: the lock is held.
    pub(crate) fn packets(&self, asked: Vec<(OpeningKey, DoorsReply<Option<u64>>)>) {
        let locked = self.lock();
        asked.into_iter().for_each(|(key, reply)| locked.doors.packets(key, reply));
    }

    /// Has the doorman answer a probe, to see that the engine's lock is free and the doorman works. `is_in` is called as soon as the engine
    /// has it; the answer is dropped if the doorman's thread has ended.
    pub(crate) fn probe(
        &self,
        is_in: impl FnOnce(),
        reply: impl FnOnce(Result<(), String>) + Send + 'static,
    ) {
        let locked = self.lock();
        is_in();
        locked.doors.probe(reply);
    }

    /// Goes on with the next generation, whose doors are in place; its number.
    pub(crate) fn replace(&self, plan: Plan, config: &Config) -> u64 {
        let mut locked = self.lock();
        let Plan { table, policy, .. } = plan;
        limit_lines(&*locked.observer, &policy);
        locked.handle(Event::PolicyChanged(policy), self.clock);
        let generation = locked.engine.generation();
        locked.one_time.replace(generation, table, config);
        generation
    }

    /// Whether every order was answered and no door is left that stays open until this daemon closes it.
    pub(crate) fn is_tidy(&self) -> bool {
        let locked = self.lock();
        locked.engine.is_settled() && locked.engine.left_to_close() == 0
    }

    /// How many doors are open, and how many of them the operator must close by hand. Doors in the packet filter stay open for their time.
    pub(crate) fn close(&self) -> (usize, usize) {
        let mut locked = self.lock();
        locked.doors.stop();
        let untidy = locked.engine.left_to_close() + locked.doors.abandoned();
        (locked.engine.openings().count(), untidy)
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().past_panic()
    }
}

impl Locked {
    fn handle(&mut self, event: Event, clock: Clock) {
        let actions = self.engine.handle(event, clock.now());
        self.carry_out(actions);
    }

    /// Orders come first: reports are for people, who can wait.
    fn carry_out(&mut self, actions: Vec<Action>) {
        let mut reports = Vec::new();
        for action in actions {
            match action {
                Action::Order { order, rule, note } => {
                    let door = self.engine.door_name(order.door);
                    self.doors.carry_out(order, rule.as_ref(), &door, note);
                }
                Action::Claim(claim) => match claim.what {
                    ClaimKind::Once(_) => self.ledger.claim(claim),
                    ClaimKind::Sequence { generation } => {
                        self.one_time.claim(claim.serial, &claim.rule, generation);
                    }
                },
                Action::Record { serial, key, rule, lasts, note } => {
                    let door = self.engine.door_name(key.door);
                    // Said now, as knockd does: the disk has no part in the order of its lines.
                    if self.doors.is_shell(key.door) {
                        let granted = Report::of_door(&door, What::Granted).with_client(key.client);
                        self.observer.report(&granted);
                    }
                    self.doors.record(RecordedOpening { serial, key, lasts, note }, &rule, &door);
                }
                Action::StrikeOut { key } => self.doors.strike_out(key),
                Action::Note { key, lasts, note } => self.doors.note(key, lasts, note),
                Action::Abandon { key } => self.doors.abandon(key),
                Action::Tell(report) => reports.push(report),
            }
        }
        reports.iter().for_each(|report| self.observer.report(report));
    }
}

/// Has the log hold each tenant's rules to what they may write.
fn limit_lines(observer: &dyn Observer, policy: &Policy) {
    for (tenant, limits) in &policy.tenants {
        observer.limit_lines(tenant, limits.log);
    }
}
