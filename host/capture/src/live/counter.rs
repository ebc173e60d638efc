//! CaptureCounter: says what a capture has seen, to whoever asks. It asks the capture's thread and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::{CaptureStats, SharedCapture};

/// How long to wait for the thread to say how many frames it saw.
const PATIENCE: Duration = Duration::from_millis(200);

/// Says what a capture has seen, as long as that lives.
#[derive(Clone, Debug)]
pub struct CaptureCounter(pub(super) Arc<SharedCapture>);

impl CaptureCounter {
    /// What it has seen. Asks the thread, which may take up to 200 ms; none if it is busy for longer, or is to end.
    #[must_use]
    pub fn stats(&self) -> Option<CaptureStats> {
        let asked = {
            let mut state = self.0.lock();
            if state.stop {
                return None;
            }
            state.stats_asked += 1;
            state.stats_asked
        };
        self.0.wake();
        let (state, is_answered) = self.0.wait_until(PATIENCE, |state| state.stats_answered >= asked);
        is_answered.then_some(state.stats)
    }
}
