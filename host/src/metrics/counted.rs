//! Counted: counts reports. It is an observer like any other, in front of that of the control socket.
//!
//! **Invariant:** of what happens for each packet nothing is done here but an addition.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use postern_config::Config;
use postern_core::{
    Client, Direction, DropReason, Knock, Observer, Report, Request, RuleId, Silence, TenantId, Timestamp,
    What,
};
use postern_text::panic::PastPanic;

use super::times::Times;
use crate::observe::Counters;

/// Right knocks whose doors are not open yet, of which the packet's time is known; of more it is not measured how long they take.
const MOST_UNDER_WAY: usize = 1024;
/// After so long a door is not going to open any more.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Counts reports and passes them on.
pub(crate) struct Counted {
    next: Arc<dyn Observer>,
    /// Drops that `next` counts.
    pub(super) drops: Arc<Counters>,
    /// Whether anybody can ask: else nothing is counted of clients.
    is_on: AtomicBool,
    knocks: AtomicU64,
    tally: Mutex<Tally>,
    under_way: Mutex<HashMap<(RuleId, Client), UnderWay>>,
}

/// What was reported so far, as far as that is counted. None of it is reported for each packet.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Openings by rule and door; no rule if one was opened by hand.
    pub(super) openings: BTreeMap<(Option<RuleId>, Arc<str>), u64>,
    /// By door.
    pub(super) closings: BTreeMap<(Arc<str>, &'static str), u64>,
    /// Openings by door that must be closed by hand.
    pub(super) stuck: BTreeMap<Arc<str>, u64>,
    /// From a packet to the open door, by door.
    pub(super) times: BTreeMap<Arc<str>, Times>,
    pub(super) reloads: u64,
    pub(super) refused_reloads: u64,
    /// Whether the last configuration was.
    pub(super) is_newest_refused: bool,
    pub(super) refused_tenants: BTreeMap<TenantId, u64>,
    /// Whether incoming packets are captured, by interface.
    pub(super) listening: BTreeMap<String, bool>,
    pub(super) restored_guards: u64,
    pub(super) panics: u64,
    pub(super) missing_probes: u64,
    pub(super) is_ledger_unusable: bool,
}

/// A right knock whose doors are not all open yet.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    /// When its last packet came.
    since: Timestamp,
    /// How many doors are not open.
    doors: usize,
}

impl Counted {
    /// In front of `next`, which counts drops by `drops`; off.
    pub(super) fn new(next: Arc<dyn Observer>, drops: Arc<Counters>) -> Self {
        Self {
            next,
            drops,
            is_on: AtomicBool::new(false),
            knocks: AtomicU64::new(0),
            tally: Mutex::default(),
            under_way: Mutex::default(),
        }
    }

    /// Somebody can ask from now on.
    pub(super) fn switch_on(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Packets that were looked at for rules.
    pub(super) fn knocks(&self) -> u64 {
        self.knocks.load(Ordering::Relaxed)
    }

    /// What was counted so far.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().past_panic()
    }

    /// This configuration is in force: what it does not name is forgotten.
    pub(super) fn put_in_force(&self, config: &Config) {
        let rules: HashSet<&RuleId> = config.rules.iter().map(|rule| &rule.id).collect();
        let has_door = |door: &Arc<str>| config.doors.contains_key(door);
        let mut tally = self.tally();
        tally.openings.retain(|(rule, door), _| {
            rule.as_ref().is_none_or(|rule| rules.contains(rule)) && has_door(door)
        });
        tally.closings.retain(|(door, _), _| has_door(door));
        tally.stuck.retain(|door, _| has_door(door));
        tally.times.retain(|door, _| has_door(door));
        tally.listening.retain(|interface, _| config.interfaces.contains(interface));
        tally.refused_tenants.retain(|id, _| config.tenants.iter().any(|tenant| tenant.id == *id));
    }

