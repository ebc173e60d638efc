//! `posternd knockd`: what a knockd user has, and gets.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod asked;
mod background;
mod convert;
mod interfaces;
mod journal;
mod one_time;
mod words;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, CLIENT6, Lab, Signal, eventually, with_files};
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

/// The article's configuration but for its ten minutes, with `iptables` in a place of ours.
const ARTICLE: &str = "\
[options]
UseSyslog
Interface = eth0

[SSH]
sequence = 1111:udp,2222:udp
seq_timeout = 5
start_command = DIR/iptables -I INPUT -s %IP% -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT
cmd_timeout = 1
stop_command = DIR/iptables -D INPUT -s %IP% -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT
";
const IPTABLES: &str = "#!/bin/sh\necho \"$*\" >> DIR/journal\n";

/// A running `posternd knockd`; killed when dropped.
struct Knockd {
    dir: TempDir,
    child: Child,
}

impl Knockd {
    fn start(lab: &Lab, conf: &str, options: &[&str], files: &[(&str, &str)]) -> Self {
        let knockd = Self::launch(lab, conf, options, files);
        eventually("knockd listens", || knockd.read("stdout").contains("listening on").then_some(()));
        knockd
    }

    /// Starts it and does not wait until it listens.
    fn launch(lab: &Lab, conf: &str, options: &[&str], files: &[(&str, &str)]) -> Self {
        let dir = TempDir::with_prefix("postern-").unwrap();
        let state = dir.path().to_owned();
        Self::launch_in(lab, dir, &state, conf, options, files)
    }

    /// The same, with these folders for its files and its state.
    fn launch_in(
        lab: &Lab,
        dir: TempDir,
        state: &Path,
        conf: &str,
        options: &[&str],
        files: &[(&str, &str)],
    ) -> Self {
        let place = |text: &str| text.replace("DIR", dir.path().to_str().unwrap());
        for (name, text) in files.iter().chain(&[("knockd.conf", conf), ("iptables", IPTABLES)]) {
            fs::write(dir.path().join(name), place(text)).unwrap();
        }
        make_executable(&dir.path().join("iptables"));
        let [stdout, stderr] =
            ["stdout", "stderr"].map(|name| fs::File::create(dir.path().join(name)).unwrap());
        let conf = dir.path().join("knockd.conf");
        let argv = [env!("CARGO_BIN_EXE_posternd"), "knockd", "-v", "-c", conf.to_str().unwrap()];
        let argv = [&argv, options].concat();
        // A file called hosts is what the system's is to it.
        let hosts = dir.path().join("hosts");
        let mut command = match hosts.exists() {
            true => with_files(&[(&hosts, "/etc/hosts")], &argv),
            false => {
                let mut command = Command::new(argv[0]);
                command.args(&argv[1..]);
                command
            }
        };
        command.env("STATE_DIRECTORY", state);
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let child = lab.server().spawn(&mut command).unwrap();
        Self { dir, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Waits until a file holds this many lines, and gives them.
    #[track_caller]
    fn lines(&self, name: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} lines in {name}, which holds {:?}", self.read(name)), || {
            let lines: Vec<_> = self.read(name).lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        eventually("the end of knockd", || self.child.try_wait().unwrap())
    }
}

impl Drop for Knockd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["stdout", "stderr"] {
                eprintln!("--- {name}\n{}", self.read(name));
            }
        }
        // It has ended already in tests that end it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_articles_configuration_runs_both_commands_for_both_kinds_of_address() {
    let Some(lab) = Lab::if_possible() else { return };
    let knockd = Knockd::start(&lab, ARTICLE, &[], &[]);
    let mut expected = Vec::new();
    for client in [CLIENT4, CLIENT6] {
        lab.knock(client, "1111/udp 2222/udp");
        for verb in ["-I", "-D"] {
            expected.push(format!(
                "{verb} INPUT -s {client} -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT"
            ));
        }
        assert_eq!(knockd.lines("journal", expected.len()), expected);
    }
    let said = knockd.read("stdout");
    for line in ["SSH: Stage 1", "SSH: Stage 2", "SSH: OPEN SESAME", "SSH: command timeout"] {
        assert!(said.contains(&format!("{CLIENT4}: {line}\n")), "{line}: {said}");
    }
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

