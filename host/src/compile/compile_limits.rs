//! CompileLimits: what the compiler of one module may use.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

const MIB: u64 = 1 << 20;
/// What any module may take, and what more for each byte of it: large modules are runtimes of a language. More than twice the address space
/// that was seen: 164 MiB for the stock rule and 166 for Go's 1.9 MB and QuickJS's 1.1 MB, most of it reserved and not used, and 426 for
/// Python's 18 MB.
const MEMORY: u64 = 384 * MIB;
const MEMORY_FOR_BYTE: u64 = 32;
/// More than ten times what was seen on a busy machine: 0.2, 1.5, 1.3 and 13 s.
const CPU: Duration = Duration::from_secs(30);
const CPU_FOR_MIB: Duration = Duration::from_secs(10);
/// How much longer than its CPU time a compiler may take: others use the processors as well, and come first.
const WALL_FACTOR: u32 = 10;
/// Seconds of CPU time between the signal that says what is wrong and the kill. Were both limits the same, Linux would kill at once, and that
/// looks like a kill for want of memory.
const LAST_CPU: u64 = 2;
/// Descriptors: the standard ones, the link, module and code, and a few of the system's.
const FILES: u64 = 32;

/// What the compiler of one module may use.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CompileLimits {
    /// Bytes of address space, and of the code.
    pub(super) memory: u64,
    /// Seconds of CPU time.
    pub(super) cpu: u64,
}

impl CompileLimits {
    /// Those of a module of so many bytes: compilers take as much as what they are fed is long, unless that is made to hurt them.
    pub(super) fn for_module(bytes: u64) -> Self {
        let mib = u32::try_from(bytes / MIB).unwrap_or(u32::MAX);
        let cpu = CPU + CPU_FOR_MIB.saturating_mul(mib);
        Self { memory: MEMORY + MEMORY_FOR_BYTE.saturating_mul(bytes), cpu: cpu.as_secs() }
    }

    /// The same, with no more CPU time than this, in whole seconds.
    pub(super) fn with_cpu(self, most: Option<Duration>) -> Self {
        Self { cpu: most.map_or(self.cpu, |most| self.cpu.min(most.as_secs().max(1))), ..self }
    }

    /// How long it may take.
    pub(super) fn wall(self) -> Duration {
        Duration::from_secs(self.cpu).saturating_mul(WALL_FACTOR)
    }

    /// Puts them on this process for good.
    ///
    /// # Errors
    /// If the system refuses one.
    pub(super) fn impose(self) -> io::Result<()> {
        for (resource, current, maximum) in [
            (Resource::As, self.memory, self.memory),
            (Resource::Cpu, self.cpu, self.cpu + LAST_CPU),
            (Resource::Core, 0, 0),
            (Resource::Nofile, FILES, FILES),
            // The file of the code; it is memory.
            (Resource::Fsize, self.memory, self.memory),
        ] {
            // One that is lower already stays.
            let own = getrlimit(resource);
            let lower = |own: Option<u64>, most: u64| Some(own.map_or(most, |own| own.min(most)));
            let both = Rlimit { current: lower(own.current, current), maximum: lower(own.maximum, maximum) };
            setrlimit(resource, both)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_modules_may_use_more() {
        let small = CompileLimits::for_module(300_000);
        assert_eq!((small.memory / MIB, small.cpu, small.wall().as_secs()), (393, 30, 300));
        let python = CompileLimits::for_module(18 * MIB);
        assert_eq!((python.memory / MIB, python.cpu), (384 + 18 * 32, 210));
    }
}
