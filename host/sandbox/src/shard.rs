//! Shard: the rules of a generation at work for a part of all source addresses. No thread, no queue, no clock.

mod instances;
mod rule_state;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Bounds, Client, Copies, Dispatch, DropReason, HashedClient, Knock, Memories, MemoryId, Moment, Observer,
    Report, Request, RuleId, Sighting, TenantId, Timestamp, What,
};

use self::instances::Instances;
use self::rule_state::RuleState;
use crate::generation::Generation;
use crate::loaded_rule::LoadedRule;
use crate::runtime::RunPermit;
use crate::tenant_part::{MeteredShare, TenantPart};

/// For how long the half-finished knocks of a rule are kept that a generation lacks: a file may be saved by deleting it first.
const KEPT: Duration = Duration::from_secs(2);

/// How many expired clients are dropped with each knock: more than a knock can add.
const EXPIRED: usize = 2;

/// Packets that are known again on another interface, all shards together: what comes in 80 ms of a flood of 200,000 a second, and more
/// than the rings of two captures hold, so however far one lags behind the other.
const KNOWN_PACKETS: usize = 1 << 14;

/// Everything that judging needs for the source addresses of one worker: an instance and a memory for each rule.
pub struct Shard {
    generation: Arc<Generation>,
    states: Vec<RuleState>,
    /// Of rules that the last generations lacked, the oldest first.
    withdrawn: Vec<Withdrawn>,
    memories: Memories,
    /// How many shards there are: each has its part of a rule's bounds and of the ceiling of all rules.
    shards: usize,
    asked: Vec<usize>,
    copies: Copies,
    /// Whether the packet at hand is a copy, for each scope of the rules that were asked.
    scopes: Vec<(u64, bool)>,
    /// The rules that have an instance.
    instances: Instances,
}

/// What is remembered for a rule that was withdrawn: its file may be in the middle of being replaced.
#[derive(Debug)]
struct Withdrawn {
    id: RuleId,
    memory_format: u32,
    memory: MemoryId,
    /// After this the rule is gone for good.
    until: Moment,
}

impl Shard {
    /// A shard, one of `shards`, that has seen nothing yet.
    #[must_use]
    pub fn new(generation: Arc<Generation>, shards: usize) -> Self {
        let mut memories =
            Memories::new(part(generation.memory, shards), &bounds_of_tenants(&generation, shards));
        let new =
            |rule: &LoadedRule| RuleState::new(memories.add(&rule.id.tenant, part(rule.bounds, shards)));
        let states = generation.rules.iter().map(new).collect();
        let (withdrawn, asked) = (Vec::new(), Vec::new());
        let instances = instances(&generation, shards);
        let (copies, scopes) = (Copies::new(KNOWN_PACKETS / shards), Vec::new());
        Self { generation, states, withdrawn, memories, shards, asked, copies, scopes, instances }
    }

    /// The generation at work.
    #[must_use]
    pub const fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// Goes on with another generation. Half-finished knocks stay unless the rule's memory format changed, also if the rule was not there
    /// for a moment; instances stay where neither module nor settings changed. What is evicted because less may be
    /// remembered now is counted by `observer`.
    pub fn replace(&mut self, generation: Arc<Generation>, now: Moment, observer: &dyn Observer) {
        let before = std::mem::replace(&mut self.generation, generation);
        let mut states: HashMap<&RuleId, (&LoadedRule, RuleState)> = before
            .rules
            .iter()
            .zip(self.states.drain(..))
            .map(|(rule, state)| (&rule.id, (rule, state)))
            .collect();
        let Self { generation, states: after, withdrawn, memories, shards, .. } = self;
        clear_away(withdrawn, memories, now);
        for rule in &generation.rules {
            let state = match states.remove(&rule.id) {
                Some((old, state)) => state.carry_over(old, rule, memories),
                None => match withdrawn.iter().position(|gone| gone.id == rule.id) {
                    Some(place) => withdrawn.remove(place).come_back(rule, memories),
                    None => RuleState::new(memories.add(&rule.id.tenant, part(rule.bounds, *shards))),
                },
            };
            memories.set_bounds(state.memory, part(rule.bounds, *shards));
            after.push(state);
        }
        let until = now.plus(KEPT);
        for (rule, RuleState { memory, .. }) in states.into_values() {
            if memories.of_rule(memory) == 0 {
                memories.remove(memory);
                continue;
            }
            let (id, memory_format) = (rule.id.clone(), rule.memory_format);
            withdrawn.push(Withdrawn { id, memory_format, memory, until });
        }
        let of_tenants = bounds_of_tenants(generation, *shards);
        memories.set_ceiling(part(generation.memory, *shards), &of_tenants);
        count_evicted(memories, observer);
        // As many as there were at most, so that none must go.
        self.instances = instances(&self.generation, self.shards);
        for (n, (rule, state)) in self.generation.rules.iter().zip(&self.states).enumerate() {
            if state.instance.is_some() {
                self.instances.add(rule.tenant, n);
            }
        }
    }

