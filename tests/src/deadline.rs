//! Waiting with an end: the only place of the harness that sleeps, and never longer than between two looks.

use std::time::{Duration, Instant};

/// How long a test waits for something that takes milliseconds on an idle machine. Generous, as machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Looks until there is something to see.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was awaited.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// Looks until there is something to see.
///
/// # Panics
/// After `patience`, naming `what` was awaited.
#[track_caller]
pub fn eventually_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < patience, "waited {patience:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Lets time pass, for tests whose subject is time.
pub fn sleep_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}
