//! The log as systemd's journal gets it, from a daemon whose standard error leads there.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use postern_tests::{Lab, PATIENCE, skip};

use crate::PROGRAM;

const JOURNAL: &str = "/run/systemd/journal";
/// Says of standard error that it is the journal's, as systemd does, and becomes the daemon.
const AS_SYSTEMD: &str = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"";

/// A journal that keeps nothing, gone when this is dropped.
struct Journal(UnixDatagram);

impl Journal {
    /// None where there is a real one, or none can be made.
    fn new() -> Option<Self> {
        if Path::new(JOURNAL).exists() || fs::create_dir_all(JOURNAL).is_err() {
            return None;
        }
        let socket = UnixDatagram::bind(format!("{JOURNAL}/socket")).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Self(socket))
    }

    /// The next entry, a field a line.
    fn next(&self) -> io::Result<String> {
        let mut entry = vec![0; 1 << 16];
        let length = self.0.recv(&mut entry)?;
        entry.truncate(length);
        Ok(String::from_utf8(entry).expect("text"))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(JOURNAL);
    }
}

/// Starts a daemon that has nothing to do but to say what is wrong with its configuration; what it writes to standard error.
fn start(more: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("postern.toml");
    fs::write(&file, "interfaces = [\"lo\"]\nno_such_key = 1\n").expect("ours");
    let mut command = Command::new("sh");
    command.args(["-c", AS_SYSTEMD, "sh", PROGRAM, "run", "--config"]).arg(&file).args(more);
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    String::from_utf8(output.expect("it runs").stderr).expect("text")
}

#[test]
fn each_field_of_a_line_is_one_of_the_journals() {
    // Its /run is no machine's.
    let Some(_lab) = Lab::if_possible() else { return };
    let Some(journal) = Journal::new() else { return skip("there is a real journal here") };
    assert_eq!(start(&[]), "", "all of it goes to the journal");
    let entry = loop {
        let entry = journal.next().expect("the mistake is told");
        if entry.contains("\nPOSTERN_EVENT=mistake\n") {
            break entry;
        }
    };
    for part in ["\nPRIORITY=3\n", "\nSYSLOG_IDENTIFIER=posternd\n", "\nPOSTERN_DETAIL="] {
        assert!(entry.contains(part), "no {part:?} in {entry}");
    }
    assert!(entry.starts_with("MESSAGE=/") && entry.contains("no_such_key: no such key"), "{entry}");
    // Who asks for JSON gets it.
    assert!(start(&["--log-format", "json"]).contains("\"event\":\"mistake\""));
}