    /// Has every rule that asked for this knock judge it, unless it was shown a copy of it. `ask` takes what they ask for, and `observer`
    /// gets reports of everything else.
    ///
    /// # Errors
    /// [`DropReason::NotWatched`] if none asked for it; [`DropReason::SamePacket`] if all were shown a copy.
    pub fn judge(
        &mut self,
        running: &RunPermit<'_>,
        knock: &Knock,
        now: Moment,
        is_local: impl Fn(IpAddr) -> bool,
        observer: &dyn Observer,
        mut ask: impl FnMut(&RuleId, Request),
    ) -> Result<(), DropReason> {
        let Self { generation, states, withdrawn, memories, asked, copies, scopes, instances, .. } = self;
        if withdrawn.first().is_some_and(|rule| rule.until <= now) {
            clear_away(withdrawn, memories, now);
        }
        let client = memories.client(knock.source, knock.link);
        asked.clear();
        asked.extend(generation.dispatch.wanted(knock, &is_local));
        if asked.len() > 1 {
            leave_out_over_share(asked, generation, now, observer);
            if asked.is_empty() {
                running.stopwatch.interrupt();
                return Ok(());
            }
        }
        if asked.iter().any(|rule| generation.groups[generation.rules[*rule].group].len() > 1) {
            *asked = keep_to_groups(asked, generation, states, memories, knock, client, is_local);
        }
        if asked.is_empty() {
            running.stopwatch.interrupt();
            return Err(DropReason::NotWatched);
        }
        if let Some(sighting) = knock.sighting {
            leave_out_copies(asked, sighting, knock.time, &generation.dispatch, copies, scopes);
            if asked.is_empty() {
                running.stopwatch.interrupt();
                return Err(DropReason::SamePacket);
            }
        }
        let mut used_up = None;
        for rule in asked.iter().copied() {
            let loaded = &generation.rules[rule];
            if let Some(share) = &loaded.share {
                // For its other rules the packet was counted.
                if used_up.is_some_and(|other| Arc::ptr_eq(share, other)) {
                    continue;
                }
                if !share.admits_call(now, observer) {
                    running.stopwatch.interrupt();
                    used_up = Some(share);
                    continue;
                }
            }
            let had_instance = states[rule].instance.is_some();
            let memory = states[rule].memory;
            let own = memories.expire(memory, client, knock.time).map(|stage| (knock.source, stage));
            let others = (0..EXPIRED).map_while(|_| memories.expire_next(memory, knock.time));
            // At stage 0 there is no step to be late for.
            for (client, stage) in own.into_iter().chain(others).filter(|(_, stage)| *stage > 0) {
                observer.report(
                    &Report::of_rule(&loaded.id, What::TimedOut { stage }).with_client(Client::alone(client)),
                );
            }
            let judged = states[rule].judge(running, loaded, memories, knock, client, now);
            count_evicted(memories, observer);
            judged.tell(&loaded.id, knock, observer, |rule, request| {
                // That is the engine's work and the door's.
                running.stopwatch.interrupt();
                ask(rule, request);
            });
            match (had_instance, states[rule].instance.is_some()) {
                (false, true) => {
                    if let Some(gone) = instances.add(loaded.tenant, rule) {
                        states[gone].instance = None;
                    }
                }
                // One that faults or is in back-off must not cost others theirs.
                (true, false) => instances.remove(loaded.tenant, rule),
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets everything but the generation.
    pub fn start_over(&mut self) {
        *self = Self::new(Arc::clone(&self.generation), self.shards);
    }

    /// Instances that are there now.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.instances.count()
    }

    /// Clients that this shard remembers, counted for all rules.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.memories.len()
    }
}

/// Leaves the rules whose tenants are not over their shares. Nothing more is done then for the packet of one that is, however many rules of it
/// asked for it, and it is counted once.
fn leave_out_over_share(
    asked: &mut Vec<usize>,
    generation: &Generation,
    now: Moment,
    observer: &dyn Observer,
) {
    // A tenant's rules stand together, and have two shares at most: that of its rules on trial is another.
    let mut known: [Option<(&Arc<MeteredShare>, bool)>; 2] = [None; 2];
    asked.retain(|rule| {
        let Some(share) = generation.rules[*rule].share.as_ref().filter(|share| share.is_of_several()) else {
            return true;
        };
        let seen = known.iter().flatten().find(|(other, _)| Arc::ptr_eq(share, other));
        seen.map(|(_, admits)| *admits).unwrap_or_else(|| {
            let admits = share.admits_call(now, observer);
            known = [Some((share, admits)), known[0]];
            admits
        })
    });
}

/// Leaves the rules that were not shown a copy of this packet. What came on an interface that a rule does not see is no copy for it.
fn leave_out_copies(
    asked: &mut Vec<usize>,
    sighting: Sighting,
    time: Timestamp,
    dispatch: &Dispatch,
    copies: &mut Copies,
    scopes: &mut Vec<(u64, bool)>,
) {
    scopes.clear();
    asked.retain(|rule| {
        let scope = dispatch.scope(*rule);
        let is_copy = match scopes.iter().find(|(known, _)| *known == scope) {
            Some((_, is_copy)) => *is_copy,
            None => {
                let is_copy = copies.is_copy(sighting, scope, time);
                scopes.push((scope, is_copy));
                is_copy
            }
        };
        !is_copy
    });
}

/// Rules of a group at which the client is half way get what any of them asked for, and the others get nothing; only if it is at
/// none, those that asked get the packet.
fn keep_to_groups(
    asked: &[usize],
    generation: &Generation,
    states: &[RuleState],
    memories: &Memories,
    knock: &Knock,
    client: HashedClient,
    is_local: impl Fn(IpAddr) -> bool,
) -> Vec<usize> {
    let remembers = |rule: &usize| {
        memories.is_half_way(states[*rule].memory, client, knock.time)
            && generation.dispatch.admits(*rule, knock, &is_local)
    };
    let mut kept = Vec::with_capacity(asked.len());
    // Each group of theirs, and whether a member remembers the client.
    let mut groups: Vec<(usize, bool)> = Vec::new();
    for rule in asked.iter().copied() {
        let group = generation.rules[rule].group;
        match groups.iter().find(|(known, _)| *known == group) {
            Some((_, true)) => {}
            Some((_, false)) => kept.push(rule),
            None => {
                let before = kept.len();
                if generation.groups[group].len() > 1 {
                    kept.extend(generation.groups[group].iter().copied().filter(|member| remembers(member)));
                }
                let is_remembered = kept.len() > before;
                groups.push((group, is_remembered));
                if !is_remembered {
                    kept.push(rule);
                }
            }
        }
    }
    kept
}

/// Counts clients that were evicted, for the tenants that have lost them.
fn count_evicted(memories: &mut Memories, observer: &dyn Observer) {
    memories.take_evicted(|tenant, count| observer.count_drops(Some(tenant), DropReason::Evicted, count));
}

/// Forgets the rules that did not come back.
fn clear_away(withdrawn: &mut Vec<Withdrawn>, memories: &mut Memories, now: Moment) {
    for rule in withdrawn.extract_if(.., |rule| rule.until <= now) {
        memories.remove(rule.memory);
    }
}

impl Withdrawn {
    fn come_back(self, rule: &LoadedRule, memories: &mut Memories) -> RuleState {
        if self.memory_format != rule.memory_format {
            memories.clear(self.memory);
        }
        RuleState::new(self.memory)
    }
}

/// One shard's part of a rule's bounds, rounded up.
fn part(bounds: Bounds, shards: usize) -> Bounds {
    Bounds { entries: bounds.entries.div_ceil(shards), bytes: bounds.bytes.div_ceil(shards) }
}

/// One shard's part of what may be remembered for each tenant that has bounds.
fn bounds_of_tenants(generation: &Generation, shards: usize) -> HashMap<TenantId, Bounds> {
    let bounds = |tenant: &TenantPart| Some((tenant.id.clone(), part(tenant.memory?, shards)));
    generation.tenants.iter().filter_map(bounds).collect()
}

/// No instance of these rules yet.
fn instances(generation: &Generation, shards: usize) -> Instances {
    Instances::new(shards, generation.tenants.len())
}
