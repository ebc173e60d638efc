//! Signals: the signals that the daemon handles, caught from its first moment on.

use std::io;
use std::task::{Context, Poll, Waker};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean something; all others keep their default.
pub(crate) struct Signals {
    /// Read the configuration again.
    pub(crate) hangup: Signal,
    /// Stop.
    pub(crate) stop: StopSignals,
}

/// The signals that mean to stop.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let stop = StopSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self { hangup: signal(SignalKind::hangup())?, stop })
    }
}

impl StopSignals {
    /// The number of the signal that came.
    pub(crate) async fn recv(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }

    /// The number of a signal that has come already.
    pub(crate) fn came(&mut self) -> Option<i32> {
        let mut context = Context::from_waker(Waker::noop());
        let kinds =
            [(&mut self.terminate, SignalKind::terminate()), (&mut self.interrupt, SignalKind::interrupt())];
        kinds.into_iter().find_map(|(signal, kind)| {
            matches!(signal.poll_recv(&mut context), Poll::Ready(Some(()))).then(|| kind.as_raw_value())
        })
    }
}
