//! Strangers: clients who have not knocked, and try to get in all the while that something else goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use postern_tests::{Lab, STRANGER4, STRANGER6};

/// Has it end when it is dropped, also by a panic.
struct StopGuard<'a>(&'a AtomicBool);

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something while `beside` is done over and over, at least once.
pub(crate) fn while_beside<T>(beside: impl FnMut() + Send, act: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let guard = StopGuard(&stop);
        let mut beside = beside;
        let other = scope.spawn({
            let stop = &stop;
            move || {
                loop {
                    beside();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        let done = act();
        assert!(!other.is_finished(), "what went on beside it failed");
        drop(guard);
        other.join().expect("what goes on beside it succeeds");
        done
    })
}

/// Does something while strangers try port 22, and none may get in.
pub(crate) fn while_strangers_try<T>(lab: &Lab, act: impl FnOnce() -> T) -> T {
    let once = || {
        for stranger in [STRANGER4, STRANGER6] {
            assert!(lab.tcp(stranger, 22, Duration::from_millis(3)).is_silence(), "{stranger} got in");
        }
    };
    while_beside(once, act)
}
