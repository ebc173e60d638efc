//! Replica: decoder, rules and engine of one configuration, put together as the daemon has them, on a machine that exists on paper.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use postern_capture::{Frame, LinkType, Shown, Sightings, StatedAddresses, decode};
use postern_config::DoorKind;
use postern_core::{
    Action, Claim, ClaimKind, Client, DoorId, DropReason, Engine, Event, Knock, Likeness, Moment, Observer,
    OpeningKey, Order, Receipt, Request, RuleId, UsedOnce,
};
use postern_runner::{Call, filled};
use postern_sandbox::{RunPermit, Shard};

use super::rule_set::RuleSet;
use super::seen::Seen;
use super::tally::Openings;
use super::teller::{Teller, Told};

/// A machine on paper.
pub(super) struct Replica {
    addresses: Rc<StatedAddresses>,
    sightings: Sightings,
    only_ipv4: bool,
    shard: Shard,
    decisions: Decisions,
}

/// The engine, and doors and a ledger that do at once what they are asked.
struct Decisions {
    engine: Engine,
    doors: HashMap<DoorId, DoorKind>,
    used: UsedOnce,
    teller: Arc<Teller>,
}

impl Replica {
    /// One that has seen nothing yet, for frames of this link type.
    pub(super) fn new(rules: RuleSet, addresses: Rc<StatedAddresses>, link: LinkType) -> Self {
        let RuleSet { config, generation, plan, teller, .. } = rules;
        let sightings = Sightings::new(Likeness::Exact);
        if link == LinkType::CookedV2 {
            // Only there is it known that one packet was captured on several interfaces.
            sightings.begin();
        }
        let decisions = Decisions {
            engine: Engine::new(plan.policy),
            doors: plan.doors.into_iter().collect(),
            used: UsedOnce::default(),
            teller,
        };
        let (only_ipv4, shard) = (config.only_ipv4, Shard::new(generation, 1));
        Self { addresses, sightings, only_ipv4, shard, decisions }
    }

    /// Lets what is due until then happen, each at its own time.
    pub(super) fn wait_until(&mut self, end: Moment) {
        let Decisions { engine, teller, .. } = &mut self.decisions;
        if engine.next_deadline().is_none_or(|due| due > end) {
            return teller.set_time(end);
        }
        let mut now = Moment::default();
        while let Some(due) = self.decisions.engine.next_deadline().filter(|due| *due <= end) {
            now = now.max(due);
            self.decisions.teller.set_time(now);
            let actions = self.decisions.engine.handle_deadline(now);
            self.decisions.carry_out(actions, now);
        }
        self.decisions.teller.set_time(end);
    }

    /// Sees a frame at `at`, up to which it has waited.
    pub(super) fn see(
        &mut self,
        frame: &Frame<'_>,
        number: u64,
        at: Moment,
        running: &RunPermit<'_>,
    ) -> Seen {
        let (mut knock, mut drop) = match decode(frame, self.shard.generation().dispatch.detail()) {
            Ok(knock) => (Some(knock), None),
            Err(reason) => (None, Some(reason)),
        };
        if let Some(knock) = &mut knock {
            drop = self.place(knock, frame).and_then(|()| self.judge(knock, at, running)).err();
        }
        Seen { number, at, time: frame.time, length: frame.length, knock, drop }
    }

    /// Moves what was told since the last time into `told`, in place of what is there.
    pub(super) fn hand_over(&self, told: &mut Vec<Told>) {
        self.decisions.teller.hand_over(told);
    }

    /// What was opened, and what is open at `now`.
    pub(super) fn openings(&self, now: Moment) -> Openings {
        let Decisions { engine, teller, .. } = &self.decisions;
        let (opened, dropped) = teller.counts();
        let left = engine
            .openings()
            .map(|(key, opening)| (engine.door_name(key.door), key.client, opening.until().since(now)));
        Openings { opened, left: left.collect(), dropped }
    }

    /// As the daemon does it, which would not have captured all that a file may hold.
    fn place(&self, knock: &mut Knock, frame: &Frame<'_>) -> Result<(), DropReason> {
        if self.only_ipv4 && knock.source.is_ipv6() {
            return Err(DropReason::NotWatched);
        }
        self.addresses.place(knock, frame)?;
        knock.sighting = self.sightings.of(frame, knock);
        Ok(())
    }

    fn judge(&mut self, knock: &Knock, at: Moment, running: &RunPermit<'_>) -> Result<(), DropReason> {
        let Self { addresses, shard, decisions, .. } = self;
        let teller = Arc::clone(&decisions.teller);
        shard.judge(
            running,
            knock,
            at,
            |address| addresses.contains(address),
            &*teller,
            |rule, request| decisions.decide(rule, knock, request, at),
        )
    }
}

impl Decisions {
    fn decide(&mut self, rule: &RuleId, knock: &Knock, request: Request, now: Moment) {
        let event = Event::Judged {
            rule: rule.clone(),
            generation: self.engine.generation(),
            source: Client::on_link(knock.source, knock.link),
            request,
        };
        self.handle(event, now);
    }

    fn handle(&mut self, event: Event, now: Moment) {
        let actions = self.engine.handle(event, now);
        self.carry_out(actions, now);
    }

    /// Whatever is asked is done at once.
    fn carry_out(&mut self, actions: Vec<Action>, now: Moment) {
        for action in actions {
            match action {
                Action::Order { order, rule, .. } => {
                    self.name_command(order, rule.as_ref());
                    self.handle(Event::Answered(Receipt { serial: order.serial, outcome: Ok(()) }), now);
                }
                Action::Claim(Claim { serial, rule, what, .. }) => {
                    let result = match what {
                        ClaimKind::Once(once) => self.used.claim(&rule, &once),
                        // Only a knockd.conf has such rules.
                        ClaimKind::Sequence { .. } => Ok(()),
                    };
                    self.handle(Event::Claimed { serial, result }, now);
                }
                Action::Record { serial, .. } => {
                    self.handle(Event::Recorded { serial, result: Ok(()) }, now);
                }
                Action::StrikeOut { .. } | Action::Note { .. } | Action::Abandon { .. } => {}
                Action::Tell(report) => self.teller.report(&report),
            }
        }
    }

    /// Names the command that would carry out an order.
    fn name_command(&self, order: Order, rule: Option<&RuleId>) {
        let Some(DoorKind::Command(door)) = self.doors.get(&order.door) else { return };
        let Order { door: id, client, occurrence, act, .. } = order;
        let (name, shown) = (self.engine.door_name(id), Shown(client));
        let key = OpeningKey { door: id, client, occurrence };
        let command = filled(door, act, &Call { key, rule, door: &name, client: &shown });
        if !command.is_empty() {
            self.teller.would_run(client, &name, &command);
        }
    }
}
