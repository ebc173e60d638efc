//! The first rule as guest-sdk/README.md tells it: the commands there are run, on a server and a client, and say what the page says.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use expect_test::expect_file;
use postern_tests::compilers::{self, NOT_INSTALLED};
use postern_tests::{CLIENT4, Lab, SERVER4, STRANGER4, Signal, eventually, skip, with_files};
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::{A_WHILE, PROGRAM, SOON};

const PAGE: &str = include_str!("../../guest-sdk/README.md");
const README: &str = include_str!("../../README.md");
const HEADING: &str = "\n## Your first rule in ten minutes\n";
const ON_SERVER: &str = "    $ ";
const ON_CLIENT: &str = "    client$ ";
/// The command that goes on; all others end.
const DAEMON: &str = "sudo posternd run";
/// Root's part of the server: with an /etc of its own.
const SUDO: &str = "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind \"$0\" /etc && exec \"$@\"' \"$POSTERN_TEST_ETC\" \"$@\"\n";

#[test]
fn the_first_rule_goes_as_the_page_says() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let mut person = Person::new(&lab);
    let (before, rest) = PAGE.split_once(HEADING).expect("the page has a first rule");
    let (section, after) = rest.split_once("\n## ").expect("and goes on");
    let mut retold = String::new();
    let mut lines = section.lines().peekable();
    while let Some(line) = lines.next() {
        let is_command = |line: &str| line.starts_with(ON_SERVER) || line.starts_with(ON_CLIENT);
        let mut told = Vec::new();
        if is_command(line) {
            retold = retold + line + "\n";
        } else if let Some(logged) = line.strip_prefix("    ") {
            told.push(logged);
        } else {
            retold = retold + line + "\n";
            continue;
        }
        while let Some(next) =
            lines.peek().filter(|next| !is_command(next)).and_then(|next| next.strip_prefix("    "))
        {
            told.push(next);
            lines.next();
        }
        let heard = match (line.strip_prefix(ON_SERVER), line.strip_prefix(ON_CLIENT)) {
            (Some(command), _) => person.types(command, &told),
            (_, Some(command)) => Some(person.types_on_client(command)),
            // What the daemon says meanwhile.
            _ => Some(person.hears(&told)),
        };
        let Some(heard) = heard else { return };
        // What differs from run to run stays as it was copied.
        let is_same = without_figures(&heard) == without_figures(&told.join("\n"));
        let shown = if is_same { told.join("\n") } else { heard };
        for line in shown.lines() {
            retold = retold + "    " + line + "\n";
        }
    }
    expect_file!["../../guest-sdk/README.md"].assert_eq(&format!("{before}{HEADING}{retold}\n## {after}"));
    assert!(lab.tcp_connects(CLIENT4, 22, SOON), "the door is open at the end");
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence(), "and only for the client");
    person.stops();
}

/// Somebody at two terminals.
struct Person<'lab> {
    lab: &'lab Lab,
    home: TempDir,
    working: PathBuf,
    daemon: Option<Child>,
}

