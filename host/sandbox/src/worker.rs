//! Workers: have knocks judged, each for its part of all source addresses.
//!
//! A single worker has no thread: the capture thread judges what it has read, so no thread is woken between a packet and its verdict.
//! Several workers are threads behind bounded queues.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, SendError, Sender, unbounded};
use postern_core::{Detail, DropReason, Knock, Moment, Observer, Report, Request, RuleId, ThreadKind, What};
use postern_text::panic::PastPanic;

use crate::generation::Generation;
use crate::probe::{ProbeFault, ProbeRule, Prober};
use crate::runtime::Runtime;
use crate::setup_error::SetupError;
use crate::shard::Shard;

/// Knocks that may wait for one thread, however they are batched; what a flood brings beyond that is dropped and counted.
const QUEUE: usize = 8192;

/// Tells this machine's addresses.
pub type IsLocal = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;
/// Tells the time.
pub type Now = Arc<dyn Fn() -> Moment + Send + Sync>;
/// Takes what a rule asks for because of a knock, and the number of the rule's generation.
pub type Ask = Arc<dyn Fn(u64, &RuleId, &Knock, Request) + Send + Sync>;

/// What all workers need to judge.
pub struct PoolContext {
    /// Runs the rules.
    pub runtime: Runtime,
    /// Which addresses are this machine's.
    pub is_local: IsLocal,
    /// The time, for the back-off of rules and the shares of tenants.
    pub now: Now,
    /// Takes what rules ask for, on the thread that judges.
    pub ask: Ask,
    /// Gets reports of everything else.
    pub observer: Arc<dyn Observer>,
}

/// The workers and the generation that they run.
pub struct Pool {
    workers: Arc<[Worker]>,
    queues: Arc<[Sender<Job>]>,
    generation: Arc<ArcSwap<Generation>>,
    hasher: RandomState,
    threads: Vec<JoinHandle<()>>,
    stops: Arc<AtomicBool>,
}

/// Where knocks are handed in. Threads end when every submitter is gone.
pub struct Submitter {
    workers: Arc<[Worker]>,
    /// One for each worker that is a thread of its own.
    queues: Arc<[Sender<Job>]>,
    generation: Arc<ArcSwap<Generation>>,
    hasher: RandomState,
    /// What was handed in since the last [`Submitter::judge`], by worker.
    batches: Vec<Vec<Knock>>,
}

/// What a worker that is a thread of its own is sent.
pub(crate) enum Job {
    /// To be judged.
    Knocks(Vec<Knock>),
    /// To be judged by this rule, and answered.
    Probe(Arc<ProbeRule>, Sender<Result<(), ProbeFault>>),
}

pub(crate) struct Worker {
    context: Arc<PoolContext>,
    generation: Arc<ArcSwap<Generation>>,
    shard: Mutex<Shard>,
    /// Knocks in its queue; this is what bounds it.
    waiting: AtomicUsize,
    stops: Arc<AtomicBool>,
}

