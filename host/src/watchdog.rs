//! Watchdog: when a probe is due, and whether the daemon may be said to work. No clock, no thread, no socket.
//!
//! Only a probe that came back says that the daemon works: the main loop alone, or a thread alone, proves nothing of the others.

use std::time::Duration;

use tokio::time::Instant;

/// How many probes may begin within the time after which the daemon counts as hung: one that is late is no reason to restart it.
const PROBES: u32 = 3;

/// Times the probes.
#[derive(Debug)]
pub(crate) struct Watchdog {
    interval: Duration,
    /// When to begin the next, or to say that the last has not come back.
    due: Instant,
    /// When the one under way began.
    begun: Option<Instant>,
    is_reported: bool,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Begin a probe.
    Probe,
    /// Report that the probe under way has not come back for so long.
    Late(Duration),
    /// Nothing: that was reported.
    Wait,
}

impl Watchdog {
    /// For somebody who takes the daemon for hung when it has not said for `timeout` that it works.
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        // Not 0, or it would do nothing else.
        let interval = (timeout / PROBES).max(Duration::from_millis(1));
        Self { interval, due: now, begun: None, is_reported: false }
    }

    /// When to call [`Self::turn`].
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// What to do now.
    pub(crate) fn turn(&mut self, now: Instant) -> Due {
        self.due = now + self.interval;
        match self.begun {
            None => {
                self.begun = Some(now);
                Due::Probe
            }
            Some(begun) if !self.is_reported => {
                self.is_reported = true;
                Due::Late(now.duration_since(begun))
            }
            Some(_) => Due::Wait,
        }
    }

    /// The probe under way has come back: the daemon works. Or it came to nothing, and the next is tried.
    pub(crate) fn came_back(&mut self) {
        self.begun = None;
        self.is_reported = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn probes_begin_three_times_within_the_timeout() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(30 * SECOND, start);
        for probe in 0..4 {
            let now = start + probe * 10 * SECOND;
            assert_eq!(watchdog.due(), now);
            assert_eq!(watchdog.turn(now), Due::Probe);
            watchdog.came_back();
        }
    }

    #[test]
    fn no_probe_begins_while_one_is_under_way_and_that_is_reported_once() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(30 * SECOND, start);
        assert_eq!(watchdog.turn(start), Due::Probe);
        assert_eq!(watchdog.turn(start + 10 * SECOND), Due::Late(10 * SECOND));
        assert_eq!(watchdog.turn(start + 20 * SECOND), Due::Wait);
        watchdog.came_back();
        assert_eq!(watchdog.turn(start + 30 * SECOND), Due::Probe);
        assert_eq!(watchdog.turn(start + 40 * SECOND), Due::Late(10 * SECOND));
    }
}
