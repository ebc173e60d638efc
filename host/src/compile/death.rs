//! Death: what it says about a module that its compiler's process ended without an answer.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use postern_text::clean;
use rustix::process::Signal;

use super::compile_limits::CompileLimits;
use super::job::Refusal;

/// Most characters of what the process wrote that are shown.
const MOST_SHOWN: usize = 300;
const SIMPLER: &str = "make it smaller or simpler";

/// Why it was ended by us, or else how it ended by itself.
#[derive(Clone, Debug)]
pub(super) enum Death {
    /// It took too long.
    TooSlow,
    /// It was refused memory.
    NoMemory,
    /// It answered what no compiler answers.
    Nonsense,
    /// It ended; `words` is the beginning of what it wrote to its standard error.
    Ended { status: ExitStatus, words: String },
}

impl Death {
    /// What is wrong with the module, and whether it would be the same if it were tried again.
    pub(super) fn explain(&self, limits: CompileLimits) -> (Refusal, bool) {
        let needs = |what: &str| Refusal::new(&format!("needs more than {what} to be compiled"), SIMPLER);
        let memory = || needs(&format!("{} MiB of memory", limits.memory >> 20));
        let (status, words) = match self {
            Self::TooSlow => {
                let what = format!("is not compiled after {} s", limits.wall().as_secs());
                return (Refusal::new(&what, SIMPLER), false);
            }
            Self::NoMemory => return (memory(), true),
            Self::Nonsense => {
                let what = "makes the compiler's process answer nonsense";
                return (Refusal::new(what, "use modules of people whom you trust only"), true);
            }
            Self::Ended { status, words } => (*status, words),
        };
        let is = |signal: Signal| status.signal() == Some(signal.as_raw());
        if is(Signal::XCPU) {
            return (needs(&format!("{} s of CPU time", limits.cpu)), true);
        }
        if is(Signal::XFSZ) || words.contains("memory allocation of") {
            return (memory(), true);
        }
        if words.contains("has overflowed its stack") {
            let what = "makes the compiler overflow its stack";
            return (Refusal::new(what, "nest its types and blocks less deeply"), true);
        }
        if words.contains(" panicked ") {
            let what = format!("makes the compiler panic ({})", clean(words.trim(), MOST_SHOWN));
            return (Refusal::new(&what, SIMPLER), true);
        }
        if is(Signal::KILL) {
            let what = "is not compiled: the compiler's process was killed";
            let remedy = "look whether the machine, or the service, was out of memory";
            return (Refusal::new(what, remedy), false);
        }
        let said = if words.trim().is_empty() {
            String::new()
        } else {
            format!(", saying: {}", clean(words.trim(), MOST_SHOWN))
        };
        let what = format!("makes the compiler's process end ({status}{said})");
        (Refusal::new(&what, SIMPLER), status.signal().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_death_has_a_reason() {
        let limits = CompileLimits { memory: 640 << 20, cpu: 30 };
        let ended =
            |raw: i32, words: &str| Death::Ended { status: ExitStatus::from_raw(raw), words: words.into() };
        for (death, what, is_lasting) in [
            (Death::TooSlow, "is not compiled after 300 s", false),
            (Death::NoMemory, "needs more than 640 MiB of memory to be compiled", true),
            (Death::Nonsense, "makes the compiler's process answer nonsense", true),
            (ended(24, ""), "needs more than 30 s of CPU time to be compiled", true),
            (ended(25, ""), "needs more than 640 MiB of memory to be compiled", true),
            (
                ended(6, "memory allocation of 8589934592 bytes failed\n"),
                "needs more than 640 MiB of memory to be compiled",
                true,
            ),
            (
                ended(6, "\nthread 'compiler' (7) has overflowed its stack\nfatal runtime error"),
                "makes the compiler overflow its stack",
                true,
            ),
            (
                ended(101 << 8, "posternd: thread compiler panicked at a.rs:1: no\n"),
                "makes the compiler panic (posternd: thread compiler panicked at a.rs:1: no)",
                true,
            ),
            (ended(9, ""), "is not compiled: the compiler's process was killed", false),
            (ended(11, ""), "makes the compiler's process end (signal: 11 (SIGSEGV))", true),
            (
                ended(1 << 8, "a\nb"),
                "makes the compiler's process end (exit status: 1, saying: a\\nb)",
                false,
            ),
        ] {
            let (refusal, lasts) = death.explain(limits);
            assert_eq!((refusal.what.as_str(), lasts), (what, is_lasting), "{death:?}");
            assert!(!refusal.remedy.is_empty());
        }
    }
}
