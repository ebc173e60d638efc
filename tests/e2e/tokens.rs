//! One-time tokens and counters: used once, whatever becomes of the daemon and its disk.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_sdk_build::{build_rule, guests_dir};
use postern_tests::{
    CLIENT4, CLIENT6, Daemon, Entry, Lab, Random, SERVER4, Setup, Signal, eventually, frame, rounds,
};

use crate::disk::Disk;
use crate::metrics::scrape;
use crate::{KNOCK, SSH_2S, STEPS, STORY, posternd};

/// Opens once for each token or counter that a packet to port 7100 names.
const ONCE: &str = "module = \"once.wasm\"\ndoor = \"ssh\"\n";
/// How often the daemon is killed, and how many tokens are new each time.
const ROUNDS: u32 = 12;
const NEW: u32 = 24;

/// The module of that rule, built once.
fn module() -> &'static [u8] {
    static MODULE: OnceLock<Vec<u8>> = OnceLock::new();
    MODULE.get_or_init(|| {
        let target = guests_dir(Path::new(env!("CARGO_TARGET_TMPDIR")));
        let built = build_rule(Path::new(env!("CARGO_MANIFEST_DIR")), "postern-rule-once", &target);
        fs::read(built.expect("the rule builds").module).expect("it was built")
    })
}

/// Names tokens or counters, one in a packet.
fn name(lab: &Lab, from: IpAddr, texts: &[&str]) {
    let mut wire = lab.injector();
    for text in texts {
        wire.send(&frame::udp(SocketAddr::new(from, 4000), SocketAddr::new(SERVER4, 7100), text.as_bytes()));
    }
}

/// Names one, and waits for what comes of it: `open` or `extend`, or why it is refused.
fn use_up(daemon: &Daemon<'_>, lab: &Lab, text: &str) -> String {
    let mark = daemon.log().mark();
    name(lab, CLIENT4, &[text]);
    let is_answer = |entry: &Entry| {
        ["open", "extend", "refuse"].contains(&entry.event()) && entry.text("src") == CLIENT4.to_string()
    };
    let answer = eventually(text, || daemon.log().entries().into_iter().skip(mark).find(is_answer));
    match answer.event() {
        "refuse" => answer.text("drop").to_owned(),
        event => event.to_owned(),
    }
}

#[test]
fn what_was_used_stays_used_over_a_reload_a_restart_and_a_kill() {
    let Some(lab) = Lab::if_possible() else { return };
    let config = SSH_2S.replace("2s", "1h") + "[metrics]\nlisten = \"127.0.0.1:9617\"\n";
    let setup = posternd(&lab).config(&config).rule("spa", ONCE).file("rules/once.wasm", module());
    let daemon = setup.start();
    assert!(!daemon.dir().join("state/ledger.redb").exists(), "nothing is kept yet");
    let in_an_hour =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_micros() + 3_600_000_000;
    let ends = format!("token ends {in_an_hour}");
    for (text, expected) in [
        ("token a", "open"),
        ("token a", "already-used"),
        (&ends, "extend"),
        (&ends, "already-used"),
        ("count alice 5", "extend"),
        ("count alice 5", "already-used"),
        ("count alice 6", "extend"),
        ("count bob 1", "extend"),
    ] {
        assert_eq!(use_up(&daemon, &lab, text), expected, "{text}");
    }
    let writes = || scrape(&lab).value("postern_ledger_commits_total", &[]);
    eventually("a write for each that is used up", || (writes() == Some(5.0)).then_some(()));
    // Another rule, and the first one again.
    let mark = daemon.log().mark();
    daemon.remove("rules/spa.toml");
    daemon.write("rules/other.toml", ONCE);
    daemon.wait_since(mark, "reload", |_| true);
    assert_eq!(use_up(&daemon, &lab, "token a"), "extend", "tokens belong to their rule");
    daemon.remove("rules/other.toml");
    daemon.change_rule("spa", ONCE);
    assert_eq!(use_up(&daemon, &lab, "token a"), "already-used");
    let (setup, _) = daemon.stop();
    let daemon = setup.start();
    assert_eq!(use_up(&daemon, &lab, "token a"), "already-used");
    assert_eq!(use_up(&daemon, &lab, "token b"), "extend");
    let (setup, _) = daemon.kill();
    let daemon = setup.start();
    for (text, expected) in [
        ("token a", "already-used"),
        ("token b", "already-used"),
        (&ends, "already-used"),
        ("count alice 6", "already-used"),
        ("count bob 1", "already-used"),
        ("count alice 7", "extend"),
    ] {
        assert_eq!(use_up(&daemon, &lab, text), expected, "{text}");
    }
    daemon.stop();
}

/// Tokens that each have a source of its own, and what opening a door for them ran: that counts, whatever a killed process has said.
struct CountedTokens<'a> {
    lab: &'a Lab,
    ran: PathBuf,
}

