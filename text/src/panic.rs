//! Panic: what a panic says goes to standard error clean, too: a name from outside may be in its message.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::thread;

use crate::terminal;

/// Has panics of all threads say what they say in one clean line, as `program`; the backtrace that `RUST_BACKTRACE` asks for follows.
pub fn say_cleanly(program: &'static str) {
    panic::set_hook(Box::new(move |info| {
        // If standard error is gone nobody can be told.
        drop(terminal::err(words(program, info)));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            backtrace.to_string().lines().for_each(|line| drop(terminal::err(line)));
        }
    }));
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
