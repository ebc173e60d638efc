//! Shims: how commands are started, each by a shim, and how what came from one is ended when it may run no longer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::notes::Notes;
use crate::tree::TreeEnder;

/// How commands are started and ended.
#[derive(Debug)]
pub struct Shims {
    pub(crate) notes: Arc<Notes>,
    /// What is executed as the shim of a command.
    pub(crate) program: PathBuf,
    pub(crate) trees: TreeEnder,
}

impl Shims {
    /// The binary of this process, whatever has become of its file.
    pub const OWN_BINARY: &str = "/proc/self/exe";

    /// Those of a process that no other comes after: commands are started by its own binary.
    ///
    /// # Errors
    /// If the system has no memory or no thread for it, or there is no `/proc`.
    pub fn of_this_process() -> io::Result<Arc<Self>> {
        Self::start(Notes::new()?, Self::OWN_BINARY.into())
    }

    /// Commands are started by `program`, which is posternd's binary, and what becomes of each is noted there. When the last that uses this is
    /// gone, all that was being ended has been, or two seconds are over.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(notes: Arc<Notes>, program: PathBuf) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { notes, program, trees: TreeEnder::start()? }))
    }
}
