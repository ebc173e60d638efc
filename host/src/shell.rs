//! Shell: what the daemon runs in: an asynchronous runtime, and the signals.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::signals::{SignalTeller, Signals};

/// What the daemon runs in. From its start on signals are caught: an early one is handled late, but does not kill the process.
pub(crate) struct Shell {
    runtime: Runtime,
    signals: Signals,
}

impl Shell {
    /// One that catches this process's signals.
    ///
    /// # Errors
    /// If the system does not let it.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _inside = runtime.enter();
            Signals::catch()?
        };
        Ok(Self { runtime, signals })
    }

    /// As [`Shell::start`], for a process whose supervisor catches the signals.
    ///
    /// # Errors
    /// As [`Shell::start`].
    pub(crate) fn told() -> io::Result<(Self, SignalTeller)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (teller, signals) = {
            let _inside = runtime.enter();
            Signals::told()?
        };
        Ok((Self { runtime, signals }, teller))
    }

    /// Runs this to its end. What still runs then has had its time to end.
    pub(crate) fn run<F: Future>(self, work: impl FnOnce(Signals) -> F) -> F::Output {
        let Self { runtime, signals } = self;
        let done = runtime.block_on(work(signals));
        runtime.shutdown_background();
        done
    }
}
