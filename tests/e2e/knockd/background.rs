//! `posternd knockd -d`: what the daemon says before it goes into the background, what stays there, and what becomes of starts that fail.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, Lab, Signal, eventually, sleep_until};
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::PROGRAM;

const DOOR: &str = "[SSH]\nsequence = 1111:udp\ncommand = echo open >> DIR/journal\n";

/// A folder with a knockd.conf, for daemons that put themselves into the background. Whatever still runs at the end is killed.
struct Place<'lab> {
    lab: &'lab Lab,
    dir: TempDir,
}

/// What a launcher said, and how it ended.
#[derive(Debug)]
struct Launched {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// A launcher that has not ended.
struct Launcher {
    child: Child,
}

impl<'lab> Place<'lab> {
    /// With this as the knockd.conf; `DIR` is the folder, and so is the state.
    fn new(lab: &'lab Lab, conf: &str) -> Self {
        let dir = TempDir::with_prefix("postern-").unwrap();
        let place = Self { lab, dir };
        fs::create_dir(place.path("state")).unwrap();
        place.write("knockd.conf", conf);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text.replace("DIR", self.dir.path().to_str().unwrap())).unwrap();
    }

    /// `posternd knockd -d`, with these options besides.
    fn start(&self, options: &[&str]) -> Launcher {
        let mut command = Command::new(PROGRAM);
        command.arg("knockd");
        self.start_as(command, options)
    }

    fn start_as(&self, mut command: Command, options: &[&str]) -> Launcher {
        command
            .arg("-d")
            .arg("-c")
            .arg(self.path("knockd.conf"))
            .arg("-p")
            .arg(self.path("pid"))
            .args(options);
        command.env("STATE_DIRECTORY", self.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Launcher { child: self.lab.server().spawn(&mut command).unwrap() }
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.read("pid").strip_suffix('\n')?.parse().ok()?)
    }

