//! Shard: the rules of a generation at work for a part of all source addresses. No thread, no queue, no clock.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Bounds, ClientHasher, DropReason, HashedClient, Knock, Memory, Moment, Request, Rest, RuleId, Verdict,
};

use super::generation::{Generation, LoadedRule};
use super::instance::{Instance, StartError};
use super::runtime::Running;

/// Instances at once, all shards together. Each takes 4 mappings of the 65,530 that Linux gives a process by default
/// (`vm.max_map_count`), and where those end nothing can be loaded or reloaded any more: a quarter is left for that.
const MAX_INSTANCES: usize = 12_288;

/// For how long the half-finished knocks of a rule are kept that a generation lacks: a file may be saved by deleting it first.
const KEPT: Duration = Duration::from_secs(2);

/// How many clients that took too long may go with each knock: more than can come with it.
const EXPIRED: usize = 2;

/// What came of one rule's judging a knock; an ignored knock comes to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client came this far.
    Stage(u32),
    /// A client, which may be another than the knock's, took too long, having come this far; it starts over.
    Expired {
        /// Which one.
        client: IpAddr,
        /// Its stage.
        stage: u32,
    },
    /// The client starts over, for this reason.
    Forgot(Box<str>),
    /// Doors should open or close.
    Asks(Request),
    /// The rule faulted and rests for so long.
    Fault(String, Duration),
    /// The rule was not asked.
    Dropped(DropReason),
}

/// Everything that judging needs for the source addresses of one worker: an instance and a memory for each rule.
pub struct Shard {
    generation: Arc<Generation>,
    states: Vec<RuleState>,
    /// Of rules that the last generations lacked, the oldest first.
    withdrawn: Vec<Withdrawn>,
    hasher: ClientHasher,
    /// How many shards there are: each has its part of a rule's bounds.
    shards: usize,
    asked: Vec<usize>,
    /// The rules that have an instance, in the order in which they got it.
    started: VecDeque<usize>,
}

#[derive(Debug)]
struct RuleState {
    memory: Memory,
    /// None until the first knock, and after a fault.
    instance: Option<Instance>,
    rest: Rest,
}

/// What is remembered for a rule that was withdrawn: its file may be in the middle of being replaced.
#[derive(Debug)]
struct Withdrawn {
    id: RuleId,
    memory_format: u32,
    memory: Memory,
    /// After this the rule is gone for good.
    until: Moment,
}

impl Withdrawn {
    fn come_back(self, rule: &LoadedRule, shards: usize, hasher: &ClientHasher) -> RuleState {
        let mut state = RuleState::new(rule, shards, hasher);
        if self.memory_format == rule.memory_format {
            state.memory = self.memory;
            state.memory.set_bounds(part(rule.bounds, shards));
        }
        state
    }
}

impl Shard {
    /// A shard, one of `shards`, that has seen nothing yet.
    #[must_use]
    pub fn new(generation: Arc<Generation>, shards: usize) -> Self {
        let hasher = ClientHasher::default();
        let states = generation.rules.iter().map(|rule| RuleState::new(rule, shards, &hasher)).collect();
        let (withdrawn, asked, started) = (Vec::new(), Vec::new(), VecDeque::new());
        Self { generation, states, withdrawn, hasher, shards, asked, started }
    }

    /// The generation at work.
    #[must_use]
    pub const fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// Goes on with another generation. Half-finished knocks stay unless the rule's memory format changed, also if the rule was not there
    /// for a moment; instances stay where neither module nor settings changed.
    pub fn replace(&mut self, generation: Arc<Generation>, now: Moment) {
        let before = std::mem::replace(&mut self.generation, generation);
        let mut states: HashMap<&RuleId, (&LoadedRule, RuleState)> = before
            .rules
            .iter()
            .zip(self.states.drain(..))
            .map(|(rule, state)| (&rule.id, (rule, state)))
            .collect();
        self.withdrawn.retain(|rule| rule.until > now);
        let (shards, hasher, withdrawn) = (self.shards, &self.hasher, &mut self.withdrawn);
        self.states = self
            .generation
            .rules
            .iter()
            .map(|rule| match states.remove(&rule.id) {
                Some((old, state)) => state.carry_over(old, rule, shards, hasher),
                None => match withdrawn.iter().position(|gone| gone.id == rule.id) {
                    Some(place) => withdrawn.remove(place).come_back(rule, shards, hasher),
                    None => RuleState::new(rule, shards, hasher),
                },
            })
            .collect();
        let until = now.plus(KEPT);
        withdrawn.extend(states.into_values().filter(|(_, state)| !state.memory.is_empty()).map(
            |(rule, RuleState { memory, .. })| {
                let (id, memory_format) = (rule.id.clone(), rule.memory_format);
                Withdrawn { id, memory_format, memory, until }
            },
        ));
        let has_instance = |rule: &usize| self.states[*rule].instance.is_some();
        self.started = (0..self.states.len()).filter(has_instance).collect();
    }

