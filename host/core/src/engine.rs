//! Engine: event and time in, actions out, next deadline. It does no I/O and reads no clock.

mod answers;
mod by_serial;
mod claims;
mod doors;
mod generation;
mod granted;
mod inherited;
mod listed;
mod notes;
mod others;
mod owners;
mod parts;
mod records;
mod request_rates;
mod under_way;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::action::{Action, Why};
use crate::claim::ClaimKind;
use crate::client::Client;
use crate::door::{Act, DoorId, OpeningKey, Order};
use crate::drop_reason::DropReason;
use crate::durability::Durability;
use crate::event::Event;
use crate::module_digest::ModuleDigest;
use crate::moment::Moment;
use crate::opening::{Opening, OpeningPart, OpeningState, UnheardClose};
use crate::opening_note::OpeningNote;
use crate::openings::Openings;
use crate::report::{Report, What};
use crate::tenant::{Again, DoorPolicy, Policy, RuleId, TenantId};
use crate::verdict::{CloseRequest, OpenRequest};
use claims::Claims;
use generation::{AskingRule, PendingOpening};
use granted::Refusal;
use inherited::InheritedDoors;
use parts::told_as;
use records::Records;
use request_rates::RequestRates;
use under_way::{Awaited, UnderWay};

/// The pause before the second try to close a door; it doubles with each.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Tries to close a door, before it is left to its own clock or, if it has none, to the operator and the next run.
const MAX_TRIES: u32 = 6;
/// Deadlines handled at most in one call of [`Engine::handle_deadline`]. The shell holds the engine's lock meanwhile, and knocks wait for it.
const DEADLINES_AT_ONCE: usize = 256;
/// The shell answers every order, that of a command perhaps after hours. If a receipt is ever lost, the opening is closed after this.
const ANSWER_LIMIT: Duration = Duration::from_secs(25 * 3600);

/// How long an opening waits for its claim or its record; the client knocks again or gives up before that.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Holds verdicts to what was granted, keeps the table of openings, and orders doors to open and close.
///
/// The shell passes every [`Event`] to it, calls [`Engine::handle_deadline`] when [`Engine::next_deadline`] has
/// come, carries out the actions of both in their order, and answers each [`Action::Order`] with an
/// [`Event::Answered`], each [`Action::Claim`] with an [`Event::Claimed`] and each [`Action::Record`] with an [`Event::Recorded`]. A call too
/// early or too often does nothing.
#[derive(Debug, Default)]
pub struct Engine {
    /// The number of the generation in force.
    generation: u64,
    policy: Arc<Policy>,
    /// That of the generation before.
    policy_before: Arc<Policy>,
    /// Rules of the policy that open and close nothing, since their files are gone.
    suspended: HashSet<RuleId>,
    /// The policy's doors, and those of earlier policies that are still open for a client.
    doors: HashMap<DoorId, DoorPolicy>,
    inherited: InheritedDoors,
    openings: Openings,
    claims: Claims,
    records: Records,
    under_way: UnderWay,
    request_rates: RequestRates,
    last_serial: u64,
    last_occurrence: u64,
    stopping: bool,
    actions: Vec<Action>,
}

/// What an order is to bring about. That of an opening is for a rule, whose owner has it open until then if it succeeds.
#[derive(Clone, Debug)]
enum Purpose {
    /// To open.
    Open { until: Moment },
    /// To open again what was lost with its set, for all who had it open.
    Reopen { until: Moment },
    /// To keep open what is open, or to open for one more what is open for others.
    Extend { until: Moment },
    /// To keep open for others what these close, as whose rules they are told it.
    Leave { of: Vec<Option<RuleId>> },
    /// To close for these, as whose rules they are told it.
    Close { why: Why, of: Vec<Option<RuleId>> },
}

