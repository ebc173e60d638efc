//! Which system calls a process may still make. Owns the choice of a list and its putting on; the lists are beside it, each a table.
//!
//! A known call that is not listed kills the process. A number newer than every list is answered with `ENOSYS`, so that a newer C
//! library falls back instead of dying in a loop. The few calls that a library makes as a matter of course, or that are tried to prove
//! that they fail, are listed with an error as their answer.

use seccompiler::apply_filter_all_threads;

mod call;
mod compiler;
mod doorman;
mod engine;
mod filter;
mod groups;
mod reader;

/// The list of a kind of process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SystemCalls {
    /// Sends and receives on sockets that are open already. Opens nothing and runs nothing.
    Doorman,
    /// Captures, loads compiled code from files, runs it, keeps a database in an open file.
    Engine,
    /// Bytes in, bytes out: memory, threads, and the descriptors that it has. Maps nothing executable.
    Compiler,
    /// Opens files to read them.
    Reader,
}

impl SystemCalls {
    /// The table, in parts.
    fn list(self) -> &'static [&'static [call::Call]] {
        match self {
            Self::Doorman => doorman::LIST,
            Self::Engine => engine::LIST,
            Self::Compiler => compiler::LIST,
            Self::Reader => reader::LIST,
        }
    }

    /// Puts the list on every thread of this process, for good.
    ///
    /// # Errors
    ///
    /// The reason, in plain words.
    pub(crate) fn apply(self) -> Result<(), String> {
        let own = rustix::process::getpid().as_raw_pid().cast_unsigned();
        let program = filter::assemble(self.list(), own)?;
        apply_filter_all_threads(&program).map_err(|error| match error {
            seccompiler::Error::Seccomp(error) if is_unknown(&error) => "this kernel has none".to_owned(),
            seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error) => error.to_string(),
            other => other.to_string(),
        })
    }
}

/// The kernel's answer if it was built without filters, or without any of it.
fn is_unknown(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::EINVAL | nix::libc::ENOSYS))
}
