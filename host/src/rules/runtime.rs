//! Runtime: the wasmtime engine and the ticker that lets it stop a rule.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::{Config, Engine};

/// How often a running rule may be looked at.
const TICK: Duration = Duration::from_millis(1);
/// Guests run on our threads' stacks; see [`Runtime::STACK`].
const MAX_WASM_STACK: usize = 256 << 10;

/// One engine for all rules. Its ticker sleeps while no rule runs.
#[derive(Clone)]
pub struct Runtime {
    engine: Engine,
    ticker: Arc<Ticker>,
}

/// While this is alive the ticker ticks, so that a rule that runs is stopped in time. Nothing runs without one.
pub struct Running<'a>(&'a Ticker);

struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    is_over: AtomicBool,
}

impl Runtime {
    /// The stack that a thread needs to run rules on, in bytes.
    pub const STACK: usize = 2 << 20;

    /// Sets the engine up and starts its ticker.
    ///
    /// # Errors
    /// If this machine cannot run what the engine would compile, or no thread can be started.
    pub fn start() -> anyhow::Result<Self> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .max_wasm_stack(MAX_WASM_STACK)
            .wasm_backtrace_max_frames(NonZeroUsize::new(16))
            // The same knocks give the same verdicts on every machine.
            .cranelift_nan_canonicalization(true)
            .wasm_relaxed_simd(false)
            .wasm_simd(false)
            .wasm_memory64(false)
            // Off would make wasmtime 48 panic on a component composed of several modules, as QuickJS rules are.
            .wasm_multi_memory(true);
        let engine = Engine::new(&config).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let ticker = Arc::new(Ticker::start(engine.clone())?);
        Ok(Self { engine, ticker })
    }

    pub(super) const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Leave to run rules; once for many calls is enough.
    #[must_use]
    pub fn running(&self) -> Running<'_> {
        if self.ticker.shared.running.fetch_add(1, Ordering::AcqRel) == 0
            && let Some(thread) = &self.ticker.thread
        {
            thread.thread().unpark();
        }
        Running(&self.ticker)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Ticker {
    fn start(engine: Engine) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("ticker".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                while !shared.is_over.load(Ordering::Acquire) {
                    if shared.running.load(Ordering::Acquire) == 0 {
                        thread::park();
                    } else {
                        thread::sleep(TICK);
                        engine.increment_epoch();
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
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
