//! Desk: where it is decided what becomes of verdicts, whoever brings them.
//!
//! Judging threads come here themselves, so that a verdict is an order to a door before anybody else is woken. The main loop comes for
//! everything that has time: answers of doors, deadlines, reloads. Nothing here waits for anything but the lock.

mod listed;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use postern_config::{Config, OneTime};
use postern_core::{Action, DropReason, Engine, Event, Observer, Policy, Report, RuleId, What};
use postern_doorman::{Error, Listing, Posture, Release};
use postern_ledger::{Answer, Ledger};
use postern_runner::{Journal, Record};
use postern_text::panic::PastPanic;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::clock::Clock;
use crate::doors::{Doors, Plan};
use crate::happening::Judgement;
use listed::Listed;

/// The engine, its doors, and what counts at the moment.
pub(crate) struct Desk {
    decided: Mutex<Decided>,
    clock: Clock,
    observer: Arc<dyn Observer>,
    /// Judgements that cost a line of a file, which is the main loop's to strike out.
    to_spend: Sender<Judgement>,
}

struct Decided {
    engine: Engine,
    doors: Doors,
    term: Term,
    ledger: Box<dyn Ledger>,
    observer: Arc<dyn Observer>,
}

/// The generation in force.
struct Term {
    number: u64,
    policy: Arc<Policy>,
    /// That of the generation before: workers may have judged by it until a moment ago.
    policy_before: Arc<Policy>,
    /// The rules whose sequence is good for one opening.
    one_time: HashSet<RuleId>,
    /// Those that open and close nothing, since their files are gone.
    suspended: HashSet<RuleId>,
}

impl Desk {
    /// Opens with the doors of `plan` for a first generation. Judgements that cost something come to `to_spend`.
    pub(crate) fn new(
        doors: Doors,
        ledger: Box<dyn Ledger>,
        plan: &Plan,
        config: &Config,
        clock: Clock,
        observer: Arc<dyn Observer>,
        to_spend: Sender<Judgement>,
    ) -> Self {
        let term = Term {
            number: 1,
            policy: Arc::clone(&plan.policy),
            policy_before: Arc::clone(&plan.policy),
            one_time: one_time(config).into_keys().collect(),
            suspended: HashSet::new(),
        };
        let engine = Engine::new(Arc::clone(&plan.policy));
        let decided = Decided { engine, doors, term, ledger, observer: Arc::clone(&observer) };
        Self { decided: Mutex::new(decided), clock, observer, to_spend }
    }

    /// A rule said that doors should open or close. A verdict of the generation before counts only for what the rule may do in both.
    pub(crate) fn judged(&self, judgement: Judgement) {
        let mut decided = self.lock();
        let Term { number, policy, policy_before, one_time, suspended } = &decided.term;
        let Judgement { rule, generation, .. } = &judgement;
        let counts = generation == number
            || generation + 1 == *number && policy.grants.get(rule) == policy_before.grants.get(rule);
        if !counts {
            return self.count_drop(rule, DropReason::Outdated);
        }
        if suspended.contains(rule) {
            return self.count_drop(rule, DropReason::Withdrawn);
        }
        if one_time.contains(rule) {
            if let Err(TrySendError::Full(lost) | TrySendError::Closed(lost)) =
                self.to_spend.try_send(judgement)
            {
                self.count_drop(&lost.rule, DropReason::QueueFull);
            }
            return;
        }
        let Judgement { rule, source, request, .. } = judgement;
        decided.handle(Event::Judged { rule, source, request }, self.clock);
    }

    /// Something happened.
    pub(crate) fn handle(&self, event: Event) {
        self.lock().handle(event, self.clock);
    }

    /// The ledger said something: of a claim that the engine made, or of itself.
    pub(crate) fn ledger_said(&self, answer: Answer) {
        match answer {
            Answer::Claimed { serial, result } => self.handle(Event::Claimed { serial, result }),
            Answer::Fails(detail) => {
                self.observer.report(&Report::new(What::LedgerUnusable { detail: detail.into() }));
            }
            Answer::Works(path) => {
                self.observer.report(&Report::new(What::LedgerUsable { path: path.into() }));
            }
        }
    }

    /// Does what is due.
    pub(crate) fn handle_deadline(&self) {
        let mut decided = self.lock();
        let actions = decided.engine.handle_deadline(self.clock.now());
        decided.carry_out(actions);
    }

