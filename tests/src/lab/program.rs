//! Program: a server of another project on a machine of the lab, and the files that it sees in place of the system's.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::namespace::Namespace;
use crate::daemon::log::{Entry, Log};
use crate::deadline::PATIENCE;

/// Mounts pairs of files up to a double dash, then becomes what follows it.
const MOUNT: &str =
    r#"while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 125; shift 2; done; shift; exec "$@""#;

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    command: String,
    log: Log,
}

impl Program {
    /// Starts a program in this network and waits until it says a line with `ready` in it.
    ///
    /// # Panics
    /// If it cannot be started, or does not say so in time.
    #[must_use]
    #[track_caller]
    pub fn start(namespace: &Namespace, mut command: Command, ready: &str) -> Self {
        let (reader, writer) = io::pipe().expect("a pipe");
        let also = writer.try_clone().expect("a pipe's end can be had twice");
        command.stdin(Stdio::null()).stdout(writer).stderr(also);
        let words = format!("{command:?}");
        let child = namespace.spawn(&mut command).unwrap_or_else(|e| panic!("cannot start {words}: {e}"));
        // The command holds our ends of the pipe: without them it ends with the program.
        drop(command);
        let program = Self { child, command: words, log: Log::tail(reader).0 };
        let is_ready =
            |entries: &[Entry]| entries.iter().any(|entry| entry.to_string().contains(ready)).then_some(());
        if let Err(why) = program.log.wait(PATIENCE, is_ready) {
            panic!("it does not say {ready:?} {why}");
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("\n--- command\n{}\n--- said", self.command);
            self.log.entries().iter().for_each(|entry| eprintln!("{entry}"));
        }
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that finds other files in the place of the system's: pairs of ours and theirs. No other process does.
#[must_use]
pub fn with_files<S: AsRef<OsStr>>(files: &[(&Path, &str)], argv: &[S]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", MOUNT, "sh"]);
    for (ours, theirs) in files {
        command.arg(ours).arg(theirs);
    }
    command.arg("--").args(argv);
    command
}