impl<'a> CountedTokens<'a> {
    /// A daemon whose rule opens a command door for a token; `more` is in its configuration.
    fn set_up(lab: &'a Lab, more: &str) -> (Setup<'a>, Self) {
        let setup = posternd(lab).file("rules/once.wasm", module()).rule("spa", &ONCE.replace("ssh", "lamp"));
        let ran = setup.dir().join("ran");
        let open = format!(r#"["/bin/sh", "-c", "echo $0 >> {}", "{{ip}}"]"#, ran.display());
        let lamp = format!("[doors.lamp]\nopen = {open}\nfor = \"1s\"\n");
        (setup.config(&format!("{more}\n{lamp}")), Self { lab, ran })
    }

    fn source(token: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + token))
    }

    fn knock(&self, tokens: impl IntoIterator<Item = u32>) {
        let mut wire = self.lab.injector();
        for token in tokens {
            let text = format!("token {token}");
            let from = SocketAddr::new(Self::source(token), 4000);
            wire.send(&frame::udp(from, SocketAddr::new(SERVER4, 7100), text.as_bytes()));
        }
    }

    /// Waits until a token opens; each try is a token of its own, since the one before may be used up and have opened nothing. The next that is new.
    fn wait_for_a_new_one(&self, first: u32) -> u32 {
        let mut new = first..;
        eventually("an opening for a token that is new", || {
            self.knock(new.by_ref().take(1));
            let ran = fs::read_to_string(&self.ran).unwrap_or_default();
            ran.lines()
                .any(|line| (first..new.start).any(|token| line == Self::source(token).to_string()))
                .then_some(())
        });
        new.start
    }

    /// How many opened, once each.
    #[track_caller]
    fn opened(&self) -> usize {
        let mut counts = BTreeMap::<String, u32>::new();
        for line in fs::read_to_string(&self.ran).expect("doors were opened").lines() {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
        let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
        counts.len()
    }
}

#[test]
fn killed_at_any_moment_it_takes_no_token_twice() {
    let Some(lab) = Lab::if_possible() else { return };
    let mut random = Random::of_environment(20_261_126);
    let (mut setup, tokens) = CountedTokens::set_up(&lab, "interfaces = [\"eth0\"]");
    for round in 0..ROUNDS {
        let daemon = setup.start();
        // Those of all rounds so far, in case one was forgotten, among new ones.
        tokens.knock((0..round * NEW).chain(round * NEW..(round + 1) * NEW));
        thread::sleep(Duration::from_micros(random.number() % 60_000));
        daemon.expect_none("extend", |_| true);
        setup = daemon.kill().0;
    }
    let daemon = setup.start();
    let all = ROUNDS * NEW;
    tokens.knock((0..all).chain(0..all));
    // More, which are answered after all of them.
    tokens.wait_for_a_new_one(all);
    daemon.expect_none("extend", |_| true);
    // With it goes its folder.
    let (_setup, _) = daemon.stop();
    let opened = tokens.opened();
    println!("{opened} of {all} tokens opened over {ROUNDS} kill -9, each once");
    // A token whose daemon is killed before its door opens is lost: on a busy machine most are.
    assert!(opened > usize::try_from(NEW).expect("it is small"), "{opened}");
}

/// The rounds are many more when `POSTERN_ROUNDS` says so.
#[test]
fn whichever_of_its_processes_is_killed_no_token_opens_twice_and_new_ones_go_on_opening() {
    let Some(lab) = Lab::if_possible() else { return };
    let mut random = Random::of_environment(20_261_127);
    let rounds = rounds(6);
    let (setup, tokens) = CountedTokens::set_up(&lab, SSH_2S);
    let daemon = setup.start();
    let mut new = tokens.wait_for_a_new_one(0);
    for round in 0..rounds {
        // Those of all rounds so far, over and over, among new ones.
        tokens.knock((0..new).chain(new..new + NEW).chain(0..new + NEW));
        new += NEW;
        thread::sleep(Duration::from_micros(random.number() % 60_000));
        let role = random.of(&["engine", "engine", "doorman", "runner"]);
        let killed = daemon.signal_role(role, Signal::KILL);
        tokens.knock(0..new);
        daemon.wait_for_settled(role, killed);
        new = tokens.wait_for_a_new_one(new);
        println!("round {round}: {role} killed, {new} tokens so far");
    }
    tokens.knock((0..new).chain(0..new));
    let all = tokens.wait_for_a_new_one(new);
    daemon.expect_none("extend", |_| true);
    let (_setup, _) = daemon.stop();
    let opened = tokens.opened();
    println!("{opened} of {all} tokens opened over {rounds} kill -9, each once");
    assert!(opened > usize::try_from(rounds).expect("it is small"), "{opened}");
}