#[test]
fn commands_get_no_link_of_the_daemon() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf =
        ARTICLE.replace("DIR/iptables -I INPUT", "ls -l /proc/self/fd > DIR/files; DIR/iptables -I INPUT");
    let knockd = Knockd::start(&lab, &conf, &[], &[]);
    lab.knock(CLIENT4, "1111/udp 2222/udp");
    knockd.lines("journal", 1);
    let files = knockd.read("files");
    assert!(files.contains(" 0 -> /dev/null\n") && !files.contains("socket:"), "{files}");
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

#[test]
fn which_commands_run_depends_on_the_kind_of_address_and_on_what_is_there() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "\
[only6]
sequence = 1:udp
command_6 = echo only6 %IP% >> DIR/journal
[nostart]
sequence = 2:udp
command =
stop_command = echo nostart >> DIR/journal
[fallback]
sequence = 3:udp
command = echo fallback %IP%%IP% >> DIR/journal; exit 7
cmd_timeout = 0
stop_command = echo stop %IP% >> DIR/journal
stop_command_6 =
";
    let knockd = Knockd::start(&lab, conf, &[], &[]);
    let mut expected = Vec::new();
    for (client, more) in [
        (CLIENT4, vec![format!("fallback {CLIENT4}{CLIENT4}"), format!("stop {CLIENT4}")]),
        (CLIENT6, vec![format!("only6 {CLIENT6}"), format!("fallback {CLIENT6}{CLIENT6}")]),
    ] {
        expected.extend(more);
        expected.sort();
        lab.knock(client, "1/udp 2/udp 3/udp");
        eventually(&format!("{expected:?} for {client}"), || {
            let mut journal: Vec<_> = knockd.read("journal").lines().map(str::to_owned).collect();
            journal.sort();
            (journal == expected).then_some(())
        });
        for door in ["only6", "nostart", "fallback"] {
            let said = format!("{client}: {door}: OPEN SESAME\n");
            eventually(&said, || knockd.read("stdout").contains(&said).then_some(()));
        }
    }
    // A stop command that is there but empty is waited for, logged and run all the same.
    let said = format!("{CLIENT6}: fallback: command timeout\nfallback: running command: \n");
    eventually(&said, || knockd.read("stdout").contains(&said).then_some(()));
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

#[test]
fn a_door_that_cools_down_takes_no_other_knock_of_the_same_client() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "\
[wake]
sequence = 19132:udp
seq_cooldown = 2
command = echo wake %IP% >> DIR/journal
[other]
sequence = 7:udp
command = echo other %IP% >> DIR/journal
";
    let knockd = Knockd::start(&lab, conf, &[], &[]);
    let start = Instant::now();
    for _ in 0..20 {
        lab.knock(CLIENT4, "19132/udp");
    }
    // Commands of several doors run in no order, and other doors and clients have nothing to wait for.
    lab.knock(CLIENT4, "7/udp");
    lab.knock(CLIENT6, "19132/udp");
    let sorted = |count| {
        let mut lines = knockd.lines("journal", count);
        lines.sort_unstable();
        lines
    };
    let once = ["other 10.77.0.2", "wake 10.77.0.2", "wake fd77::2"];
    // All the knocks may have taken longer than the pause on a busy machine.
    if start.elapsed() < Duration::from_secs(2) {
        assert_eq!(sorted(3), once);
    }
    eventually("it wakes once more", || {
        lab.knock(CLIENT4, "19132/udp");
        (knockd.read("journal").matches("wake 10.77.0.2").count() > 1).then_some(())
    });
    assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

#[test]
fn names_are_looked_up_if_asked_for() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "[a]\nsequence = 1:udp,2:udp\ncommand = echo %IP% >> DIR/journal\n";
    let knockd = Knockd::start(&lab, conf, &["-l"], &[("hosts", &format!("{CLIENT4} client.example.org\n"))]);
    lab.knock(CLIENT4, "1/udp 2/udp");
    assert_eq!(knockd.lines("journal", 1), [CLIENT4.to_string()], "commands get addresses");
    let who = format!("{CLIENT4} (client.example.org): a:");
    let said = format!("{who} Stage 1\n{who} Stage 2\n{who} OPEN SESAME\n");
    eventually(&said, || knockd.read("stdout").contains(&said).then_some(()));
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

