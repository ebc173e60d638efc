//! Namespace: a network of its own for threads and commands. It has no name, so nothing of it outlives its users.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// One network namespace. It lives as long as this value, a process or a socket in it.
#[derive(Debug)]
pub struct Namespace {
    link: File,
}

impl Namespace {
    /// A new network without any interface but a loopback that is down.
    ///
    /// `meanwhile` gets the id of a process in it, for tools that need one, and is run before that process ends.
    ///
    /// # Errors
    /// In words, if this process may not make one or `unshare` is missing.
    pub fn new(meanwhile: impl FnOnce(u32, &Self)) -> Result<Self, String> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo in && read _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run `unshare`: {e}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("stdout was asked for");
        let is_in = BufReader::new(stdout).read_line(&mut line).is_ok() && line == "in\n";
        let link = File::open(format!("/proc/{}/ns/net", holder.id()));
        let made = match (is_in, link) {
            (true, Ok(link)) => {
                let namespace = Self { link };
                meanwhile(holder.id(), &namespace);
                Ok(namespace)
            }
            (true, Err(error)) => Err(error.to_string()),
            (false, _) => Err(String::new()),
        };
        // Closes the holder's standard input, which ends it.
        let words =
            holder.wait_with_output().map(|end| String::from_utf8_lossy(&end.stderr).trim().to_owned());
        made.map_err(|error| {
            format!("cannot make a network namespace: {error}{}", words.unwrap_or_else(|e| e.to_string()))
        })
    }

    /// Runs `work` on a thread in this network. Sockets that it opens stay in it, whichever thread uses them later.
    ///
    /// # Panics
    /// If `work` does, or the network cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.link.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("whoever made a namespace may enter it");
                work()
            });
            inside.join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts a command in this network.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| command.spawn())
    }

    /// Runs a command in this network and waits for its end, whatever it says.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn exec<S: AsRef<OsStr>>(&self, argv: &[S]) -> Output {
        let program = argv[0].as_ref();
        let mut command = Command::new(program);
        command.args(&argv[1..]).stdin(Stdio::null());
        match self.run(|| command.output()) {
            Ok(output) => output,
            Err(error) => panic!("cannot run {}: {error}", program.display()),
        }
    }

    /// Runs a command in this network with `input` on its standard input; what it printed.
    ///
    /// # Panics
    /// If it cannot be started, or fails.
    #[track_caller]
    pub fn feed(&self, argv: &[&str], input: &str) -> String {
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn(&mut command).unwrap_or_else(|e| panic!("cannot run {argv:?}: {e}"));
        let stdin = child.stdin.take();
        // A command that ends before it read everything says itself what was wrong.
        let _ = stdin.expect("stdin was asked for").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("a child of ours can be waited for");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{argv:?}: {}\n{input}\n{out}{err}", output.status);
        out.into_owned()
    }
}
