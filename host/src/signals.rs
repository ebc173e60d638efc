//! Signals: what asks the daemon to reload or to stop: the signals of this process, caught from its first moment on, or a supervisor who
//! catches them for it.

use std::io;
use std::task::{Context, Poll, Waker};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Requests that wait; more of the same mean no more.
const WAITING: usize = 8;

/// The signals that mean something; all others keep their default.
pub(crate) struct Signals {
    /// Read the configuration again.
    pub(crate) hangup: Hangups,
    /// Stop.
    pub(crate) stop: StopSignals,
}

/// The signals that mean to read the configuration again.
pub(crate) struct Hangups(Source<Signal, ()>);

/// The signals that mean to stop.
pub(crate) struct StopSignals(Source<Caught, i32>);

enum Source<Own, Told> {
    /// Of this process.
    Own(Own),
    /// Told by a supervisor. If it is gone nothing is told any more.
    Told(Receiver<Told>),
}

struct Caught {
    terminate: Signal,
    interrupt: Signal,
}

/// Tells a process of signals that another one caught.
pub(crate) struct SignalTeller {
    hangup: Sender<()>,
    stop: Sender<i32>,
}

impl Signals {
    /// Catches them from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let stop = Caught {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        let hangup = Hangups(Source::Own(signal(SignalKind::hangup())?));
        Ok(Self { hangup, stop: StopSignals(Source::Own(stop)) })
    }

    /// Those that are told; the process's own are caught from now on, and mean nothing.
    pub(crate) fn told() -> io::Result<(SignalTeller, Self)> {
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            // Once caught it stays so.
            drop(signal(kind)?);
        }
        let ((hangup, hangups), (stop, stops)) = (channel(WAITING), channel(WAITING));
        let signals = Self { hangup: Hangups(Source::Told(hangups)), stop: StopSignals(Source::Told(stops)) };
        Ok((SignalTeller { hangup, stop }, signals))
    }
}

impl SignalTeller {
    /// The configuration is to be read again.
    pub(crate) fn hangup(&self) {
        // If some wait it will be read anyway.
        let _ = self.hangup.try_send(());
    }

    /// This signal asks to stop.
    pub(crate) fn stop(&self, signal: i32) {
        let _ = self.stop.try_send(signal);
    }
}

impl Hangups {
    /// Waits for the next one.
    pub(crate) async fn recv(&mut self) {
        let came = match &mut self.0 {
            Source::Own(signal) => signal.recv().await,
            Source::Told(told) => told.recv().await,
        };
        if came.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

impl StopSignals {
    /// The number of the signal that came.
    pub(crate) async fn recv(&mut self) -> i32 {
        let told = match &mut self.0 {
            Source::Own(Caught { terminate, interrupt }) => tokio::select! {
                _ = terminate.recv() => Some(SignalKind::terminate().as_raw_value()),
                _ = interrupt.recv() => Some(SignalKind::interrupt().as_raw_value()),
            },
            Source::Told(told) => told.recv().await,
        };
        match told {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// The number of a signal that has come already.
    pub(crate) fn came(&mut self) -> Option<i32> {
        let Caught { terminate, interrupt } = match &mut self.0 {
            Source::Own(caught) => caught,
            Source::Told(told) => return told.try_recv().ok(),
        };
        let mut context = Context::from_waker(Waker::noop());
        let kinds = [(terminate, SignalKind::terminate()), (interrupt, SignalKind::interrupt())];
        kinds.into_iter().find_map(|(signal, kind)| {
            matches!(signal.poll_recv(&mut context), Poll::Ready(Some(()))).then(|| kind.as_raw_value())
        })
    }
}
