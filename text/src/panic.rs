//! Panic: cleans the message of a panic, since a name from outside may be in it; and locks a mutex that a panicked thread held.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::sync::{LockResult, PoisonError};
use std::thread;

use crate::terminal;

/// Has panics of all threads say what they say in one clean line, as `program`; the backtrace that `RUST_BACKTRACE` asks for follows.
pub fn say_cleanly(program: &'static str) {
    panic::set_hook(Box::new(move |info| {
        // If standard error is gone there is no place left to say it.
        drop(terminal::err(words(program, info)));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            backtrace.to_string().lines().for_each(|line| drop(terminal::err(line)));
        }
    }));
}

/// What a lock guards, also if a thread panicked while it held the lock.
///
/// A panic costs the work that it happened in, nothing else: it is caught, said and counted where that work began, and the next one goes
/// on with what is there. So what stands behind a lock must be sound between any two statements.
pub trait PastPanic<T> {
    /// What is guarded.
    fn past_panic(self) -> T;
}

impl<T> PastPanic<T> for LockResult<T> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    fn past_panic(self) -> T {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}

fn words(program: &str, info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = info.location().map(|location| format!(" at {location}")).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("no message");
    format!("{program}: thread {name} panicked{place}: {message}")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_lock_outlives_a_panic() {
        let mutex = Arc::new(Mutex::new(1));
        let held = Arc::clone(&mutex);
        let ended = thread::spawn(move || {
            let mut value = held.lock().past_panic();
            *value = 2;
            panic!("with the lock held");
        });
        assert!(ended.join().is_err());
        assert!(mutex.is_poisoned());
        assert_eq!(*mutex.lock().past_panic(), 2);
    }

    #[test]
    fn says_where_and_what() {
        let said = Arc::new(Mutex::new(String::new()));
        let hook = panic::take_hook();
        let to = Arc::clone(&said);
        panic::set_hook(Box::new(move |info| *to.lock().unwrap() = words("posternd", info)));
        let caught = panic::catch_unwind(|| panic!("no `{}`", "a\nb"));
        panic::set_hook(hook);
        assert!(caught.is_err());
        let said = said.lock().unwrap().clone();
        assert!(
            said.starts_with("posternd: thread ") && said.contains(" panicked at text/src/panic.rs:"),
            "{said}"
        );
        assert!(said.ends_with(": no `a\nb`"), "{said}");
    }
}
