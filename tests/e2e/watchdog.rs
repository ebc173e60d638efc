//! What the daemon says to systemd: that it is ready, that it reloads, and that it works, which it says only while all of it does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern_tests::{Daemon, Lab, Signal, eventually, skip};

use crate::{KNOCK, SSH_2S, posternd};

/// After how long the daemon counts as hung here; systemd says it in microseconds.
const TIMEOUT: Duration = Duration::from_millis(900);

/// Where systemd would listen.
struct Systemd(UnixDatagram);

impl Systemd {
    fn listen(at: &Path) -> Self {
        let socket = UnixDatagram::bind(at).expect("a socket in our folder");
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("not zero");
        Self(socket)
    }

    /// The next message, if one is there.
    fn hears(&self) -> Option<String> {
        let mut text = [0; 512];
        let length = self.0.recv(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text[..length]).into_owned())
    }

    fn waits_for(&self, beginning: &str) -> String {
        eventually(beginning, || self.hears().filter(|said| said.starts_with(beginning)))
    }

    /// How often it is told within a while that the daemon works.
    fn pings_within(&self, a_while: Duration) -> usize {
        let end = Instant::now() + a_while;
        let mut pings = 0;
        while Instant::now() < end {
            pings += usize::from(self.hears().is_some_and(|said| said == "WATCHDOG=1\n"));
        }
        pings
    }
}

/// A thread that hangs as long as this lives.
struct HeldThread(Child);

impl HeldThread {
    /// None where no process may hold another's threads.
    fn hold(thread: &str) -> Option<Self> {
        let mut command = Command::new("python3");
        command.args(["-c", include_str!("watchdog/hold_thread.py"), thread]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut held = Self(command.spawn().expect("python3 is there"));
        let mut line = String::new();
        let told = BufReader::new(held.0.stdout.as_mut().expect("it is ours")).read_line(&mut line);
        if told.is_ok() && line == "held\n" {
            return Some(held);
        }
        skip(&format!("no thread of another process can be held: {line}"));
        None
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// The number of a thread of a process of the daemon's: of its main thread if `name` is empty.
fn thread_of(daemon: &Daemon<'_>, role: &str, name: &str) -> String {
    let process = match role {
        "supervisor" => daemon.id().to_string(),
        role => daemon.role(role).unwrap_or_else(|| panic!("no {role} runs")).as_raw_nonzero().to_string(),
    };
    if name.is_empty() {
        return process;
    }
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let is_it = |thread: &Path| fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let found = threads.flatten().map(|thread| thread.path()).find(|thread| is_it(thread));
    let found = found.unwrap_or_else(|| panic!("the {role} has no thread {name}"));
    found.file_name().expect("a number").to_string_lossy().into_owned()
}

#[test]
fn systemd_hears_that_it_is_ready_that_it_reloads_and_that_it_stops() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S).rule("knock", KNOCK);
    let socket = setup.dir().join("notify");
    let systemd = Systemd::listen(&socket);
    let daemon = setup.env("NOTIFY_SOCKET", &socket).start();
    systemd.waits_for("READY=1\n");
    daemon.signal(Signal::HUP);
    systemd.waits_for("RELOADING=1\nMONOTONIC_USEC=");
    systemd.waits_for("READY=1\n");
    // A reload that is refused has ended as well.
    daemon.write("postern.toml", "nonsense");
    systemd.waits_for("RELOADING=1\nMONOTONIC_USEC=");
    systemd.waits_for("READY=1\n");
    daemon.stop();
    systemd.waits_for("STOPPING=1\n");
    // It was not asked to say more.
    assert_eq!(systemd.hears(), None);
}

#[test]
fn an_idle_daemon_feeds_the_watchdog_and_one_of_which_a_part_hangs_does_not() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(&format!("workers = 2\n{SSH_2S}")).rule("knock", KNOCK);
    let socket = setup.dir().join("notify");
    let systemd = Systemd::listen(&socket);
    let daemon =
        setup.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", TIMEOUT.as_micros().to_string()).start();
    // No packet comes, and it works all the same.
    systemd.waits_for("WATCHDOG=1\n");
    assert!(systemd.pings_within(2 * TIMEOUT) >= 2);
    for (role, thread, waits_for) in [
        ("engine", "rules-1", "a thread that judges knocks"),
        ("doorman", "", "the packet filter"),
        ("engine", "", ""),
        ("supervisor", "", ""),
    ] {
        let mark = daemon.log().mark();
        let Some(held) = HeldThread::hold(&thread_of(&daemon, role, thread)) else { return };
        // What came back just before.
        systemd.pings_within(TIMEOUT / 3);
        assert_eq!(systemd.pings_within(2 * TIMEOUT), 0, "{role} {thread}");
        if !waits_for.is_empty() {
            daemon.wait_since(mark, "probe-missing", |entry| entry.text("detail").contains(waits_for));
        }
        drop(held);
        systemd.waits_for("WATCHDOG=1\n");
    }
    daemon.stop();
}