impl Engine {
    /// An engine with nothing open, and with generation 1 in force.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        let (policy_before, doors) = (Arc::clone(&policy), policy.doors.clone());
        Self { generation: 1, policy, policy_before, doors, ..Self::default() }
    }

    /// Handles an event; returns the actions to carry out, in order.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Action> {
        match event {
            Event::Judged { rule, generation, source, request } => {
                let asker = AskingRule { rule: &rule, generation, source, has_claimed: false };
                self.judged(asker, request, now);
            }
            Event::Answered(receipt) => self.answered(receipt, now),
            Event::Claimed { serial, result } => self.claimed(serial, result, now),
            Event::Recorded { serial, result } => self.recorded(serial, result, now),
            Event::Listed(listing) => self.listed(listing, now),
            Event::Inherited { door, policy, client, remaining, note } => {
                self.inherited.insert(door, Arc::clone(&policy.name), client);
                self.doors.insert(door, policy);
                self.found(OpeningKey { door, client, occurrence: 0 }, remaining, &note, now);
            }
            Event::Withdrawn { rules, is_reloading } => self.suspend(rules, is_reloading),
            Event::PolicyChanged(policy) => self.change_policy(policy),
            Event::Stopping => self.stop(now),
        }
        std::mem::take(&mut self.actions)
    }

    /// Handles what is due at `now`; returns the actions to carry out, in order.
    ///
    /// A call handles a bounded number of deadlines. If more are due, [`Engine::next_deadline`] is not after `now`, and the next call goes on.
    pub fn handle_deadline(&mut self, now: Moment) -> Vec<Action> {
        self.forget_claims(now);
        self.do_due(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Engine::handle_deadline`] must be called next; may change with every event.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.openings.next_deadline().into_iter().chain(self.claims.next_deadline()).min()
    }

    /// Whether every order and every record was answered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.under_way.is_empty() && self.records.is_empty()
    }

    /// How many openings do not close by themselves: the engine must close them.
    #[must_use]
    pub fn left_to_close(&self) -> usize {
        self.openings.left_to_close()
    }

    /// What is open now, by door and client.
    pub fn openings(&self) -> impl Iterator<Item = (OpeningKey, &Opening)> {
        self.openings.iter()
    }

    /// The openings for this client, of whatever door.
    pub fn openings_of(&self, client: Client) -> impl Iterator<Item = (OpeningKey, &Opening)> {
        self.doors.keys().flat_map(move |door| self.openings.of_client(*door, client))
    }

    /// How many openings there are.
    #[must_use]
    pub fn openings_count(&self) -> usize {
        self.openings.len()
    }

    /// As [`Engine::openings`], those whose keys come after this one: for whoever must not hold the engine for long.
    pub fn openings_after(&self, key: Option<OpeningKey>) -> impl Iterator<Item = (OpeningKey, &Opening)> {
        self.openings.after(key)
    }

    /// As [`Engine::openings_after`], those that an owner of rules has a part of. It takes as long as there are of these, whatever others have.
    pub fn openings_of_tenant(
        &self,
        tenant: &TenantId,
        key: Option<OpeningKey>,
    ) -> impl Iterator<Item = (OpeningKey, &Opening)> {
        self.openings.of_tenant_after(tenant, key)
    }

    /// How many openings an owner of rules has a part of.
    #[must_use]
    pub fn tenants_count(&self, tenant: &TenantId) -> usize {
        self.openings.of_tenant(tenant)
    }

    /// How many parts all openings have: one for each owner whose rules opened it.
    #[must_use]
    pub fn parts_count(&self) -> usize {
        self.openings.parts()
    }

    /// The module that a rule of the policy in force runs.
    #[must_use]
    pub fn module(&self, rule: &RuleId) -> Option<ModuleDigest> {
        self.policy.modules.get(rule).copied()
    }

    /// A door's name; empty if there is no such door.
    #[must_use]
    pub fn door_name(&self, door: DoorId) -> Arc<str> {
        self.doors.get(&door).map_or_else(|| "".into(), |door| Arc::clone(&door.name))
    }

    /// Whether a door of the policy in force keeps the time itself.
    #[must_use]
    pub fn keeps_time(&self, door: DoorId) -> bool {
        self.policy.doors.get(&door).is_some_and(|door| door.keeps_time)
    }

    /// Handles at most [`DEADLINES_AT_ONCE`] of what is due.
    fn do_due(&mut self, now: Moment) {
        for _ in 0..DEADLINES_AT_ONCE {
            let Some(key) = self.openings.due(now) else { break };
            let opening = self.openings.find(key);
            let opening = opening.map(|opening| (opening.state, opening.until()));
            match opening {
                Some((OpeningState::Recording { .. }, _)) => self.forget_record(key, now),
                Some((OpeningState::Closing { why, .. }, _)) => self.order_close(key, why, None, now),
                _ if self.end_parts(key, now) => {}
                // Nothing of it has expired, so it is due for another reason: to be opened again.
                Some((OpeningState::Open, until)) if until > now => self.reopen(key, now),
                _ if self.closes_without_us(key.door) => {
                    self.forget_opening(key, &What::Closed { why: Why::Expired });
                    self.retire(key.door);
                }
                _ => self.order_close(key, Why::Expired, None, now),
            }
        }
    }

    fn open(&mut self, asker: AskingRule<'_>, mut request: OpenRequest, now: Moment) {
        let rule = asker.rule;
        let mut key = match self.granted(asker, request.door.as_deref(), request.prefix_length) {
            Ok(key) => key,
            Err(refusal) => return self.refuse(asker, request.door.as_deref(), refusal),
        };
        let door = &self.doors[&key.door];
        let grant = &self.policy.grants[rule];
        let needs_sequence = grant.is_one_time && !asker.has_claimed;
        let asked = request.lasts.or(grant.lasts).unwrap_or(door.lasts);
        let most = grant.lasts.unwrap_or(Duration::MAX).min(grant.longest.at(door.lasts));
        let lasts = asked.min(most).min(self.policy.longest);
        if grant.is_trial && !lasts.is_zero() {
            return self.tell(key, Some(rule.clone()), What::WouldOpen { lasts });
        }
        let (keeps_time, durability) = (door.keeps_time, door.durability);
        let opens_another = door.again == Again::OpenAnother;
        let before = if opens_another { None } else { self.openings.find(key).cloned() };
        let refusal = if self.stopping {
            Some(DropReason::Stopping)
        } else if lasts.is_zero() {
            Some(DropReason::Fault)
        } else if self.is_full(before.is_none(), durability)
            || self.is_tenants_full(rule, before.as_ref(), durability)
        {
            Some(DropReason::OpeningsFull)
        } else {
            None
        };
        if let Some(reason) = refusal {
            return self.tell(key, Some(rule.clone()), What::Refused { reason, detail: "".into() });
        }
        if needs_sequence {
            let sequence = ClaimKind::Sequence { generation: asker.generation };
            return self.claim(AskingRule { has_claimed: true, ..asker }, key, request, sequence, now);
        }
        if let Some(once) = request.once.take() {
            return self.claim(asker, key, request, ClaimKind::Once(once), now);
        }
        if opens_another {
            self.last_occurrence += 1;
            key.occurrence = self.last_occurrence;
        }
        if lasts < asked {
            self.tell(key, Some(rule.clone()), What::Shortened { asked, lasts });
        }
        let of_command = if keeps_time { Duration::ZERO } else { lasts };
        let part = OpeningPart::of(rule.clone(), self.policy.marks.of(rule), now.plus(lasts), of_command);
        if let Some(before) = &before {
            self.taken_over(key, before, &rule.tenant);
        }
        match before {
            Some(Opening {
                state: OpeningState::Recording { .. } | OpeningState::Opening | OpeningState::Open,
                newest_order,
                ..
            }) => {
                self.records.ask_again(newest_order, PendingOpening::new(asker, self.generation, request));
                self.open_again(key, part, now);
            }
            before if durability != Durability::None => {
                let unclosed = before.and_then(|before| match before.state {
                    OpeningState::Closing { why, tries } => {
                        Some(UnheardClose { why, tries, order: before.newest_order })
                    }
                    OpeningState::Recording { .. } | OpeningState::Opening | OpeningState::Open => None,
                });
                self.record(PendingOpening::new(asker, self.generation, request), key, part, unclosed, now);
            }
            Some(Opening { state: OpeningState::Closing { .. }, .. }) | None => {
                let until = part.until;
                // A command's opening begins when the command has ended, and is not closed before that.
                let due = if keeps_time { until } else { now.plus(ANSWER_LIMIT) };
                self.openings.put(key, Opening::new(part, OpeningState::Opening, due, keeps_time));
                self.order(key, Act::Open(lasts), Purpose::Open { until }, Some(rule.clone()), now);
            }
        }
    }

    fn close(&mut self, asker: AskingRule<'_>, request: &CloseRequest, now: Moment) {
        let OpeningKey { door, client, .. } =
            match self.granted(asker, request.door.as_deref(), request.prefix_length) {
                Ok(key) => key,
                Err(refusal) => return self.refuse(asker, request.door.as_deref(), refusal),
            };
        let rule = asker.rule;
        if self.policy.grants[rule].is_trial {
            let key = OpeningKey { door, client, occurrence: 0 };
            return self.tell(key, Some(rule.clone()), What::WouldClose);
        }
        self.withdraw_claims(OpeningKey { door, client, occurrence: 0 }, &rule.tenant);
        let inherited = self.inherited.of(&self.doors[&door].name, client);
        let open = [door].into_iter().chain(inherited).flat_map(|door| self.openings.of_client(door, client));
        let open = open.filter(|(_, opening)| !matches!(opening.state, OpeningState::Closing { .. }));
        let open: Vec<_> = open.map(|(key, _)| key).collect();
        for key in open {
            self.end_parts(key, now);
            let Some(opening) = self.openings.find(key) else { continue };
            let parts = opening.parts().iter();
            let theirs: Vec<_> = parts
                .filter(|part| self.may_close(&rule.tenant, door, part))
                .map(|part| part.rule.clone())
                .collect();
            let why = Why::Asked;
            if theirs.len() == opening.parts().len() {
                if !self.withdraw_record(key, Some(rule), &What::Closed { why }) {
                    self.order_close(key, why, Some(rule), now);
                }
            } else if !theirs.is_empty() {
                self.leave(key, rule, |part| theirs.contains(&part.rule), now);
            } else if opening.parts().iter().any(OpeningPart::is_unknown) {
                // It may be the tenant's. Of what it knows to be another's it would hear nothing if that were closed.
                let what = What::Refused { reason: DropReason::NotItsOwn, detail: "".into() };
                self.tell(key, Some(rule.clone()), what);
            }
        }
    }

    fn stop(&mut self, now: Moment) {
        self.stopping = true;
        self.stop_claims();
        let to_close: Vec<_> = self
            .openings
            .iter()
            .filter(|(key, opening)| {
                let is_closing = matches!(opening.state, OpeningState::Closing { .. })
                    && self.under_way.contains_key(&opening.newest_order);
                !self.doors[&key.door].keeps_time && !is_closing
            })
            .map(|(key, _)| key)
            .collect();
        for key in to_close {
            let what = What::Refused { reason: DropReason::Stopping, detail: "".into() };
            if !self.withdraw_record(key, None, &what) {
                self.order_close(key, Why::Stopping, None, now);
            }
        }
    }

    /// Closes an opening for all who have it open. `asker` is the rule that says so, if one does.
    fn order_close(&mut self, key: OpeningKey, why: Why, asker: Option<&RuleId>, now: Moment) {
        let before = self.openings.find(key).map(Opening::rules).unwrap_or_default();
        if self.closes_already(key, now) {
            // Those who had it open hear of that order. The others have had nothing of it.
            let has_part = |rule: &RuleId| {
                self.openings.find(key).is_some_and(|opening| opening.part_of(&rule.tenant).is_some())
            };
            let others = before.into_iter().flatten().filter(|rule| asker.is_some() && !has_part(rule));
            let others = others.map(Some).collect();
            return self.tell_each(key, others, &What::Closed { why });
        }
        if let Some(asker) = asker {
            // So is told whose it is, as often as it is tried.
            self.openings.change_parts(key, |parts| {
                let has_own = parts.iter().any(|part| part.is_of(&asker.tenant));
                parts.retain(|part| part.rule.is_some() || !has_own);
                parts.iter_mut().for_each(|part| part.rule = told_as(part, Some(asker)));
            });
        }
        let (mut of, mut expires) = (Vec::new(), false);
        let is_there = self.openings.change(key, |opening| {
            let tries = match opening.state {
                OpeningState::Closing { tries, .. } => tries.saturating_add(1),
                OpeningState::Recording { .. } | OpeningState::Opening | OpeningState::Open => 1,
            };
            opening.state = OpeningState::Closing { tries, why };
            opening.due = now.plus(ANSWER_LIMIT);
            of = opening.rules();
            expires = why == Why::Expired && opening.keeps_time && !opening.outlasts;
        });
        if is_there {
            let rule = asker.cloned().or_else(|| of.first().cloned().flatten());
            let act = if expires { Act::Expire } else { Act::Close };
            self.order(key, act, Purpose::Close { why, of }, rule, now);
        }
    }

    fn order(&mut self, key: OpeningKey, act: Act, purpose: Purpose, rule: Option<RuleId>, now: Moment) {
        self.last_serial += 1;
        let serial = self.last_serial;
        let opener =
            rule.as_ref().filter(|_| matches!(purpose, Purpose::Open { .. } | Purpose::Extend { .. }));
        let mut keeps_time = false;
        self.openings.change(key, |opening| {
            keeps_time = opening.keeps_time;
            opening.newest_order = serial;
            if let Some(part) = opener.and_then(|rule| opening.part_mut(&rule.tenant)) {
                part.newest_order = serial;
            }
        });
        let note = match act {
            Act::Open(lasts) | Act::Extend(lasts) if keeps_time => self.note(key, now.plus(lasts), now),
            _ => OpeningNote::default(),
        };
        let module = rule.as_ref().and_then(|rule| self.module(rule));
        self.under_way.insert(serial, Awaited { key, purpose, rule: rule.clone(), module });
        let order = Order { serial, door: key.door, client: key.client, occurrence: key.occurrence, act };
        self.actions.push(Action::Order { order, rule, note });
    }

    fn refuse(&mut self, asker: AskingRule<'_>, asked: Option<&str>, refusal: Refusal) {
        let Refusal { reason, door, detail } = refusal;
        let door = door.as_deref().or(asked).map(|door| door.to_owned().into());
        let what = What::Refused { reason, detail };
        let (scope, client) = (Some(asker.rule.clone()).into(), Some(asker.source));
        self.actions.push(Action::Tell(Report { scope, client, door, what }));
    }

    fn tell(&mut self, key: OpeningKey, rule: Option<RuleId>, what: What<'static>) {
        let door = self.door_name(key.door);
        self.report(&door, key.client, rule, what);
    }

    fn report(&mut self, door: &str, client: Client, rule: Option<RuleId>, what: What<'static>) {
        let (scope, client, door) = (rule.into(), Some(client), Some(door.to_owned().into()));
        self.actions.push(Action::Tell(Report { scope, client, door, what }));
    }
}