impl Pool {
    /// So many workers; each but a single one is a thread.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(context: PoolContext, workers: usize, generation: Arc<Generation>) -> std::io::Result<Self> {
        let context = Arc::new(context);
        let stops = Arc::new(AtomicBool::new(false));
        let swap = Arc::new(ArcSwap::new(Arc::clone(&generation)));
        let worker = |_| Worker {
            context: Arc::clone(&context),
            generation: Arc::clone(&swap),
            shard: Mutex::new(Shard::new(Arc::clone(&generation), workers)),
            waiting: AtomicUsize::new(0),
            stops: Arc::clone(&stops),
        };
        let workers: Arc<[Worker]> = (0..workers).map(worker).collect();
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for n in (0..workers.len()).filter(|_| workers.len() > 1) {
            let (sender, queue): (_, Receiver<Job>) = unbounded();
            queues.push(sender);
            let workers = Arc::clone(&workers);
            let builder = thread::Builder::new().name(format!("rules-{n}")).stack_size(Runtime::STACK);
            threads.push(builder.spawn(move || {
                for job in queue {
                    match job {
                        Job::Knocks(mut knocks) => {
                            workers[n].waiting.fetch_sub(knocks.len(), Ordering::Relaxed);
                            workers[n].judge(&mut knocks);
                        }
                        // The prober may have given up.
                        Job::Probe(rule, reply) => drop(reply.send(workers[n].probe(&rule))),
                    }
                }
            })?);
        }
        let hasher = RandomState::new();
        Ok(Self { workers, queues: queues.into(), generation: swap, hasher, threads, stops })
    }

    /// A submitter for one more source of knocks.
    #[must_use]
    pub fn submitter(&self) -> Submitter {
        Submitter {
            workers: Arc::clone(&self.workers),
            queues: Arc::clone(&self.queues),
            generation: Arc::clone(&self.generation),
            hasher: self.hasher.clone(),
            batches: self.workers.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// What hands probes to all workers.
    ///
    /// # Errors
    /// If this machine cannot run what the engine would compile.
    pub fn prober(&self) -> Result<Prober, SetupError> {
        // All workers have the same context; a configuration has one worker at least.
        let runtime = self.workers.first().map(|worker| &worker.context.runtime);
        let rule = ProbeRule::new(runtime.expect("there is a worker"))?;
        let (workers, queues) = (Arc::clone(&self.workers), Arc::downgrade(&self.queues));
        Ok(Prober { rule: Arc::new(rule), workers, queues })
    }

    /// Reports which owners are not over their shares any more. After which time to look again, if there are others that are.
    #[must_use]
    pub fn report_ended_excess(&self) -> Option<Duration> {
        let PoolContext { runtime, now, observer, .. } = &*self.workers.first()?.context;
        let now = now();
        runtime.report_ended_excess(now, &**observer).map(|next| next.0.saturating_sub(now.0))
    }

    /// Has every worker go on with this generation, each between two batches.
    pub fn replace(&self, generation: Arc<Generation>) {
        self.generation.store(generation);
        for worker in &*self.workers {
            // The shard of an idle worker moves on here, so that it does not keep the old generation alive; a busy worker checks for itself.
            match worker.shard.try_lock() {
                Ok(mut shard) => worker.keep_up(&mut shard),
                Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => {}
            }
        }
    }

    /// Judges nothing more; a worker in the middle of a batch drops the rest of it.
    pub fn halt(&self) {
        self.stops.store(true, Ordering::Relaxed);
    }

    /// Ends the workers; what is in their queues is dropped. Every submitter must be gone.
    pub fn stop(self) {
        self.halt();
        drop(self.queues);
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

impl Submitter {
    /// What any of the rules wants to see of a packet.
    #[must_use]
    pub fn detail(&self) -> Detail {
        self.generation.load().dispatch.detail()
    }

    /// Hands a knock in.
    pub fn offer(&mut self, knock: Knock) {
        let worker = match self.batches.len() {
            1 => 0,
            // Keyed, so that an outsider cannot aim at one worker.
            workers => {
                usize::try_from(self.hasher.hash_one(knock.source) % workers as u64).unwrap_or_default()
            }
        };
        self.batches[worker].push(knock);
    }

    /// Has everything judged that was handed in. A single worker is done with it afterwards.
    pub fn judge(&mut self) {
        if self.queues.is_empty() {
            return self.workers[0].judge(&mut self.batches[0]);
        }
        for ((batch, queue), worker) in self.batches.iter_mut().zip(&*self.queues).zip(&*self.workers) {
            if batch.is_empty() {
                continue;
            }
            let count = batch.len();
            if worker.waiting.load(Ordering::Relaxed) + count > QUEUE {
                batch.clear();
                worker.count_drops(DropReason::QueueFull, count);
                continue;
            }
            worker.waiting.fetch_add(count, Ordering::Relaxed);
            if let Err(SendError(Job::Knocks(lost))) = queue.send(Job::Knocks(std::mem::take(batch))) {
                worker.count_drops(DropReason::Stopping, lost.len());
            }
        }
    }
}

impl Worker {
    /// Judges a batch and empties it.
    fn judge(&self, knocks: &mut Vec<Knock>) {
        if knocks.is_empty() {
            return;
        }
        let mut shard = self.shard.lock().past_panic();
        self.keep_up(&mut shard);
        let PoolContext { runtime, is_local, now, ask, observer } = &*self.context;
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let running = runtime.running();
            let mut time = now();
            let number = shard.generation().number;
            for knock in &*knocks {
                if self.stops.load(Ordering::Relaxed) {
                    return;
                }
                // A batch of slow rules takes longer than what shares are counted in.
                if running.has_ticked() {
                    time = now();
                }
                observer.arrived(knock);
                let judged = shard.judge(&running, knock, time, &**is_local, &**observer, |rule, request| {
                    ask(number, rule, knock, request);
                });
                if let Err(reason) = judged {
                    observer.passed_over(knock, reason);
                    observer.count_drops(None, reason, 1);
                }
            }
        }));
        if judged.is_err() {
            observer.report(&Report::new(What::Panicked { thread: ThreadKind::Worker }));
            shard.start_over();
        }
        knocks.clear();
    }

    /// Judges a probe, when nothing else is being judged.
    pub(crate) fn probe(&self, rule: &ProbeRule) -> Result<(), ProbeFault> {
        let mut shard = self.shard.lock().past_panic();
        self.keep_up(&mut shard);
        let running = self.context.runtime.running();
        let judged = catch_unwind(AssertUnwindSafe(|| rule.judge(&running)));
        judged.unwrap_or_else(|_| Err("judging panicked; see the standard error".to_owned()))
    }

    fn keep_up(&self, shard: &mut Shard) {
        if !Arc::ptr_eq(&self.generation.load(), shard.generation()) {
            let PoolContext { now, observer, .. } = &*self.context;
            shard.replace(self.generation.load_full(), now(), &**observer);
        }
    }

    /// Counts knocks that are lost before it is known which rules they were for.
    fn count_drops(&self, reason: DropReason, count: usize) {
        self.context.observer.count_drops(None, reason, count as u64);
    }
}
