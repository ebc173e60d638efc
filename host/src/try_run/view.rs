//! TryView: what the control socket and the main loop know of a run that is tried. They ask for a confirmation; whoever runs the daemon decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::ConfirmedBy;

/// How long a confirmation may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A run that is tried, or was.
#[derive(Clone)]
pub(crate) struct TryView {
    until: Instant,
    ask: Arc<dyn Fn(ConfirmedBy) + Send + Sync>,
    confirmed: watch::Receiver<bool>,
}

/// Tells all views that the run is confirmed.
pub(crate) struct TryVerdict(watch::Sender<bool>);

impl TryView {
    /// Of a run whose guard goes then. `ask` is called with each confirmation, and returns at once.
    pub(crate) fn new(
        until: Instant,
        ask: impl Fn(ConfirmedBy) + Send + Sync + 'static,
    ) -> (Self, TryVerdict) {
        let (verdict, confirmed) = watch::channel(false);
        (Self { until, ask: Arc::new(ask), confirmed }, TryVerdict(verdict))
    }

    /// How much is left; none once it is confirmed.
    pub(crate) fn left(&self) -> Option<Duration> {
        let is_confirmed = *self.confirmed.borrow();
        (!is_confirmed).then(|| self.until.saturating_duration_since(Instant::now()))
    }

    /// Asks for a confirmation.
    pub(crate) fn ask(&self, by: ConfirmedBy) {
        if self.left().is_some() {
            (self.ask)(by);
        }
    }

    /// Asks for a confirmation and waits for it; false if it does not come.
    pub(crate) async fn confirm(&self, by: ConfirmedBy) -> bool {
        let mut confirmed = self.confirmed.clone();
        self.ask(by);
        matches!(timeout(PATIENCE, confirmed.wait_for(|confirmed| *confirmed)).await, Ok(Ok(_)))
    }
}

impl TryVerdict {
    /// The run is confirmed.
    pub(crate) fn confirm(&self) {
        let _ = self.0.send(true);
    }
}
