//! A process of this program that makes one attempt, seen from outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Starts this program again, from a place where every user may read it.
pub(crate) struct Program {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

/// What became of an attempt.
pub(crate) struct Outcome {
    pub(crate) said: String,
    pub(crate) complained: String,
    pub(crate) signal: Option<i32>,
}

impl Program {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), everybody.clone()).unwrap();
        let file = folder.path().join("confined");
        std::fs::copy(std::env::current_exe().unwrap(), &file).unwrap();
        std::fs::set_permissions(&file, everybody).unwrap();
        Self { _folder: folder, file }
    }

    fn command(&self, user: Option<u32>, arguments: &str) -> Command {
        let mut command = Command::new(&self.file);
        command.arg("child").args(arguments.split(' ')).env("RUST_BACKTRACE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Makes an attempt. `user` starts the process as another user than this one.
    pub(crate) fn attempt(&self, user: Option<u32>, arguments: &str) -> Outcome {
        let child = self.command(user, arguments).spawn().unwrap();
        Outcome::new(child.wait_with_output().unwrap())
    }

    /// What the kernel says of a process that is confined like this: `/proc/PID/status`. And what it says of itself.
    pub(crate) fn status(&self, user: Option<u32>, arguments: &str) -> (String, String) {
        Self::status_of(self.command(user, arguments), arguments)
    }

    /// The same of one that another program starts.
    pub(crate) fn status_by(&self, starter: &str, arguments: &str) -> (String, String) {
        let mut words = starter.split(' ').filter(|word| !word.is_empty());
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg(&self.file).arg("child").args(arguments.split(' '));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::status_of(command, arguments)
    }

    fn status_of(mut command: Command, arguments: &str) -> (String, String) {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        for line in lines.by_ref().map_while(Result::ok).take_while(|line| line != "waiting") {
            said += &line;
            said.push('\n');
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        let mut complained = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
        child.wait().unwrap();
        assert!(complained.is_empty(), "{arguments}: {complained}");
        (status, said)
    }

    /// Whether a process that is confined like this is gone soon after the process that started it.
    pub(crate) fn ends_with_its_parent(&self, arguments: &str) -> bool {
        // A shell that starts it in the background and ends when it is told to.
        let script = format!("\"$0\" child {arguments} <&3 >&2 & echo $!; read _");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec 3<&0; {script}")).arg(&self.file);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let process = line.trim().to_owned();
        let mut lines = BufReader::new(shell.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "waiting"), "it never waited");
        let running = || {
            std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
        };
        assert!(running());
        shell.kill().unwrap();
        shell.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        !running()
    }
}

impl Outcome {
    fn new(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { said: text(output.stdout), complained: text(output.stderr), signal: output.status.signal() }
    }
}

/// What stands behind a name in a status.
pub(crate) fn value<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}