    /// A rule asks for doors to be opened because of this knock: from here on it is measured how long that takes.
    pub(crate) fn asked(&self, rule: &RuleId, knock: &Knock, request: &Request) {
        let Request::Open(doors) = request else { return };
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut under_way = self.under_way.lock().past_panic();
        if under_way.len() >= MOST_UNDER_WAY {
            under_way.retain(|_, other| knock.time.since(other.since) < FORGOTTEN);
            if under_way.len() >= MOST_UNDER_WAY {
                return;
            }
        }
        let client = Client::on_link(knock.source, knock.link);
        under_way.insert((rule.clone(), client), UnderWay { since: knock.time, doors: doors.len() });
    }

    /// How long it took a door to open, as of now; none if that was not measured.
    fn took(&self, report: &Report<'_>) -> Option<Duration> {
        let key = (report.rule()?.clone(), report.client?);
        let mut under_way = self.under_way.lock().past_panic();
        let UnderWay { since, doors } = under_way.get_mut(&key)?;
        let took = now().since(*since);
        *doors = doors.saturating_sub(1);
        if *doors == 0 {
            under_way.remove(&key);
        }
        Some(took)
    }

    fn count(&self, report: &Report<'_>) {
        let door = || Arc::<str>::from(report.door.as_deref().unwrap_or_default());
        match &report.what {
            What::Opened { .. } => {
                let (door, took) = (door(), self.took(report));
                let mut tally = self.tally();
                *tally.openings.entry((report.rule().cloned(), Arc::clone(&door))).or_default() += 1;
                if let Some(took) = took {
                    tally.times.entry(door).or_default().add(took);
                }
            }
            What::Closed { why } => *self.tally().closings.entry((door(), why.name())).or_default() += 1,
            What::StuckOpen { again_in: None, .. } => *self.tally().stuck.entry(door()).or_default() += 1,
            What::InForce { .. } => {
                let mut tally = self.tally();
                tally.reloads += 1;
                tally.is_newest_refused = false;
            }
            What::ReloadRefused { .. } | What::DoorsRefused { .. } => {
                let mut tally = self.tally();
                tally.refused_reloads += 1;
                tally.is_newest_refused = true;
            }
            What::TenantRefused { .. } => {
                if let Some(tenant) = report.tenant() {
                    *self.tally().refused_tenants.entry(tenant.clone()).or_default() += 1;
                }
            }
            What::Listening { interface, direction: Direction::Incoming, .. }
            | What::ListeningAgain { interface, .. } => {
                self.tally().listening.insert(interface.to_string(), true);
            }
            What::NotListening { interface, direction: Direction::Incoming, .. } => {
                self.tally().listening.insert(interface.to_string(), false);
            }
            What::GuardRestored { .. } => self.tally().restored_guards += 1,
            What::Panicked { .. } | What::FramePanicked { .. } => self.tally().panics += 1,
            What::ProbeMissing { .. } => self.tally().missing_probes += 1,
            What::LedgerUnusable { .. } => self.tally().is_ledger_unusable = true,
            What::LedgerUsable { .. } => self.tally().is_ledger_unusable = false,
            _ => {}
        }
    }
}

impl Observer for Counted {
    fn report(&self, report: &Report<'_>) {
        // What is there before anybody can ask is asked for later: which interfaces are captured on.
        if report.client.is_none() || self.is_on.load(Ordering::Relaxed) {
            self.count(report);
        }
        self.next.report(report);
    }

    fn count_drops(&self, tenant: Option<&TenantId>, reason: DropReason, count: u64) {
        self.next.count_drops(tenant, reason, count);
    }

    fn silent(&self, rule: &RuleId, knock: &Knock, silence: Silence) {
        self.next.silent(rule, knock, silence);
    }

    fn arrived(&self, knock: &Knock) {
        self.knocks.fetch_add(1, Ordering::Relaxed);
        self.next.arrived(knock);
    }

    fn passed_over(&self, knock: &Knock, reason: DropReason) {
        self.next.passed_over(knock, reason);
    }

    fn limit_lines(&self, tenant: &TenantId, lines: u32) {
        self.next.limit_lines(tenant, lines);
    }
}

/// Now, by the clock that packets carry.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