#[test]
fn sections_of_one_name_are_called_by_it_and_are_two_doors() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "[SSH]\nsequence = 1:udp\ncommand = echo first >> DIR/journal\n[SSH]\nsequence = 2:udp\ncommand = echo second >> DIR/journal\n";
    let knockd = Knockd::start(&lab, conf, &[], &[]);
    lab.knock(CLIENT4, "2/udp");
    assert_eq!(knockd.lines("journal", 1), ["second"]);
    lab.knock(CLIENT6, "1/udp");
    assert_eq!(knockd.lines("journal", 2), ["second", "first"]);
    for client in [CLIENT4, CLIENT6] {
        let said = format!("{client}: SSH: Stage 1\n{client}: SSH: OPEN SESAME\n");
        eventually(&said, || knockd.read("stdout").contains(&said).then_some(()));
    }
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

#[test]
fn a_reload_with_a_mistake_keeps_what_runs_and_a_right_one_takes_over() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "[a]\nsequence = 7:udp\ncommand = echo a >> DIR/journal\n";
    let knockd = Knockd::start(&lab, conf, &[], &[]);
    fs::write(knockd.path("knockd.conf"), "[a]\nsequenc = 7:udp\n").unwrap();
    knockd.signal(Signal::HUP);
    eventually("it reads again", || knockd.read("stdout").contains("Re-reading config file").then_some(()));
    lab.knock(CLIENT4, "7/udp");
    assert_eq!(knockd.lines("journal", 1), ["a"]);
    let right = conf.replace("7:udp", "8:udp").replace("echo a", "echo b");
    let right = right.replace("DIR", knockd.path("").to_str().unwrap());
    fs::write(knockd.path("knockd.conf"), right).unwrap();
    knockd.signal(Signal::HUP);
    eventually("the new sequence", || {
        lab.knock(CLIENT4, "8/udp");
        knockd.read("journal").contains('b').then_some(())
    });
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

/// As knockd does, but not without a word.
#[test]
fn files_that_others_can_write_are_taken_and_told() {
    let Some(lab) = Lab::if_possible() else { return };
    let dir = TempDir::with_prefix("postern-").unwrap();
    for name in ["knockd.conf", "once"] {
        fs::write(dir.path().join(name), "").unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o666)).unwrap();
    }
    let conf =
        format!("{ARTICLE}\n[Once]\none_time_sequences = DIR/once\nstart_command = DIR/iptables once\n");
    let state = dir.path().to_owned();
    let knockd = Knockd::launch_in(&lab, dir, &state, &conf, &[], &[("once", "1001,1002\n")]);
    eventually("knockd listens", || knockd.read("stdout").contains("listening on").then_some(()));
    for name in ["knockd.conf", "once"] {
        let line = format!("knockd: {}: everybody may write it", knockd.path(name).display());
        assert!(knockd.read("stderr").contains(&line), "{}", knockd.read("stderr"));
    }
}

#[test]
fn mistakes_are_told_at_once_with_the_usage_and_exit_1() {
    let dir = TempDir::with_prefix("postern-").unwrap();
    let conf = dir.path().join("knockd.conf");
    fs::write(&conf, "[a]\nsequenc = 1\ntcpflags = sin\nsequence = 1:x\n").unwrap();
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_posternd")).arg("knockd").args(args).output().unwrap()
    };
    let bad = run(&["-c", conf.to_str().unwrap()]);
    let (out, err) = (String::from_utf8_lossy(&bad.stdout), String::from_utf8_lossy(&bad.stderr));
    assert_eq!(bad.status.code(), Some(1), "{err}");
    assert!(out.starts_with("usage: knockd [options]"), "{out}");
    for said in [
        "config: line 2: syntax error; ",
        "config: line 3: unrecognized flag \"SIN\"; ",
        "config: section a: unknown protocol in knock sequence; ",
    ] {
        assert!(err.contains(said), "{said}: {err}");
    }
    assert_eq!(run(&["--nonsense"]).status.code(), Some(0), "as knockd has it");
    let version = run(&["-V"]);
    assert!(version.stdout.starts_with(b"knockd 0.8"), "{version:?}");
}
