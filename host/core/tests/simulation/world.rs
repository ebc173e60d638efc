//! World: an engine, and everything around it that it hears from. What must hold is looked at whenever the engine has said something.

mod actions;
mod found;
mod heard;
mod invariants;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Act, Action, Client, DoorId, Durability, Engine, Event, Moment, Opening, OpeningKey, OpeningState,
    Receipt, Request, RuleId,
};

use crate::claims::{ClaimAnswer, Ledger, Mood};
use crate::commands::{Done, Row, Runner};
use crate::configuration::{DOORS, MAX_OPENINGS, Plan, RULES, SSH, Setup, client, inherited_policy, rule};
use crate::filter::{Filter, Said};
use crate::grants::{Asking, Grants, same_grant};
use crate::operation::{Ask, Kind, Operation};
use found::Parts;
use heard::Stories;

/// Longer than the engine waits for any answer.
const LONG: Duration = Duration::from_secs(60 * 3600);

/// What has no answer yet.
#[derive(Clone, Copy, Debug)]
enum Awaited {
    Record,
    OfFilter,
    /// For which door and client.
    Command(usize, Client),
}

pub(crate) struct World {
    engine: Engine,
    /// Since the beginning of the world.
    now: Duration,
    /// When the engine started.
    started: Duration,
    plan: Plan,
    plan_before: Plan,
    /// What is being put in place.
    next_plan: Option<Plan>,
    numbers: u32,
    /// What every number of a door ever meant; doors of earlier runs are what they were.
    doors: BTreeMap<DoorId, usize>,
    suspended: HashSet<RuleId>,
    is_stopping: bool,
    grants: Grants,
    /// What claims were made for.
    claims: BTreeMap<u64, Asking>,
    /// Orders and records that have no answer yet.
    awaited: BTreeMap<u64, Awaited>,
    /// Openings that the engine had recorded, and when; not when if they were being closed then, which takes its time.
    recorded: BTreeMap<OpeningKey, Option<Duration>>,
    /// Answers that came.
    heard: Vec<Event>,
    /// What each owner of rules was told.
    stories: Stories,
    /// What the next engine is to find in the packet filter, if nothing else happens before it looks.
    to_find: Option<Parts>,
    has_lost_answers: bool,
    filter: Filter,
    runner: Runner,
    ledger: Ledger,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut numbers = 0;
        let plan = Plan::new(Setup::WHOLE, None, &mut numbers);
        let mut world = Self {
            engine: Engine::new(plan.policy.clone()),
            now: Duration::from_secs(1000),
            started: Duration::ZERO,
            plan_before: plan.clone(),
            plan,
            next_plan: None,
            numbers,
            doors: BTreeMap::new(),
            suspended: HashSet::new(),
            is_stopping: false,
            grants: Grants::default(),
            claims: BTreeMap::new(),
            awaited: BTreeMap::new(),
            recorded: BTreeMap::new(),
            heard: Vec::new(),
            stories: Stories::default(),
            to_find: None,
            has_lost_answers: false,
            filter: Filter::new(),
            runner: Runner::new(),
            ledger: Ledger::new(),
        };
        world.start(world.plan.clone());
        world
    }

    pub(crate) fn perform(&mut self, operation: Operation) {
        let now = self.now;
        if !matches!(operation, Operation::Advance(_) | Operation::Stall(_)) {
            self.to_find = None;
        }
        match operation {
            Operation::Knock { client, rule, ask, is_stale } => {
                self.knock(Asking { client, rule, ask }, is_stale)
            }
            Operation::Advance(millis) => self.run_until(now + Duration::from_millis(millis)),
            Operation::Stall(millis) => self.now += Duration::from_millis(millis),
            Operation::Pace(kind, pace) => {
                self.has_lost_answers |= pace.is_none();
                let pace = pace.map(Duration::from_millis);
                match kind {
                    Kind::Filter => self.filter.pace = pace,
                    Kind::Command => self.runner.command_pace = pace,
                    Kind::Record => self.runner.record_pace = pace,
                    Kind::Claim => self.ledger.pace = pace,
                }
            }
            Operation::Fail { door: SSH, fails } => self.filter.fails = fails,
            Operation::Fail { door, fails } => self.runner.fails[door] = fails,
            Operation::Disk { is_full } => self.runner.disk_is_full = is_full,
            Operation::Claims(mood) => self.ledger.mood = mood,
            Operation::Repeat => {
                for event in self.heard.clone() {
                    let actions = self.ask_engine(event);
                    assert!(!actions.iter().any(begins), "an answer counted twice: {actions:?}");
                    self.carry_out(actions, None);
                }
            }
            Operation::Reload(setup) if self.next_plan.is_none() => {
                let plan = Plan::new(setup, Some(&self.plan), &mut self.numbers);
                self.know_doors(&plan);
                self.filter.put_in_place(plan.clone(), now);
                self.next_plan = Some(plan);
            }
            Operation::Reload(_) => {}
            Operation::Withdraw { rules, is_reloading } => self.withdraw(rules, is_reloading),
            Operation::Remove { client: removed } => self.filter.remove(client(removed), now),
            Operation::Flush => self.filter.flush(now),
            Operation::KillEngine { orders_live } => self.kill_engine(orders_live),
            Operation::KillDoorman { orders_live } => {
                self.filter.die(orders_live, now);
                self.was_late();
            }
            Operation::KillRunner { orders_live } => self.kill_runner(orders_live),
            Operation::Stop(millis) => {
                self.stop();
                self.run_until(now + Duration::from_millis(millis));
                self.kill_engine(true);
            }
        }
        self.run_until(self.now);
    }

    /// Nothing fails any more; in the end nothing is open, and nothing is left to do.
    pub(crate) fn calm_down(&mut self) {
        let at_once = Some(Duration::ZERO);
        (self.filter.pace, self.filter.fails) = (at_once, false);
        (self.runner.command_pace, self.runner.record_pace) = (at_once, at_once);
        (self.runner.fails, self.runner.disk_is_full) = ([false; DOORS.len()], false);
        (self.ledger.pace, self.ledger.mood) = (at_once, Mood::Well);
        // All that was slow.
        self.run_until(self.now + Duration::from_secs(15));
        self.filter.list(self.now);
        self.run_until(self.now);
        self.check_agreement();
        self.run_until(self.now + LONG);
        assert!(self.has_lost_answers || !self.runner.has_rows(), "something is recorded for ever");
        assert_eq!(self.engine.openings().collect::<Vec<_>>(), [], "it knows of openings for ever");
        assert_eq!(self.filter.open(self.now), 0, "open in the packet filter for ever");
        assert_eq!(self.runner.open().collect::<Vec<_>>(), [], "what commands opened is open for ever");
        assert!(self.has_lost_answers || self.engine.is_settled(), "it waits for ever");
        // What it gave up, and what it did not hear of, is closed at the next start.
        self.kill_engine(true);
        self.run_until(self.now + LONG);
        assert!(self.runner.is_empty(), "something is recorded and not closed at the next start");
        assert!(self.engine.is_settled() && self.engine.openings().count() == 0);
    }

    fn knock(&mut self, asking: Asking, is_stale: bool) {
        let Asking { client: source, rule: number, ask } = asking;
        let (rule, is_open) = (rule(number), matches!(ask, Ask::Open { .. }));
        let policy = &self.plan.policy;
        let grant = match is_stale {
            true => same_grant(&self.plan_before.policy, policy, &rule),
            false => policy.grants.get(&rule),
        };
        let grant = grant.filter(|_| !self.is_stopping && !self.suspended.contains(&rule));
        let (costs, granted) =
            (asking.costs(grant), grant.and_then(|grant| asking.granted(grant, &self.plan)));
        let request = match ask {
            Ask::Open { .. } => Request::Open(asking.open_request().into_iter().collect()),
            Ask::Close { .. } => Request::Close(asking.close_request().into_iter().collect()),
        };
        let generation = self.engine.generation() - u64::from(is_stale);
        let is_closing = |opening: &Opening| matches!(opening.state, OpeningState::Closing { .. });
        let before = self.engine.openings().filter(|(_, opening)| is_open && !is_closing(opening));
        let before: Vec<_> = before.map(|(key, opening)| (key, opening.until())).collect();
        let records = self.awaited.values().filter(|awaited| matches!(awaited, Awaited::Record)).count();
        let orders = self.awaited.len() - records;
        let event = Event::Judged { rule, generation, source: client(source), request };
        let actions = self.ask_engine(event);
        for (key, until) in before {
            let after = self.opening(key).map(Opening::until);
            assert!(after >= Some(until), "to open {key:?} again took time away");
        }
        if is_open && actions.iter().any(opens) {
            assert!(orders < MAX_OPENINGS, "{orders} orders were under way");
        }
        if is_open && actions.iter().any(|action| matches!(action, Action::Record { .. })) {
            assert!(records < MAX_OPENINGS, "{records} records were under way");
        }
        if let Some((door, client, lasts)) = granted.filter(|_| !costs) {
            self.grants.grant(door, client, lasts, self.now);
        } else if is_open {
            assert!(!actions.iter().any(opens), "{asking:?} was not granted: {actions:?}");
        }
        self.carry_out(actions, Some(asking));
        self.check();
    }

    fn claimed(&mut self, ClaimAnswer { serial, result }: ClaimAnswer) {
        let is_used = result.is_ok();
        let actions = self.hear_answer(Event::Claimed { serial, result });
        let asking = self.claims.remove(&serial);
        let opened = actions.iter().filter(|action| opens(action)).count();
        assert!(opened <= usize::from(is_used), "{opened} openings of one claim: {actions:?}");
        if let Some(asking) = asking
            && is_used
            && !actions.iter().any(|action| matches!(action, Action::Claim(_)))
        {
            let grant = self.plan.policy.grants.get(&rule(asking.rule));
            let grant = grant.filter(|_| !self.is_stopping && !self.suspended.contains(&rule(asking.rule)));
            if let Some((door, client, lasts)) = grant.and_then(|grant| asking.granted(grant, &self.plan)) {
                self.grants.grant(door, client, lasts, self.now);
            } else {
                assert_eq!(opened, 0, "{asking:?} was not granted any more: {actions:?}");
            }
        }
        self.carry_out(actions, asking);
        self.check();
    }

    /// Nothing is opened any more, and what commands have opened is being closed.
    fn stop(&mut self) {
        self.hear(Event::Stopping);
        for (key, opening) in self.engine.openings().filter(|(_, opening)| !opening.keeps_time) {
            assert!(matches!(opening.state, OpeningState::Closing { .. }), "{key:?} {opening:?} at a stop");
        }
        self.is_stopping = true;
        for door in 0..DOORS.len() {
            let ask = Ask::Open { door: Some(door), seconds: None, is_wide: false, once: None };
            self.knock(Asking { client: 1, rule: 0, ask }, false);
        }
    }

    fn withdraw(&mut self, rules: u8, is_reloading: bool) {
        let gone: HashSet<_> = (0..RULES.len()).filter(|n| rules >> n & 1 == 1).map(rule).collect();
        self.hear(Event::Withdrawn { rules: gone.clone(), is_reloading });
        let counts = |rule: &RuleId| {
            self.plan.policy.grants.contains_key(rule) && (is_reloading || self.suspended.contains(rule))
        };
        self.suspended = gone.into_iter().filter(counts).collect();
    }

    fn kill_engine(&mut self, orders_live: bool) {
        let of_commands = self.parts_of_commands();
        self.to_find = self.parts_in_filter();
        self.filter.lose_engine(orders_live, self.now);
        self.was_late();
        for key in self.runner.lose_engine(orders_live) {
            assert_ne!(self.durability(key.door), Durability::Required, "{key:?} is open and not recorded");
        }
        let plan = self.next_plan.take().unwrap_or_else(|| self.plan.clone());
        self.start(plan);
        of_commands.into_iter().for_each(|parts| self.check_found_of_commands(&parts));
    }

    fn kill_runner(&mut self, orders_live: bool) {
        for done in self.runner.die(orders_live) {
            self.done(done);
        }
        self.inherit();
    }

    fn start(&mut self, plan: Plan) {
        self.engine = Engine::new(plan.policy.clone());
        self.started = self.now;
        self.know_doors(&plan);
        (self.plan_before, self.plan) = (plan.clone(), plan);
        self.suspended.clear();
        self.is_stopping = false;
        self.claims.clear();
        self.awaited.clear();
        self.recorded.clear();
        self.heard.clear();
        self.stories = Stories::default();
        self.ledger.forget_engine();
        self.ledger.read_lines(0);
        self.ledger.read_lines(1);
        self.filter.put_in_place(self.plan.clone(), self.now);
        self.inherit();
    }

    /// Whatever is recorded and the engine does not know of is told to it.
    fn inherit(&mut self) {
        let (numbers, doors, engine) = (&mut self.numbers, &mut self.doors, &self.engine);
        let known: BTreeSet<_> = engine.openings().map(|(key, _)| key).collect();
        let key = |door, client| {
            *numbers += 1;
            doors.insert(DoorId(*numbers), door);
            OpeningKey { door: DoorId(*numbers), client, occurrence: 0 }
        };
        for (OpeningKey { door, client, .. }, Row { door: before, until, note }) in
            self.runner.inherit(|key| known.contains(&key), key)
        {
            let remaining = until.saturating_sub(self.now);
            let policy = inherited_policy(before);
            let actions = self.ask_engine(Event::Inherited { door, policy, client, remaining, note });
            self.carry_out(actions, None);
        }
        // All of it was told.
        self.check();
    }

    fn know_doors(&mut self, plan: &Plan) {
        self.doors.extend(plan.ids.iter().map(|(door, id)| (*id, *door)));
    }

    /// What happens up to `end`, in the order of its times.
    fn run_until(&mut self, end: Duration) {
        loop {
            let deadline = self.engine.next_deadline().map(|at| self.started + at.0);
            let (filter, runner, ledger) = (self.filter.next(), self.runner.next(), self.ledger.next());
            let Some(at) = [deadline, filter, runner, ledger].into_iter().flatten().min() else { break };
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            if filter == Some(at) {
                self.filter_works();
            } else if runner == Some(at) {
                if let Some(done) = self.runner.work(self.now) {
                    self.done(done);
                }
            } else if ledger == Some(at) {
                if let Some(answer) = self.ledger.answer() {
                    self.claimed(answer);
                }
            } else {
                let actions = self.engine.handle_deadline(self.moment());
                self.carry_out(actions, None);
                self.check();
                assert!(
                    self.engine.next_deadline() > Some(self.moment())
                        || self.engine.next_deadline().is_none()
                );
            }
        }
        self.now = self.now.max(end);
    }

    fn filter_works(&mut self) {
        let said = self.filter.work(self.now);
        self.was_late();
        match said {
            Said::Nothing => {}
            Said::Answered(receipt) => self.done(Done::Answered(receipt)),
            Said::Listed(listing) => {
                self.hear(Event::Listed(listing));
                self.check_found_in_filter();
            }
            Said::InPlace(plan) => {
                self.filter.list(self.now);
                if self.next_plan.take_if(|next| Arc::ptr_eq(&next.policy, &plan.policy)).is_some() {
                    self.plan_before = std::mem::replace(&mut self.plan, plan);
                    let grants = &self.plan.policy.grants;
                    self.suspended.retain(|rule| grants.contains_key(rule));
                    self.ledger.read_lines(self.engine.generation() + 1);
                    self.hear(Event::PolicyChanged(self.plan.policy.clone()));
                }
            }
        }
    }

    /// An order counts its time from when it is carried out, so what it opened is open for as long more as it has waited.
    fn was_late(&mut self) {
        self.filter.elements().for_each(|(client, until)| self.grants.is_late(SSH, client, until));
    }

    fn done(&mut self, done: Done) {
        let event = match done {
            Done::Answered(receipt) => Event::Answered(receipt),
            Done::Recorded { serial, result } => Event::Recorded { serial, result },
        };
        let actions = self.hear_answer(event);
        self.carry_out(actions, None);
        self.check();
    }

    fn hear_answer(&mut self, event: Event) -> Vec<Action> {
        if let Event::Answered(Receipt { serial, .. }) | Event::Recorded { serial, .. } = &event
            && let Some(Awaited::Command(door, client)) = self.awaited.remove(serial)
        {
            self.grants.begins(door, client, self.now);
        }
        self.heard.push(event.clone());
        self.ask_engine(event)
    }

    fn hear(&mut self, event: Event) {
        let actions = self.ask_engine(event);
        self.carry_out(actions, None);
        self.check();
    }

    fn ask_engine(&mut self, event: Event) -> Vec<Action> {
        let may_grow = matches!(event, Event::Listed(_) | Event::Inherited { .. });
        let before = self.engine.openings().count();
        let actions = self.engine.handle(event, self.moment());
        if may_grow {
            self.know_found();
        }
        let after = self.engine.openings().count();
        assert!(may_grow || after <= before.max(MAX_OPENINGS), "{after} openings after {before}");
        actions
    }

    fn door(&self, id: DoorId) -> usize {
        self.doors[&id]
    }

    fn opening(&self, key: OpeningKey) -> Option<&Opening> {
        self.engine.openings().find_map(|(known, opening)| (known == key).then_some(opening))
    }

    fn durability(&self, id: DoorId) -> Durability {
        match DOORS[self.door(id)] {
            "lamp" => Durability::Required,
            "bell" => Durability::BestEffort,
            _ => Durability::None,
        }
    }

    fn moment(&self) -> Moment {
        Moment(self.now - self.started)
    }
}

/// Whether an action opens something, or has it recorded to be opened.
fn opens(action: &Action) -> bool {
    match action {
        Action::Order { order, .. } => matches!(order.act, Act::Open(_) | Act::Extend(_)),
        Action::Record { .. } | Action::Note { .. } => true,
        _ => false,
    }
}

/// Whether an action begins something that was not under way.
fn begins(action: &Action) -> bool {
    opens(action) || matches!(action, Action::Order { .. } | Action::Claim(_) | Action::StrikeOut { .. })
}