impl<'lab> Person<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        let home = TempDir::with_prefix("postern-").expect("a temporary folder");
        let path = |name: &str| home.path().join(name);
        for folder in ["bin", "etc/postern/rules", "work"] {
            fs::create_dir_all(path(folder)).expect("the folder is ours");
        }
        for file in ["passwd", "group", "nsswitch.conf"] {
            fs::copy(Path::new("/etc").join(file), path("etc").join(file)).expect("every system has it");
        }
        let postern = Path::new(PROGRAM).with_file_name("postern");
        assert!(postern.is_file(), "{} is missing: build the package postern as well", postern.display());
        symlink(PROGRAM, path("bin/posternd")).expect("the folder is ours");
        symlink(postern, path("bin/postern")).expect("the folder is ours");
        fs::write(path("bin/sudo"), SUDO).expect("the folder is ours");
        fs::set_permissions(path("bin/sudo"), fs::Permissions::from_mode(0o755)).expect("the file is ours");
        fs::write(path("etc/hosts"), format!("{SERVER4} server\n")).expect("the folder is ours");
        fs::write(path("etc/postern/postern.toml"), configuration()).expect("the folder is ours");
        let working = path("work");
        Self { lab, home, working, daemon: None }
    }

    /// What a command on the server says, all of it or, of one that goes on, what is `expected` as soon as that is all there; none if a compiler
    /// is missing.
    fn types(&mut self, command: &str, expected: &[&str]) -> Option<String> {
        if let Some(folder) = command.strip_prefix("cd ") {
            self.working.push(folder);
            return Some(String::new());
        }
        let mut shell = compilers::command("sh", &compilers::toolchains());
        // In the shell's place, so that signals reach it.
        self.lets(&mut shell).args(["-c", &format!("exec {command}")]).current_dir(&self.working);
        if command == DAEMON {
            self.starts(shell);
            return Some(self.hears(expected));
        }
        let output = self.lab.server().run(|| shell.output()).expect("there is a shell");
        if output.status.code() == Some(NOT_INSTALLED) {
            skip(&said(&output));
            return None;
        }
        Some(said(&output))
    }

    fn types_on_client(&self, command: &str) -> String {
        let mut shell =
            with_files(&[(&self.home.path().join("etc/hosts"), "/etc/hosts")], &["sh", "-c", command]);
        self.lets(&mut shell).stdin(Stdio::null());
        let output = self.lab.client().run(|| shell.output()).expect("there is a shell");
        said(&output)
    }

    /// Gives a shell the programs, and folders in place of the system's.
    fn lets<'a>(&self, shell: &'a mut Command) -> &'a mut Command {
        let path = |name: &str| self.home.path().join(name);
        let mut programs = OsString::from(path("bin"));
        programs.push(":");
        programs.push(compilers::path());
        shell.env("PATH", programs).env("POSTERN_TEST_ETC", path("etc"));
        for (name, folder) in [("STATE", "state"), ("RUNTIME", "run"), ("CACHE", "code")] {
            shell.env(format!("{name}_DIRECTORY"), path(folder));
        }
        shell
    }

    fn starts(&mut self, mut shell: Command) {
        let log = File::create(self.home.path().join("log")).expect("the folder is ours");
        shell.stdin(Stdio::null()).stderr(log.try_clone().expect("a file can be had twice")).stdout(log);
        self.daemon = Some(self.lab.server().spawn(&mut shell).expect("there is a shell"));
    }

    /// The lines of the daemon's log that are expected, once they are there in this order; what it has said else, once it is silent.
    fn hears(&self, expected: &[&str]) -> String {
        let read = || fs::read_to_string(self.home.path().join("log")).expect("the file is ours");
        let all_there = || {
            let log = read();
            let mut lines = log.lines().map(without_figures);
            expected
                .iter()
                .all(|line| lines.any(|it| it == without_figures(line)))
                .then(|| expected.join("\n"))
        };
        let mut rounds = 0;
        let mut seen = String::new();
        eventually("what the page says of the log, or its end", || {
            let now = read();
            rounds = if now == seen { rounds + 1 } else { 0 };
            seen = now;
            all_there().or_else(|| (rounds > 500).then(|| seen.clone()))
        })
    }

    fn stops(mut self) {
        let mut daemon = self.daemon.take().expect("the page starts one");
        kill_process(Pid::from_child(&daemon), Signal::TERM).expect("it runs");
        let ended = eventually("the end of the daemon", || daemon.try_wait().transpose());
        assert!(ended.expect("a child of ours").success());
    }
}

impl Drop for Person<'_> {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            // Fails only if it has ended already.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// What the README has for the folder /etc/postern.
fn configuration() -> String {
    let lines = README.lines().skip_while(|line| *line != "`/etc/postern/postern.toml`:").skip(2);
    lines
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .fold(String::new(), |text, line| text + line.trim_start() + "\n")
}

/// Both outputs, as a terminal shows them.
fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// A text without what differs from run to run: times of day, how long something took, and what a compiler makes of a module.
fn without_figures(text: &str) -> String {
    let words: Vec<_> = text.split(' ').collect();
    let is_digest = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut shown = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let is_time = word.contains('T') && word.ends_with('Z');
        let is_period = words.get(n + 1).is_some_and(|unit| unit.trim_end() == "ms");
        shown.push(match word.split_once('=') {
            Some((name @ ("lasts_s" | "module"), _)) => name,
            _ if is_time || is_digest(word) || (is_period && word.parse::<f64>().is_ok()) => "...",
            _ => word,
        });
    }
    shown.join(" ")
}
