//! Runtime: the wasmtime engine, the ticker that lets it stop a rule, and what tenants have used of their shares.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use postern_core::{CpuMeter, Excess, Moment, Observer, Report, RuleId, What};
use postern_text::panic::PastPanic;
use rustix::fd::OwnedFd;
use rustix::io::read;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use wasmtime::Engine;

use crate::engine::engine;
use crate::over_shares::OverShares;
use crate::rule_counts::RuleCounts;
use crate::setup_error::SetupError;
use crate::share_owner::ShareOwner;
use crate::stopwatch::Stopwatch;

/// How often a running rule is checked.
const TICK: Duration = Duration::from_millis(1);

/// What belongs to whoever is in a generation, and is gone with the last one.
type ByOwner<K, V> = HashMap<K, Weak<V>>;

/// One engine for all rules.
#[derive(Clone)]
pub struct Runtime {
    engine: Engine,
    ticker: Arc<Ticker>,
    /// Of those that are in a generation.
    cpu_meters: Arc<Mutex<ByOwner<ShareOwner, CpuMeter>>>,
    /// The same of rules.
    rule_counts: Arc<Mutex<ByOwner<RuleId, RuleCounts>>>,
    over_shares: OverShares,
}

/// While this is alive the ticker ticks, so that a running rule is stopped in time. Every call of a rule needs one, of the thread that it is
/// made on.
pub struct RunPermit<'a> {
    ticker: &'a Ticker,
    pub(crate) stopwatch: Stopwatch,
    /// How many ticks there had been when [`RunPermit::has_ticked`] was asked last.
    seen: Cell<u64>,
}

/// Counts the ticks.
pub(crate) struct Ticks(Arc<TickerState>);

/// Ticks while a rule runs. Its timer is armed when the first call begins, and fires a tick later: most calls are done by then, and the
/// thread is not woken for them.
struct Ticker {
    shared: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

struct TickerState {
    running: AtomicUsize,
    ticks: AtomicU64,
    is_over: AtomicBool,
    timer: OwnedFd,
}

impl Runtime {
    /// The stack that a thread needs to run rules on, in bytes.
    pub const STACK: usize = 2 << 20;

    /// Sets the engine up and starts its ticker.
    ///
    /// # Errors
    /// If this machine cannot run what the engine would compile, or no thread can be started.
    pub fn start() -> Result<Self, SetupError> {
        let engine = engine()?;
        let ticker = Arc::new(Ticker::start(engine.clone()).map_err(SetupError::Ticker)?);
        let (cpu_meters, rule_counts) = (Arc::default(), Arc::default());
        Ok(Self { engine, ticker, cpu_meters, rule_counts, over_shares: OverShares::default() })
    }

    pub(crate) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The ticks of its ticker.
    pub(crate) fn ticks(&self) -> Ticks {
        Ticks(Arc::clone(&self.ticker.shared))
    }

    /// Permission to run rules; one serves many calls.
    #[must_use]
    pub fn running(&self) -> RunPermit<'_> {
        if self.ticker.shared.running.fetch_add(1, Ordering::SeqCst) == 0 {
            self.ticker.shared.set(TICK);
        }
        let (stopwatch, seen) = (Stopwatch::default(), Cell::new(self.ticker.shared.count()));
        RunPermit { ticker: &self.ticker, stopwatch, seen }
    }

    /// Has `tell` called each time that an owner of rules begins to be over its share, on the thread that judges.
    pub fn tell_over_share(&self, tell: Box<dyn Fn() + Send + Sync>) {
        self.over_shares.tell(tell);
    }

    /// Reports which owners are not over their shares any more at `now`. When to look again, if there are others that are.
    pub fn report_ended_excess(&self, now: Moment, observer: &dyn Observer) -> Option<Moment> {
        let meters = self.cpu_meters.lock().past_panic();
        let alive = meters.iter().filter_map(|(owner, meter)| Some((owner, meter.upgrade()?)));
        let look = |(owner, meter): (&ShareOwner, Arc<CpuMeter>)| match meter.excess(now) {
            Excess::None => None,
            Excess::Lasts { until } => Some(until),
            Excess::Ended { dropped } => {
                let what = What::WithinShare { dropped };
                observer.report(&Report { scope: owner.scope(), ..Report::new(what) });
                None
            }
        };
        alive.filter_map(look).min()
    }

    pub(crate) const fn over_shares(&self) -> &OverShares {
        &self.over_shares
    }

    /// What was used of a share, in all generations together.
    pub(crate) fn cpu_meter(&self, owner: &ShareOwner) -> Arc<CpuMeter> {
        shared(&mut self.cpu_meters.lock().past_panic(), owner)
    }

    /// What a rule said and used, in all generations together.
    pub(crate) fn rule_counts(&self, rule: &RuleId) -> Arc<RuleCounts> {
        shared(&mut self.rule_counts.lock().past_panic(), rule)
    }
}

/// What all generations have of this owner, or a new one.
fn shared<K: Clone + Eq + Hash, V: Default>(all: &mut ByOwner<K, V>, owner: &K) -> Arc<V> {
    if let Some(own) = all.get(owner).and_then(Weak::upgrade) {
        return own;
    }
    // Not at each of thousands.
    if all.len().is_power_of_two() {
        all.retain(|_, own| own.strong_count() > 0);
    }
    let own = Arc::default();
    all.insert(owner.clone(), Arc::downgrade(&own));
    own
}

impl RunPermit<'_> {
    /// Whether some milliseconds may have gone by since this was asked last.
    pub(crate) fn has_ticked(&self) -> bool {
        let ticks = self.ticker.shared.count();
        self.seen.replace(ticks) != ticks
    }
}

impl Drop for RunPermit<'_> {
    fn drop(&mut self) {
        self.ticker.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticks {
    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.count()
    }
}

impl TickerState {
    fn count(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// Arms the timer to fire once, after this time.
    fn set(&self, after: Duration) {
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let after = Timespec { tv_sec: 0, tv_nsec: after.subsec_nanos().into() };
        // It fails only for invalid times.
        let _ = timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: once, it_value: after },
        );
    }
}

impl Ticker {
    fn start(engine: Engine) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let shared = Arc::new(TickerState {
            running: AtomicUsize::new(0),
            ticks: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            timer,
        });
        let thread = thread::Builder::new().name("ticker".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                while !shared.is_over.load(Ordering::Acquire) {
                    // Blocks until the timer fires.
                    if read(&shared.timer, &mut [0_u8; 8]).is_ok()
                        && shared.running.load(Ordering::SeqCst) > 0
                    {
                        shared.ticks.fetch_add(1, Ordering::Relaxed);
                        engine.increment_epoch();
                        shared.set(TICK);
                    }
                }
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.shared.set(Duration::from_nanos(1));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
