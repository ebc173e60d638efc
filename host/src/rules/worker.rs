//! Workers: threads that run rules, sharded by source address, each behind a bounded queue.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use postern_core::{DropReason, Knock, RuleId};

use super::generation::Generation;
use super::runtime::Runtime;
use super::shard::{Outcome, Shard};
use crate::clock::Clock;

/// Knocks that may wait for one worker; a flood beyond that is dropped and counted.
const QUEUE: usize = 8192;
/// Knocks that are judged before a new generation is looked for.
const BATCH: usize = 256;

/// Tells this machine's addresses.
pub type IsLocal = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The worker threads and the generation that they run.
pub struct Pool {
    entrance: Entrance,
    threads: Vec<JoinHandle<()>>,
    stops: Arc<AtomicBool>,
}

/// Where knocks are handed in. Workers end when every entrance is gone.
#[derive(Clone)]
pub struct Entrance {
    queues: Arc<[Sender<Message>]>,
    generation: Arc<ArcSwap<Generation>>,
    hasher: RandomState,
    is_local: IsLocal,
}

enum Message {
    Knock(Knock),
    /// Nothing to judge: there is a new generation.
    Wake,
}

impl Pool {
    /// Starts the workers. `told` hears what came of each knock, and in which generation, on the worker's thread.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(
        runtime: &Runtime,
        workers: usize,
        generation: Arc<Generation>,
        is_local: IsLocal,
        clock: Clock,
        told: impl Fn(u64, &RuleId, &Knock, Outcome) + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let generation = Arc::new(ArcSwap::new(generation));
        let stops = Arc::new(AtomicBool::new(false));
        let mut queues = Vec::with_capacity(workers);
        let mut threads = Vec::with_capacity(workers);
        for n in 0..workers {
            let (sender, queue) = bounded(QUEUE);
            queues.push(sender);
            let worker = Worker {
                runtime: runtime.clone(),
                queue,
                generation: Arc::clone(&generation),
                shard: Shard::new(generation.load_full(), workers),
                shards: workers,
                is_local: Arc::clone(&is_local),
                clock,
                told: told.clone(),
                stops: Arc::clone(&stops),
            };
            let builder = thread::Builder::new().name(format!("rules-{n}")).stack_size(Runtime::STACK);
            threads.push(builder.spawn(move || worker.run())?);
        }
        let hasher = RandomState::new();
        Ok(Self {
            entrance: Entrance { queues: queues.into(), generation, hasher, is_local },
            threads,
            stops,
        })
    }

    /// A way in for one more source of knocks.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        self.entrance.clone()
    }

    /// Has every worker go on with this generation, each between two knocks.
    pub fn replace(&self, generation: Arc<Generation>) {
        self.entrance.generation.store(generation);
        for queue in &*self.entrance.queues {
            // A worker with a full queue needs no waking.
            drop(queue.try_send(Message::Wake));
        }
    }

    /// Ends the workers; what is in their queues is dropped. Every other entrance must be gone.
    pub fn stop(self) {
        self.stops.store(true, Ordering::Relaxed);
        drop(self.entrance);
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

impl Entrance {
    /// The most payload that any rule wants.
    #[must_use]
    pub fn payload_limit(&self) -> usize {
        self.generation.load().dispatch.payload_limit()
    }

    /// Hands a knock to the worker of its source, if any rule asked for it.
    ///
    /// # Errors
    /// Why it came to nothing.
    pub fn offer(&self, knock: Knock) -> Result<(), DropReason> {
        if self.generation.load().dispatch.wanted(&knock, &*self.is_local).next().is_none() {
            return Err(DropReason::NotWatched);
        }
        let queue = match &*self.queues {
            [only] => only,
            // Keyed, so that nobody outside can aim at one worker.
            queues => {
                let hash = self.hasher.hash_one(knock.source) % queues.len() as u64;
                &queues[usize::try_from(hash).unwrap_or(0)]
            }
        };
        match queue.try_send(Message::Knock(knock)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(DropReason::QueueFull),
            Err(TrySendError::Disconnected(_)) => Err(DropReason::Stopping),
        }
    }
}

struct Worker<F> {
    runtime: Runtime,
    queue: Receiver<Message>,
    generation: Arc<ArcSwap<Generation>>,
    shard: Shard,
    shards: usize,
    is_local: IsLocal,
    clock: Clock,
    told: F,
    stops: Arc<AtomicBool>,
}

impl<F: Fn(u64, &RuleId, &Knock, Outcome)> Worker<F> {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            if catch_unwind(AssertUnwindSafe(|| self.batch(first))).is_err() {
                tracing::error!(
                    event = "panic",
                    "a worker panicked and starts over; half-finished knocks are lost"
                );
                self.shard = Shard::new(self.generation.load_full(), self.shards);
            }
        }
    }

    fn batch(&mut self, first: Message) {
        let Self { runtime, queue, generation, shard, is_local, clock, told, stops, .. } = self;
        let running = runtime.running();
        if !Arc::ptr_eq(&generation.load(), shard.generation()) {
            shard.replace(generation.load_full());
        }
        let now = clock.now();
        let number = shard.generation().number;
        for message in std::iter::once(first).chain(queue.try_iter().take(BATCH)) {
            if stops.load(Ordering::Relaxed) {
                return;
            }
            if let Message::Knock(knock) = message {
                shard.judge(&running, &knock, now, &**is_local, |rule, outcome| {
                    told(number, rule, &knock, outcome)
                });
            }
        }
    }
}
