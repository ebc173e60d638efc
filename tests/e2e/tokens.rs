//! One-time tokens and counters: used once, whatever becomes of the daemon and its disk.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_sdk_build::{build_rule, guests_dir};
use postern_tests::{CLIENT4, CLIENT6, Daemon, Entry, Lab, Random, SERVER4, eventually, frame};

use crate::disk::Disk;
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
    let config = SSH_2S.replace("2s", "1h");
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

/// Each token has a source of its own, and what its opening runs writes that down: what a killed daemon did counts, said or not.
#[test]
fn killed_at_any_moment_it_takes_no_token_twice() {
    let Some(lab) = Lab::if_possible() else { return };
    let seed = std::env::var("POSTERN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_126);
    println!("POSTERN_SEED={seed}");
    let mut random = Random::new(seed);
    let setup = posternd(&lab).file("rules/once.wasm", module()).rule("spa", &ONCE.replace("ssh", "lamp"));
    let ran = setup.dir().join("ran");
    let config = format!(
        "interfaces = [\"eth0\"]\n[doors.lamp]\nopen = [\"/bin/sh\", \"-c\", \"echo $0 >> {}\", \"{{ip}}\"]\nfor = \"1s\"\n",
        ran.display()
    );
    let mut setup = setup.config(&config);
    let source =
        |token: u32| IpAddr::V4(Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + token));
    let knock = |tokens: &mut dyn Iterator<Item = u32>| {
        let mut wire = lab.injector();
        for token in tokens {
            let text = format!("token {token}");
            let from = SocketAddr::new(source(token), 4000);
            wire.send(&frame::udp(from, SocketAddr::new(SERVER4, 7100), text.as_bytes()));
        }
    };
    for round in 0..ROUNDS {
        let daemon = setup.start();
        // Those of all rounds so far, in case one was forgotten, among new ones.
        knock(&mut (0..round * NEW).chain(round * NEW..(round + 1) * NEW));
        thread::sleep(Duration::from_micros(random.number() % 60_000));
        daemon.expect_none("extend", |_| true);
        setup = daemon.kill().0;
    }
    let daemon = setup.start();
    let all = ROUNDS * NEW;
    knock(&mut (0..all).chain(0..all));
    // One more, which is answered after all of them.
    let last = source(all).to_string();
    eventually("an opening for a token that is new", || {
        knock(&mut [all].into_iter());
        fs::read_to_string(&ran).unwrap_or_default().contains(&last).then_some(())
    });
    daemon.expect_none("extend", |_| true);
    // With it goes its folder.
    let (_setup, _) = daemon.stop();
    let mut counts = BTreeMap::<String, u32>::new();
    for line in fs::read_to_string(&ran).expect("doors were opened").lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    println!("{} of {all} tokens opened over {ROUNDS} kill -9, {} of them twice", counts.len(), twice.len());
    assert!(twice.is_empty(), "{twice:?}");
    // A token whose daemon is killed before its door opens is lost: on a busy machine most are.
    assert!(counts.len() > usize::try_from(NEW).expect("it is small"), "{}", counts.len());
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
    let mut tries = 0..;
    eventually("a token is taken", || {
        // The log has five refusals a second, and the ledger is opened anew once a second.
        thread::sleep(Duration::from_millis(250));
        let text = format!("token {}", tries.next()?);
        (use_up(&daemon, &lab, &text) == "open").then_some(())
    });
    daemon.wait_for("ledger-usable", |_| true);
    assert_eq!(use_up(&daemon, &lab, "token b"), "extend");
    let (setup, _) = daemon.kill();
    let daemon = setup.start();
    assert_eq!(use_up(&daemon, &lab, "token b"), "already-used");
    daemon.stop();
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
    assert!(fails.text("detail").contains("/state/ledger.redb is damaged"), "{fails}");
    for token in ["token a", "token b"] {
        assert_eq!(use_up(&daemon, &lab, token), "not-recorded");
    }
    lab.knock(CLIENT6, STEPS);
    daemon.expect_story(CLIENT6, &STORY);
    assert_eq!(fs::read(&path).expect("it is there"), bytes, "it is kept as it is");
    // The operator says that those of before are worth nothing.
    fs::rename(&path, path.with_extension("damaged")).expect("it is ours");
    let mut tries = 0..;
    eventually("a token is taken", || {
        // The log has five refusals a second, and the ledger is opened anew once a second.
        thread::sleep(Duration::from_millis(250));
        let text = format!("token new-{}", tries.next()?);
        (use_up(&daemon, &lab, &text) == "extend").then_some(())
    });
    daemon.stop();
}