    /// When something is due. What judging threads ask for changes that only with the answer of a door, which the main loop hears.
    pub(crate) fn next_deadline(&self) -> Option<std::time::Instant> {
        self.lock().engine.next_deadline().and_then(|moment| self.clock.instant(moment))
    }

    /// From now on verdicts of these rules, and of no others, come to nothing.
    pub(crate) fn suspend(&self, rules: HashSet<RuleId>) {
        self.lock().term.suspended = rules;
    }

    /// Writes down in this journal what commands open from now on, if there was none.
    pub(crate) fn use_journal(&self, journal: Journal) {
        self.lock().doors.use_journal(journal);
    }

    /// Takes over what an earlier run opened and could not close.
    pub(crate) fn inherit(&self, row: u64, record: Record) {
        let mut decided = self.lock();
        let event = decided.doors.inherit(row, record);
        decided.handle(event, self.clock);
    }

    /// Compares what is open in the packet filter with the ledger, and mends the difference.
    pub(crate) fn reconcile(&self, listing: &Listing) {
        let listed = Listed::new(listing);
        let mut decided = self.lock();
        for event in listed.differences(&decided.engine) {
            decided.handle(event, self.clock);
        }
    }

    /// A configuration's doors.
    pub(crate) fn plan(&self, config: &Config) -> Plan {
        self.lock().doors.plan(config)
    }

    /// Puts the doors of a plan in place, from now on. If that fails nothing has changed.
    pub(crate) fn apply(
        &self,
        plan: &Plan,
        release: Release,
    ) -> impl Future<Output = Result<Posture, Error>> + use<> {
        self.lock().doors.apply(plan, release)
    }

    /// Puts the doors in force in place once more, letting go of ports that none of them guards.
    pub(crate) fn let_go(&self) -> impl Future<Output = Result<Posture, Error>> + use<> {
        self.lock().doors.let_go()
    }

    /// What is open in the packet filter, from this run or an earlier one.
    pub(crate) fn list(&self) -> impl Future<Output = Result<Listing, Error>> + use<> {
        self.lock().doors.list()
    }

    /// Goes on with another generation, whose doors are in place.
    pub(crate) fn replace(&self, number: u64, plan: Plan, config: &Config) {
        let mut decided = self.lock();
        decided.handle(Event::PolicyChanged(Arc::clone(&plan.policy)), self.clock);
        let term = &mut decided.term;
        term.number = number;
        term.policy_before = std::mem::replace(&mut term.policy, plan.policy);
        term.one_time = one_time(config).into_keys().collect();
    }

    /// Whether every order was answered and nothing is left that stays open for ever if nobody closes it.
    pub(crate) fn is_tidy(&self) -> bool {
        let decided = self.lock();
        decided.engine.is_settled() && decided.engine.left_to_close() == 0
    }

    /// How many doors are open, and how many of them somebody must close by hand. Doors in the packet filter stay open for their time.
    pub(crate) fn close(&self) -> (usize, usize) {
        let mut decided = self.lock();
        decided.doors.stop();
        let untidy = decided.engine.left_to_close() + decided.doors.abandoned();
        (decided.engine.openings().count(), untidy)
    }

    fn count_drop(&self, rule: &RuleId, reason: DropReason) {
        self.observer.count_drops(Some(&rule.tenant), reason, 1);
    }

    fn lock(&self) -> MutexGuard<'_, Decided> {
        self.decided.lock().past_panic()
    }
}

impl Decided {
    fn handle(&mut self, event: Event, clock: Clock) {
        let actions = self.engine.handle(event, clock.now());
        self.carry_out(actions);
    }

    /// Orders come first: people have time.
    fn carry_out(&mut self, actions: Vec<Action>) {
        let mut reports = Vec::new();
        for action in actions {
            match action {
                Action::Order { order, rule } => {
                    let door = self.engine.door_name(order.door);
                    self.doors.carry_out(order, rule.as_ref(), &door);
                }
                Action::Claim(claim) => self.ledger.claim(claim),
                Action::Note { key, lasts } => self.doors.note(key, lasts),
                Action::Abandon { key } => self.doors.abandon(key),
                Action::Tell(report) => reports.push(report),
            }
        }
        reports.iter().for_each(|report| self.observer.report(report));
    }
}

/// The rules whose sequence is good for one opening, and where it stands until it is used.
pub(crate) fn one_time(config: &Config) -> HashMap<RuleId, Option<OneTime>> {
    let rules = config.rules.iter().filter(|rule| rule.one_time.is_some());
    rules.map(|rule| (rule.id.clone(), rule.one_time.clone())).collect()
}