    /// The processes that are called knockd, with the folder in their arguments.
    fn called_knockd(&self) -> Vec<Pid> {
        let dir = self.dir.path().to_str().unwrap();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let name = Path::new(line.split('\0').next()?).file_name()?;
            (name == "knockd" && line.contains(dir)).then(|| Pid::from_raw(pid))?
        });
        processes.collect()
    }

    /// Holds up every start in this folder, as another start does, until it is dropped; they wait five seconds at most.
    fn hold_up(&self) -> File {
        let lock = File::create(self.path("state/lock")).unwrap();
        lock.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        lock.try_lock().unwrap();
        lock
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        for pid in self.called_knockd() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Launcher {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended and no process holds its terminal any more.
    fn end(mut self) -> Launched {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Launched { status: self.child.wait().unwrap(), stdout, stderr }
    }
}

/// Sends a signal and waits until there is no such process.
#[track_caller]
fn end(pid: Pid, signal: Signal) {
    kill_process(pid, signal).unwrap();
    let is_gone = || !Path::new(&format!("/proc/{}/cwd", pid.as_raw_nonzero())).exists();
    eventually("the end of the daemon", || is_gone().then_some(()));
}

#[test]
fn mistakes_are_told_on_the_terminal_with_status_1() {
    let Some(lab) = Lab::if_possible() else { return };
    for (conf, said) in [
        (
            "[a]\nsequence = 7000,PORTS\ncommand = true\n",
            "config: section a: port PORTS is invalid; use a number from 1 to 65535",
        ),
        ("[a]\nsequence = 7000,\ncommand = true\n", "config: section a: port is missing in knock sequence; "),
        ("[a]\nsequenc = 7000\ncommand = true\n", "config: line 2: syntax error; "),
        ("[a]\nsequence = 7000\ntarget = host\ncommand = true\n", "the target `host` is not an address"),
    ] {
        let place = Place::new(&lab, conf);
        let launched = place.start(&["-i", "eth0"]).end();
        assert_eq!(launched.status.code(), Some(1), "{launched:?}");
        assert!(launched.stderr.contains(said), "{said}: {launched:?}");
        assert!(!launched.stderr.contains("running configuration"), "nothing runs: {launched:?}");
        assert!(!place.path("pid").exists() && place.called_knockd().is_empty());
    }
}

#[test]
fn what_is_not_as_it_should_be_is_told_on_the_terminal_and_in_the_log() {
    let Some(lab) = Lab::if_possible() else { return };
    let place = Place::new(&lab, &format!("[options]\nlogfile = DIR/log\n{DOOR}"));
    let launched = place.start(&["-i", "eth9"]).end();
    assert!(launched.status.success(), "{launched:?}");
    for (what, text) in [("terminal", &launched.stderr), ("log", &place.read("log"))] {
        assert_eq!(text.matches("there is no interface eth9").count(), 1, "{what}: {text}");
    }
    end(place.pid().unwrap(), Signal::TERM);

    // The other daemon of a machine, or one that is started meanwhile, has the journal.
    let held = place.hold_up();
    let launched = place.start(&["-i", "eth0"]).end();
    assert!(launched.status.success(), "{launched:?}");
    for (what, text) in [("terminal", &launched.stderr), ("log", &place.read("log"))] {
        assert!(text.contains("what start commands have opened stays open"), "{what}: {text}");
    }
    drop(held);
    end(place.pid().unwrap(), Signal::TERM);

    let place = Place::new(&lab, &format!("[options]\nlogfile = DIR/none/log\n{DOOR}"));
    let launched = place.start(&["-i", "eth0"]).end();
    assert!(launched.status.success(), "{launched:?}");
    let path = place.path("none/log");
    let said = format!("warning: cannot open logfile: No such file or directory ({})", path.display());
    assert!(launched.stderr.starts_with(&said), "{launched:?}");
    end(place.pid().unwrap(), Signal::TERM);

    let place = Place::new(&lab, DOOR);
    let launched = place.start(&["-i", "eth0", "-p", "/proc/none/pid"]).end();
    assert!(launched.stderr.contains("could not create pid file /proc/none/pid: "), "{launched:?}");
}

#[test]
fn debug_lines_are_told_before_it_goes_and_what_comes_after_is_in_the_log_alone() {
    let Some(lab) = Lab::if_possible() else { return };
    let place = Place::new(&lab, &format!("[options]\nlogfile = DIR/log\n{DOOR}"));
    let launched = place.start(&["-i", "eth0", "-v", "-D"]).end();
    assert!(launched.status.success(), "{launched:?}");
    assert!(launched.stdout.contains("config: SSH: sequence: 1111:udp\n"), "{launched:?}");
    assert_eq!(launched.stderr, "");
    eventually("the log", || place.read("log").contains("starting up, listening on eth0\n").then_some(()));
    assert!(!launched.stdout.contains("listening on"), "that was said in the background: {launched:?}");
    end(place.pid().unwrap(), Signal::TERM);
}

#[test]
fn one_process_stays_that_is_called_knockd_and_obeys_signals() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "[options]\nlogfile = DIR/log\nPidFile = DIR/pid\n[SSH]\nsequence = 1111:udp\n\
                command = env > DIR/env; ls -l /proc/self/fd | tail -n +2 > DIR/descriptors; echo open >> DIR/journal\n";
    let link = |place: &Place<'_>| {
        symlink(PROGRAM, place.path("knockd")).unwrap();
        Command::new(place.path("knockd"))
    };
    let renamed = |_: &Place<'_>| {
        let mut command = Command::new(PROGRAM);
        command.arg0("knockd");
        command
    };
    let subcommand = |_: &Place<'_>| {
        let mut command = Command::new(PROGRAM);
        command.arg("knockd");
        command
    };
    let ways: [&dyn Fn(&Place<'_>) -> Command; 3] = [&link, &renamed, &subcommand];
    for way in ways {
        let place = Place::new(&lab, conf);
        let launched = place.start_as(way(&place), &["-i", "eth0"]).end();
        assert!(launched.status.success(), "{launched:?}");
        // All of it is there when the launcher is gone, and nothing has to be waited for.
        let pid = place.pid().expect("the pidfile");
        assert_eq!(place.called_knockd(), [pid]);
        let proc = |name: &str| PathBuf::from(format!("/proc/{}/{name}", pid.as_raw_nonzero()));
        assert_eq!(fs::read_to_string(proc("comm")).unwrap(), "knockd\n");
        assert_eq!(fs::read_link(proc("cwd")).unwrap(), Path::new("/"));
        assert_eq!(rustix::process::getsid(Some(pid)).unwrap(), pid);
        for stream in ["fd/1", "fd/2"] {
            assert_eq!(fs::read_link(proc(stream)).unwrap(), Path::new("/dev/null"), "{stream}");
        }

        eventually("it listens", || place.read("log").contains("listening on eth0").then_some(()));
        lab.knock(CLIENT4, "1111/udp");
        eventually("the command", || (place.read("journal") == "open\n").then_some(()));
        assert!(!place.read("env").contains("POSTERN_KNOCKD"), "{}", place.read("env"));
        // Where the daemon's own are, or those of who started the test.
        let descriptors = place.read("descriptors");
        let targets: Vec<_> =
            descriptors.lines().filter_map(|line| Some(line.split_once(" -> ")?.1)).collect();
        assert_eq!((targets[0], targets[2]), ("/dev/null", "/dev/null"), "{descriptors}");
        for ours in ["socket:", "/log", "/pid", "/state"] {
            assert!(!targets.iter().any(|to| to.contains(ours)), "{ours}: {descriptors}");
        }

        kill_process(pid, Signal::HUP).unwrap();
        eventually("it reads again", || place.read("log").contains("Re-reading config file").then_some(()));
        end(pid, Signal::TERM);
        assert!(place.read("log").ends_with("shutting down\n"), "{}", place.read("log"));
        assert!(!place.path("pid").exists());
    }
}

#[test]
fn a_start_that_takes_long_is_waited_for() {
    let Some(lab) = Lab::if_possible() else { return };
    let place = Place::new(&lab, DOOR);
    let held = place.hold_up();
    let mut launcher = place.start(&["-i", "eth0"]);
    let pid = eventually("the pidfile", || place.pid());
    sleep_until(Instant::now() + Duration::from_millis(300));
    assert!(!launcher.has_ended(), "nothing listens yet");
    drop(held);
    let launched = launcher.end();
    assert!(launched.status.success() && launched.stderr.is_empty(), "{launched:?}");
    assert_eq!(place.called_knockd(), [pid]);
    end(pid, Signal::INT);
}

#[test]
fn who_ends_a_start_gets_its_status_or_no_daemon() {
    let Some(lab) = Lab::if_possible() else { return };
    let place = Place::new(&lab, DOOR);
    // The daemon is killed, then asked to stop, before it is there.
    for (signal, code, said) in [
        (Signal::KILL, 137, "knockd: the daemon ended before it was in the background: signal: 9 (SIGKILL)"),
        (Signal::TERM, 15, "knockd: the daemon ended before it was in the background: exit status: 15"),
    ] {
        let held = place.hold_up();
        let launcher = place.start(&["-i", "eth0"]);
        let pid = eventually("the pidfile", || place.pid());
        kill_process(pid, signal).unwrap();
        drop(held);
        let launched = launcher.end();
        assert_eq!(launched.status.code(), Some(code), "{launched:?}");
        assert!(launched.stderr.contains(said), "{launched:?}");
        assert!(place.called_knockd().is_empty());
        let _ = fs::remove_file(place.path("pid"));
    }

    // The launcher is stopped: then no daemon is wanted. Not by SIGINT, which is ignored by whatever a shell has started in its background.
    let held = place.hold_up();
    let launcher = place.start(&["-i", "eth0"]);
    eventually("the pidfile", || place.pid());
    launcher.signal(Signal::TERM);
    drop(held);
    assert_eq!(launcher.end().status.code(), None);
    eventually("nothing is left", || place.called_knockd().is_empty().then_some(()));
    assert!(!place.path("pid").exists());
}

#[test]
fn a_second_daemon_with_the_pidfile_of_one_that_runs_is_refused() {
    let Some(lab) = Lab::if_possible() else { return };
    let place = Place::new(&lab, DOOR);
    assert!(place.start(&["-i", "eth0"]).end().status.success());
    let first = place.pid().unwrap();
    let second = place.start(&["-i", "eth0"]).end();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let said = format!("is the pidfile of process {}, which runs; stop that", first.as_raw_nonzero());
    assert!(second.stderr.contains(&said), "{second:?}");
    assert_eq!(place.called_knockd(), [first]);
    end(first, Signal::TERM);
}

#[test]
fn of_two_that_start_at_once_one_stays() {
    let Some(lab) = Lab::if_possible() else { return };
    let place = Place::new(&lab, DOOR);
    let launchers = [place.start(&["-i", "eth0"]), place.start(&["-i", "eth0"])];
    let mut launched = launchers.map(Launcher::end);
    launched.sort_by_key(|launched| launched.status.code());
    assert_eq!(
        launched.each_ref().map(|launched| launched.status.code()),
        [Some(0), Some(1)],
        "{launched:?}"
    );
    let said = format!("{} is the pidfile of ", place.path("pid").display());
    assert!(launched[1].stderr.contains(&said), "{launched:?}");
    let pid = place.pid().unwrap();
    assert_eq!(place.called_knockd(), [pid]);
    end(pid, Signal::TERM);
}

/// A process with the variable but without a launcher must say why it ends.
#[test]
fn a_daemon_without_a_launcher_says_so() {
    let Some(lab) = Lab::if_possible() else { return };
    let place = Place::new(&lab, DOOR);
    let mut command = Command::new(PROGRAM);
    command.arg("knockd").env("POSTERN_KNOCKD_DAEMON", "1");
    let launched = place.start_as(command, &[]).end();
    assert_eq!(launched.status.code(), Some(1), "{launched:?}");
    assert!(launched.stderr.contains("POSTERN_KNOCKD_DAEMON"), "{launched:?}");
}
