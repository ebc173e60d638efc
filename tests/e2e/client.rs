//! The real `postern`, from the other end of the wire.

mod banner;
mod knockd;
mod python;
mod ssh;

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern_tests::{CLIENT4, CLIENT6, Daemon, Lab, SERVER4, SERVER6, with_files};
use tempfile::TempDir;

use crate::{A_WHILE, KNOCK, SOON, SSH_2S, STORY, posternd};

/// The server's address and the one that the client takes to get there.
const WAYS: [(IpAddr, IpAddr); 2] = [(SERVER4, CLIENT4), (SERVER6, CLIENT6)];
/// [`STEPS`](crate::STEPS), as postern's command line has them.
const HITS: [&str; 3] = ["7000:udp", "8000", "9000:udp"];

#[test]
fn a_knock_opens_the_door_and_says_how_long_it_took() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = guard(&lab);
    let home = Home::new(&lab);
    for (server, client) in WAYS {
        assert!(lab.tcp(client, 22, A_WHILE).is_silence(), "{client}");
        let said =
            home.postern(&["knock", &server.to_string(), HITS[0], HITS[1], HITS[2], "--wait", "tcp/22"]);
        said.expect(0, "open after N ms\n", "");
        daemon.expect_story(client, &STORY);
        assert!(lab.tcp_connects(client, 22, SOON), "{client}");
    }
    daemon.stop();
}

#[test]
fn a_wrong_knock_opens_nothing_and_says_so() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = guard(&lab);
    let home = Home::new(&lab);
    for (server, client) in WAYS {
        let server = server.to_string();
        let knock = ["knock", &server, HITS[0], HITS[2], HITS[1], "--wait", "tcp/22", "--timeout", "300ms"];
        home.postern(&knock).expect(1, "", "postern: tcp/N did not open within Nms: no answer\n");
        assert!(lab.tcp(client, 22, A_WHILE).is_silence(), "{client}");
        // Had the wrong one opened something, it would stand between the stages of the right one.
        home.postern(&["knock", &server, HITS[0], HITS[1], HITS[2]]).expect(0, "", "");
        daemon.expect_story(client, &["stage 1", "stage 1", "stage 2", "open ssh"]);
    }
    daemon.stop();
}

#[test]
fn a_name_is_knocked_at_all_its_addresses() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = guard(&lab);
    let home = Home::new(&lab);
    home.write("hosts", &format!("{SERVER6} gate.example.org\n{SERVER4} gate.example.org\n"));
    let hosts = home.path("hosts");
    let knock = |family: &str| {
        let program = postern();
        let mut argv =
            vec![program.as_os_str(), "knock".as_ref(), family.as_ref(), "gate.example.org".as_ref()];
        argv.extend(HITS.map(OsStr::new));
        home.run(&mut with_files(&[(&hosts, "/etc/hosts")], &argv)).expect(0, "", "");
    };
    knock("-6");
    daemon.expect_story(CLIENT6, &STORY);
    assert_eq!(daemon.story(CLIENT4), [""; 0]);
    knock("--delay=5");
    daemon.expect_story(CLIENT4, &STORY);
    daemon.expect_story(CLIENT6, &[&STORY[..], &["stage 1", "stage 2", "extend ssh"]].concat());
    daemon.stop();
}

#[test]
fn a_profile_says_where_and_what_and_which_door() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = guard(&lab);
    let home = Home::new(&lab);
    let names = ["gate4", "gate6"];
    let profiles = names.iter().zip(WAYS).map(|(name, (server, _))| profile(name, server, ""));
    home.write("postern/profiles.toml", &profiles.collect::<String>());
    for (name, (_, client)) in names.into_iter().zip(WAYS) {
        home.postern(&["knock", name]).expect(0, "open after N ms\n", "");
        daemon.expect_story(client, &STORY);
    }
    daemon.stop();
}

#[test]
fn a_profile_keeps_the_distance_that_a_rule_wants() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let rule = format!("{KNOCK}min_gap = \"200ms\"\n");
    let daemon = posternd(&lab).config(&SSH_2S.replace("2s", "2m")).rule("knock", &rule).start();
    let home = Home::new(&lab);
    let profile = profile("gate", SERVER4, "");
    home.write("postern/profiles.toml", &profile.replace("5ms", "500ms"));
    home.postern(&["knock", &SERVER4.to_string(), HITS[0], HITS[1], HITS[2]]).expect(0, "", "");
    daemon.expect_story(CLIENT4, &["stage 1"]);
    home.postern(&["knock", "gate"]).expect(0, "open after N ms\n", "");
    daemon.expect_story(CLIENT4, &["stage 1", "stage 1", "stage 2", "open ssh"]);
    daemon.stop();
}

/// A daemon whose door stays open for as long as a test may take.
fn guard(lab: &Lab) -> Daemon<'_> {
    posternd(lab).config(&SSH_2S.replace("2s", "2m")).rule("knock", KNOCK).start()
}

/// A profile of the right knock, in Postern's own form.
fn profile(name: &str, server: IpAddr, more: &str) -> String {
    format!(
        r#"
        [{name}]
        host = "{server}"
        steps = ["7000/udp", "8000/tcp", "9000/udp"]
        interval = "5ms"
        wait = "tcp/22"
        {more}
        "#
    )
}

/// Beside the daemon, where cargo puts all programs of a workspace. It names only those of the package under test.
pub(crate) fn postern() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_posternd")).with_file_name("postern");
    assert!(program.is_file(), "{} is not built; test the whole --workspace", program.display());
    program
}

/// A user's folder for configuration on the client.
struct Home<'lab> {
    lab: &'lab Lab,
    folder: TempDir,
}

impl<'lab> Home<'lab> {
    fn new(lab: &'lab Lab) -> Self {
        let folder = TempDir::with_prefix("postern-client-").expect("a temporary folder");
        fs::create_dir(folder.path().join("postern")).expect("the folder is ours");
        Self { lab, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    fn postern(&self, args: &[&str]) -> Said {
        self.run(Command::new(postern()).args(args))
    }

    fn run(&self, command: &mut Command) -> Said {
        command.env("XDG_CONFIG_HOME", self.folder.path());
        let output = self.lab.client().run(|| command.output());
        let output = output.unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        Said {
            command: format!("{command:?}"),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// How a command ended.
#[derive(Debug)]
struct Said {
    command: String,
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    /// Asserts that it was this; `N` stands for any number.
    #[track_caller]
    fn expect(&self, code: i32, out: &str, err: &str) {
        let is = (self.code, numberless(&self.out), numberless(&self.err));
        assert_eq!(is, (Some(code), out.to_owned(), err.to_owned()), "{}", self.command);
    }
}

fn numberless(text: &str) -> String {
    let mut kept = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if kept.ends_with('N') => {}
            '0'..='9' => kept.push('N'),
            c => kept.push(c),
        }
    }
    kept
}
