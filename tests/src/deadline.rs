//! Waiting with an end: the only place of the harness that sleeps, and never longer than between two looks.

use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use postern_text::terminal;

use crate::random::rounds_asked_for;

/// How long a test waits for something that takes milliseconds on an idle machine. Generous, as machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long a test may take at most. The longest takes a minute on an idle machine.
const LONGEST_TEST: Duration = Duration::from_secs(600);

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
        thread::sleep(Duration::from_millis(2));
    }
}

/// Lets time pass, for tests whose subject is time.
pub fn sleep_until(moment: Instant) {
    thread::sleep(moment.saturating_duration_since(Instant::now()));
}

/// Ends this process if the current test has not dropped it within ten minutes: whatever hangs fails by name, and does not keep whoever waits
/// for all tests. Not where [`rounds`](crate::rounds) are asked for.
#[derive(Debug)]
pub(crate) struct TestDeadline {
    _alive: Option<Sender<()>>,
}

impl TestDeadline {
    pub(crate) fn start() -> Self {
        if rounds_asked_for().is_some() {
            return Self { _alive: None };
        }
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let (alive, ended) = channel();
        thread::spawn(move || {
            if ended.recv_timeout(LONGEST_TEST) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let processes = Command::new("ps").args(["axfo", "pid,stat,etime,args"]).output();
            let processes = processes.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned());
            // Past the test runner, which would keep the lines to itself.
            let _ = terminal::err(format_args!(
                "{test} has hung for {LONGEST_TEST:?}; there are\n{}",
                processes.unwrap_or_default()
            ));
            std::process::exit(101);
        });
        Self { _alive: Some(alive) }
    }
}
