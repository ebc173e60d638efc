//! How much of the machine a process may use. Owns resource limits, and knows nothing of what they protect.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Limits that a process, and whatever it starts, cannot raise again. What is `None` stays as it was. The default is that of a process that
/// starts nothing: no core dump, which is a copy of secrets, and all else as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a core dump; 0 for none.
    pub core_size: Option<u64>,
    /// Bytes of address space, mapped or only reserved. An engine for WebAssembly reserves far more than it uses.
    pub address_space: Option<u64>,
    /// Bytes that may be written to at all: heap, stacks and private mappings.
    pub data: Option<u64>,
    /// Seconds of processor time of all threads together; then the process is killed.
    pub processor_seconds: Option<u64>,
    /// Bytes of the largest file that the process may write; 0 for none.
    pub file_size: Option<u64>,
    /// Descriptors open at once.
    pub open_files: Option<u64>,
    /// Threads and processes **of this user**, whichever process they belong to. Does not bind root.
    pub processes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { core_size: Some(0), ..Self::AS_THEY_ARE }
    }
}

impl Limits {
    /// None: for a process that starts programs, which are not ours to limit.
    pub const AS_THEY_ARE: Self = Self {
        core_size: None,
        address_space: None,
        data: None,
        processor_seconds: None,
        file_size: None,
        open_files: None,
        processes: None,
    };

    /// Puts the limits on this process, and never one above what it has. Returns those that could not be put on.
    pub(crate) fn apply(&self) -> Vec<(&'static str, Errno)> {
        let limits = [
            ("core dumps", Resource::Core, self.core_size),
            ("address space", Resource::As, self.address_space),
            ("data", Resource::Data, self.data),
            ("processor time", Resource::Cpu, self.processor_seconds),
            ("file size", Resource::Fsize, self.file_size),
            ("open files", Resource::Nofile, self.open_files),
            ("processes", Resource::Nproc, self.processes),
        ];
        let put_on = |(name, resource, limit): (_, _, Option<u64>)| {
            let limit = limit?;
            let limit = getrlimit(resource).maximum.map_or(limit, |most| most.min(limit));
            let both = Rlimit { current: Some(limit), maximum: Some(limit) };
            setrlimit(resource, both).err().map(|error| (name, error))
        };
        limits.into_iter().filter_map(put_on).collect()
    }
}
