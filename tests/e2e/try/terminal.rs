//! Trying on a terminal: `script` of util-linux is the terminal's other end, as sshd would be.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use postern_tests::{Lab, Setup, eventually, eventually_within};

use super::{LONG, has_table, is_closed, is_open, setup};
use crate::PROGRAM;

/// How long the longest trial here and its end may take.
const LAST: Duration = Duration::from_secs(25);

/// A terminal on which a daemon is tried; its shell has become the daemon, so that it gets the hangup.
struct Terminal {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(lab: &Lab, setup: &Setup<'_>) -> Self {
        let quoted = |text: &OsString| format!("'{}'", text.to_str().expect("UTF-8"));
        let arguments: Vec<_> = setup.arguments().iter().map(quoted).collect();
        let log = setup.dir().join("log");
        let line = format!("exec {PROGRAM} {} 2>'{}'", arguments.join(" "), log.display());
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        setup.furnish(&mut command);
        command.env("SHELL", "/bin/sh").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = lab.server().spawn(&mut command).expect("script is there");
        let said = Arc::<Mutex<String>>::default();
        let (mut out, heard) = (child.stdout.take().expect("it is a pipe"), Arc::clone(&said));
        thread::spawn(move || {
            let mut some = [0; 1024];
            while let Ok(count @ 1..) = out.read(&mut some) {
                heard
                    .lock()
                    .expect("nobody panics with it")
                    .push_str(&String::from_utf8_lossy(&some[..count]));
            }
        });
        Self { child, said }
    }

    #[track_caller]
    fn wait_for(&self, part: &str) {
        eventually(part, || self.said.lock().expect("nobody panics with it").contains(part).then_some(()));
    }

    /// Types this.
    fn press(&mut self, keys: &[u8]) {
        let keyboard = self.child.stdin.as_mut().expect("it is a pipe");
        keyboard.write_all(keys).and_then(|()| keyboard.flush()).expect("the terminal is there");
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        eventually_within(LAST, "the end", || self.child.try_wait().expect("it is ours"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- terminal\n{}", self.said.lock().expect("nobody panics with it"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_ready(setup: &Setup<'_>) {
    let log = setup.dir().join("log");
    eventually("it listens", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("\"event\":\"ready\"")).then_some(())
    });
}

#[test]
fn enter_confirms() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) }.tried(LONG);
        let mut terminal = Terminal::start(&lab, &setup);
        terminal.wait_for("closed to whoever has not knocked: tcp/22 (ssh).");
        terminal.wait_for("press Enter here, or run `postern confirm`");
        wait_for_ready(&setup);
        assert!(is_closed(&lab));
        terminal.press(b"\n");
        terminal.wait_for("confirmed: Enter was pressed. The guard stays");
        terminal.wait_for("systemctl enable --now postern");
        // Ctrl-C stops it, and what was confirmed stays.
        terminal.press(b"\x03");
        assert_eq!(terminal.wait_for_end().code(), Some(0));
        assert!(is_closed(&lab) && has_table(&lab));
    }
}

#[test]
fn when_the_terminal_dies_it_is_over_at_once() {
    for (one_process, is_killed) in [(false, true), (true, true), (false, false)] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) }.tried(LONG);
        let mut terminal = Terminal::start(&lab, &setup);
        wait_for_ready(&setup);
        assert!(is_closed(&lab));
        if is_killed {
            terminal.child.kill().expect("it is ours");
        } else {
            // The end of input, typed.
            terminal.press(b"\x04");
            assert_eq!(terminal.wait_for_end().code(), Some(1));
        }
        eventually("the port is open again", || (is_open(&lab) && !has_table(&lab)).then_some(()));
    }
}

#[test]
fn it_says_what_became_of_it() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = setup(&lab).tried("12s");
    let mut terminal = Terminal::start(&lab, &setup);
    terminal.wait_for("It is open again in 12s, and posternd ends, unless you confirm");
    terminal.wait_for("10s left, then tcp/22 (ssh) is open again");
    assert_eq!(terminal.wait_for_end().code(), Some(1));
    terminal.wait_for("nobody confirmed within 12s; tcp/22 (ssh) is open again, as before. posternd ends.");
    assert!(is_open(&lab) && !has_table(&lab));
}