    /// Has every rule that asked for this knock judge it; `outcome` is told what came of each. False if none asked for it.
    pub fn judge(
        &mut self,
        running: &Running<'_>,
        knock: &Knock,
        now: Moment,
        is_local: impl Fn(IpAddr) -> bool,
        mut outcome: impl FnMut(&RuleId, Outcome),
    ) -> bool {
        if self.withdrawn.first().is_some_and(|rule| rule.until <= now) {
            self.withdrawn.retain(|rule| rule.until > now);
        }
        let Self { generation, states, hasher, asked, started, shards, .. } = self;
        let client = hasher.client(knock.source, knock.link);
        asked.clear();
        asked.extend(generation.dispatch.wanted(knock, &is_local));
        if asked.iter().any(|rule| generation.groups[generation.rules[*rule].group].len() > 1) {
            *asked = keep_to_groups(asked, generation, states, knock, client, is_local);
        }
        for rule in asked.iter().copied() {
            let loaded = &generation.rules[rule];
            let had_instance = states[rule].instance.is_some();
            let memory = &mut states[rule].memory;
            let own = memory.expire(client, knock.time).map(|stage| (knock.source, stage));
            let others = (0..EXPIRED).map_while(|_| memory.expire_oldest(knock.time));
            for (client, stage) in own.into_iter().chain(others) {
                outcome(&loaded.id, Outcome::Expired { client, stage });
            }
            if let Some(what) = states[rule].judge(running, loaded, knock, client, now) {
                outcome(&loaded.id, what);
            }
            match (had_instance, states[rule].instance.is_some()) {
                (false, true) => started.push_back(rule),
                (true, false) => started.retain(|other| *other != rule),
                _ => {}
            }
            // Nothing is lost with the oldest but the time to start it again. Only what is there counts: a rule that faults or rests
            // must not cost others theirs.
            if started.len() > MAX_INSTANCES / *shards
                && let Some(oldest) = started.pop_front()
            {
                states[oldest].instance = None;
            }
        }
        !asked.is_empty()
    }

    /// Forgets everything but the generation.
    pub fn start_over(&mut self) {
        *self = Self::new(Arc::clone(&self.generation), self.shards);
    }

    /// Instances that are there now.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.started.len()
    }

    /// Clients that this shard remembers, all rules together.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.states.iter().map(|state| state.memory.len()).sum()
    }
}

/// Rules of a group that remember the client get what any of them asked for, and the others get nothing; only if none
/// remembers it, those that asked get the packet.
fn keep_to_groups(
    asked: &[usize],
    generation: &Generation,
    states: &[RuleState],
    knock: &Knock,
    client: HashedClient,
    is_local: impl Fn(IpAddr) -> bool,
) -> Vec<usize> {
    let remembers = |rule: &usize| {
        states[*rule].memory.recall(client, knock.time).is_some()
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

impl RuleState {
    fn new(rule: &LoadedRule, shards: usize, hasher: &ClientHasher) -> Self {
        Self { memory: Memory::new(part(rule.bounds, shards), hasher), instance: None, rest: Rest::default() }
    }

    fn carry_over(self, old: &LoadedRule, new: &LoadedRule, shards: usize, hasher: &ClientHasher) -> Self {
        let mut state = Self::new(new, shards, hasher);
        if old.memory_format == new.memory_format {
            state.memory = self.memory;
            state.memory.set_bounds(part(new.bounds, shards));
        }
        if new.runs_like(old) {
            state.instance = self.instance;
            state.rest = self.rest;
        }
        state
    }

    fn judge(
        &mut self,
        running: &Running<'_>,
        rule: &LoadedRule,
        knock: &Knock,
        client: HashedClient,
        now: Moment,
    ) -> Option<Outcome> {
        if self.rest.is_resting(now) {
            return Some(Outcome::Dropped(DropReason::Resting));
        }
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => match rule.start() {
                Ok(instance) => none.insert(instance),
                Err(error) => return Some(self.fault(&error, now)),
            },
        };
        let verdict = instance.judge(running, knock, self.memory.recall(client, knock.time));
        match verdict {
            Ok(Verdict::Ignore) => None,
            Ok(Verdict::Remember(progress)) => {
                let stage = progress.stage;
                self.memory.remember(client, progress, knock.time);
                Some(Outcome::Stage(stage))
            }
            Ok(Verdict::Forget(reason)) => {
                self.memory.forget(client);
                Some(Outcome::Forgot(reason))
            }
            Ok(Verdict::Open(requests)) => {
                self.memory.forget(client);
                Some(Outcome::Asks(Request::Open(requests)))
            }
            Ok(Verdict::Close(requests)) => {
                self.memory.forget(client);
                Some(Outcome::Asks(Request::Close(requests)))
            }
            Err(fault) => Some(self.fault(&fault.into(), now)),
        }
    }

    /// The instance goes; what is remembered of clients stays.
    fn fault(&mut self, error: &StartError, now: Moment) -> Outcome {
        self.instance = None;
        Outcome::Fault(error.to_string(), self.rest.fault(now))
    }
}

/// One shard's part of a rule's bounds, rounded up.
fn part(bounds: Bounds, shards: usize) -> Bounds {
    Bounds { entries: bounds.entries.div_ceil(shards), bytes: bounds.bytes.div_ceil(shards) }
}