#[test]
fn on_a_full_disk_tokens_are_refused_and_with_room_again_they_are_taken() {
    let Some(lab) = Lab::if_possible() else { return };
    let disk = Disk::new();
    let setup = posternd(&lab);
    fs::create_dir(disk.state()).expect("the disk is ours");
    symlink(disk.state(), setup.dir().join("state")).expect("the folder is ours");
    disk.fill();
    let setup = setup.config(&SSH_2S.replace("2s", "1h")).rule("spa", ONCE).file("rules/once.wasm", module());
    let daemon = setup.rule("knock", KNOCK).start();
    assert_eq!(use_up(&daemon, &lab, "token a"), "not-recorded");
    let refusal = daemon.wait_for("refuse", |_| true);
    assert!(refusal.text("detail").contains("No space left on device"), "{refusal}");
    daemon.wait_for("ledger-unusable", |_| true);
    // A rule without tokens needs no disk.
    lab.knock(CLIENT6, STEPS);
    daemon.expect_story(CLIENT6, &STORY);
    disk.free();
    assert_eq!(eventually_taken(&daemon, &lab), "open");
    daemon.wait_for("ledger-usable", |_| true);
    assert_eq!(use_up(&daemon, &lab, "token b"), "extend");
    let (setup, _) = daemon.kill();
    let daemon = setup.start();
    assert_eq!(use_up(&daemon, &lab, "token b"), "already-used");
    daemon.stop();
}

#[test]
fn on_a_disk_that_cannot_be_written_tokens_are_refused_and_nothing_else_until_it_can() {
    let Some(lab) = Lab::if_possible() else { return };
    let disk = Disk::new();
    let setup = posternd(&lab);
    fs::create_dir(disk.state()).expect("the disk is ours");
    symlink(disk.state(), setup.dir().join("state")).expect("the folder is ours");
    let setup = setup.config(&SSH_2S.replace("2s", "1h")).rule("spa", ONCE).file("rules/once.wasm", module());
    let daemon = setup.rule("knock", KNOCK).start();
    assert_eq!(use_up(&daemon, &lab, "token a"), "open");
    let (setup, _) = daemon.kill();
    disk.make_read_only();
    let daemon = setup.start();
    for token in ["token a", "token b"] {
        assert_eq!(use_up(&daemon, &lab, token), "not-recorded");
    }
    let fails = daemon.wait_for("ledger-unusable", |_| true);
    assert!(fails.text("detail").contains("Read-only file system"), "{fails}");
    lab.knock(CLIENT6, STEPS);
    daemon.expect_story(CLIENT6, &STORY);
    disk.make_writable();
    assert_eq!(eventually_taken(&daemon, &lab), "extend");
    daemon.wait_for("ledger-usable", |_| true);
    assert_eq!(use_up(&daemon, &lab, "token a"), "already-used");
    daemon.stop();
}

/// Names tokens until one is taken: what comes of it.
fn eventually_taken(daemon: &Daemon<'_>, lab: &Lab) -> String {
    let mut tries = 0..;
    eventually("a token is taken", || {
        // The log has five refusals a second, and the ledger is opened anew once a second.
        thread::sleep(Duration::from_millis(250));
        let text = format!("token new-{}", tries.next()?);
        Some(use_up(daemon, lab, &text)).filter(|came| came != "not-recorded")
    })
}

#[test]
fn a_damaged_ledger_refuses_tokens_and_nothing_else_until_it_is_moved_away() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(&SSH_2S.replace("2s", "1h")).rule("spa", ONCE).rule("knock", KNOCK);
    let daemon = setup.file("rules/once.wasm", module()).start();
    assert_eq!(use_up(&daemon, &lab, "token a"), "open");
    let (setup, _) = daemon.kill();
    let path = setup.dir().join("state/ledger.redb");
    let mut bytes = fs::read(&path).expect("it is there");
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&path, &bytes).expect("it is ours");
    let daemon = setup.start();
    let fails = daemon.wait_for("ledger-unusable", |_| true);
    let detail = fails.text("detail");
    assert!(detail.contains("/state/ledger.redb is damaged"), "{fails}");
    assert!(detail.contains("change the secrets that the rules check") && detail.contains("move it away"));
    for token in ["token a", "token b"] {
        assert_eq!(use_up(&daemon, &lab, token), "not-recorded");
    }
    lab.knock(CLIENT6, STEPS);
    daemon.expect_story(CLIENT6, &STORY);
    assert_eq!(fs::read(&path).expect("it is there"), bytes, "it is kept as it is");
    // The operator says that those of before are worth nothing.
    fs::rename(&path, path.with_extension("damaged")).expect("it is ours");
    assert_eq!(eventually_taken(&daemon, &lab), "extend");
    daemon.stop();
}
