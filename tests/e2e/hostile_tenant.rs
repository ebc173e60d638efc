//! What a hostile tenant tries against another: at openings of the other, at its one-time tokens, and at what its own modules must be.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_core::show_digest;
use postern_tests::guest::Guest;
use postern_tests::{CLIENT4, CLIENT6, Daemon, Entry, Lab, SERVER6, Setup, Signer, eventually, frame};
use sha2::{Digest as _, Sha256};

use crate::{SOON, STEPS, posternd};

/// Two tenants that may open the same door, and each one of its own.
const CONFIG: &str = r#"
    interfaces = ["eth0"]
    [doors.shared]
    guard = "tcp/22"
    for = "3s"
    [doors.good]
    guard = "tcp/80"
    for = "60s"
    [doors.bad]
    guard = "tcp/81"
    for = "60s"
    [tenants.good]
    rules = "good"
    grant = { doors = ["shared", "good"], any_port = true, interfaces = ["any"], for = "60s" }
    limits.tokens = 8
    [tenants.bad]
    rules = "bad"
    grant = { doors = ["shared", "bad"], any_port = true, interfaces = ["any"], for = "1s", payload = 8 }
    limits.tokens = 8
"#;
const GOOD: &str = "module = \"sequence\"\ndoor = \"shared\"\n[settings]\nsequence = [\"7000/udp\", \"8000/tcp\", \"9000/udp\"]\nwithin = \"60s\"\n";

/// Begins an answer at 96 of one request at 1024, which is empty so far.
const REQUEST: &str = "(memory.fill (i32.const 1024) (i32.const 0) (i32.const 128))
    (i32.store (i32.const 104) (i32.const 1024)) (i32.store (i32.const 108) (i32.const 1)) (i32.store8 (i32.const 112) (i32.const 0))";

/// Answers each packet to a port so.
fn answering(port: u16, instructions: &str) -> Vec<u8> {
    reading(port, "", instructions)
}

/// The same, after it has read something of the packet, which is where the request will be.
fn reading(port: u16, read: &str, instructions: &str) -> Vec<u8> {
    let judge = format!("{read} {REQUEST} {instructions} (i32.const 96)");
    Guest { port, judge: &judge, ..Guest::default() }.module()
}

/// Closes its first door.
pub(crate) fn closing(port: u16) -> Vec<u8> {
    answering(port, "(i32.store8 (i32.const 96) (i32.const 4))")
}

/// Opens its first door for so many seconds.
pub(crate) fn opening(port: u16, seconds: i32) -> Vec<u8> {
    answering(
        port,
        &format!(
            "(i32.store8 (i32.const 96) (i32.const 3)) (i32.store8 (i32.const 1076) (i32.const 1)) (i32.store (i32.const 1080) (i32.const {seconds}))"
        ),
    )
}

/// Opens its first door once for each time of a knock, or only once if the token is always the same.
fn once(port: u16, is_always_the_same: bool) -> Vec<u8> {
    let token = if is_always_the_same { "(i64.const 7)" } else { "(i64.load (local.get $call))" };
    reading(
        port,
        &format!("(i64.store (i32.const 200) {token})"),
        "(i32.store8 (i32.const 96) (i32.const 3)) (i32.store8 (i32.const 1024) (i32.const 1))
         (i32.store (i32.const 1040) (i32.const 200)) (i32.store (i32.const 1044) (i32.const 8))",
    )
}

fn setup<'lab>(lab: &'lab Lab, rules: &[(&str, &str, Vec<u8>)]) -> Setup<'lab> {
    rules.iter().fold(posternd(lab).config(CONFIG), |setup, (name, door, module)| {
        let rule =
            format!("module = \"./{}.wasm\"\ndoor = \"{door}\"\n", name.rsplit('/').next().unwrap_or(name));
        setup.file(&format!("{name}.toml"), rule).file(&format!("{name}.wasm"), module)
    })
}

/// Starts it, and waits until all its rules are compiled.
#[track_caller]
fn started(setup: Setup<'_>, rules: f64) -> Daemon<'_> {
    let daemon = setup.start();
    daemon.wait_for("reload", |entry| entry.number("rules") == Some(rules));
    daemon
}

fn send(lab: &Lab, port: u16) {
    lab.knock(CLIENT4, &format!("{port}/udp"));
}

/// Sends a packet to a port, and waits until a rule comes to this by it.
#[track_caller]
fn expect(daemon: &Daemon<'_>, lab: &Lab, port: u16, rule: &str, events: &[&str]) -> Entry {
    let mark = daemon.log().mark();
    send(lab, port);
    eventually(&format!("{events:?} of {rule}"), || {
        let is_of_rule = |entry: &Entry| format!("{}/{}", entry.text("tenant"), entry.text("rule")) == rule;
        let is_it = |entry: &Entry| events.contains(&entry.event()) && is_of_rule(entry);
        daemon.log().entries().into_iter().skip(mark).find(is_it)
    })
}

#[test]
fn what_another_opened_is_neither_closed_nor_made_shorter_nor_longer_than_granted() {
    let Some(lab) = Lab::if_possible() else { return };
    let _service = lab.tcp_service(22);
    let setup = setup(
        &lab,
        &[
            ("bad/close", "shared", closing(20_000)),
            ("bad/short", "shared", opening(20_001, 1)),
            ("bad/long", "shared", opening(20_002, -1)),
        ],
    );
    let daemon = started(setup.file("good/knock.toml", GOOD), 4.0);
    lab.knock(CLIENT4, STEPS);
    daemon.wait_for("open", |entry| entry.text("tenant") == "good");
    let opened = Instant::now();
    // It comes to nothing, and nothing is said of it; what comes after it shows that it was judged.
    send(&lab, 20_000);
    for (port, rule) in [(20_001, "bad/short"), (20_002, "bad/long")] {
        // It has the door open for as long as it may itself, and hears nothing of the other.
        let entry = expect(&daemon, &lab, port, rule, &["open", "extend", "refuse"]);
        let lasts = entry.number("lasts_s").expect("it is open");
        assert!((0.5..=1.0).contains(&lasts), "{entry}");
    }
    daemon.expect_none("close", |_| true);
    // What it closes is its own.
    let closed = expect(&daemon, &lab, 20_000, "bad/close", &["close"]);
    assert_eq!(closed.text("reason"), "asked", "{closed}");
    daemon.expect_none("refuse", |entry| entry.text("tenant") == "bad");
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    // That the rules which opened it last are gone changes nothing.
    for name in ["short", "long", "close"] {
        daemon.remove(&format!("bad/{name}.toml"));
    }
    daemon.wait_for("reload", |entry| entry.number("rules") == Some(1.0));
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    let closed = daemon.wait_for("close", |entry| entry.text("tenant") == "good");
    assert_eq!(closed.text("reason"), "expired", "{closed}");
    let took = opened.elapsed().as_secs_f64();
    assert!((2.5..4.0).contains(&took), "{took} s");
    daemon.stop();
}

#[test]
fn tokens_of_another_are_neither_used_up_nor_kept_from_it() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = setup(
        &lab,
        &[
            ("bad/same", "bad", once(20_000, true)),
            ("bad/flood", "bad", once(20_001, false)),
            ("good/same", "good", once(20_010, true)),
            ("good/fresh", "good", once(20_011, false)),
        ],
    );
    let daemon = started(setup, 4.0);
    // The same bytes, of a rule of the same name.
    expect(&daemon, &lab, 20_000, "bad/same", &["open"]);
    // Not so many that their lines are too many for the log.
    for _ in 0..10 {
        send(&lab, 20_001);
    }
    let full = daemon
        .wait_for("refuse", |entry| entry.text("tenant") == "bad" && entry.text("drop") == "tokens-full");
    assert_eq!(full.text("rule"), "flood", "{full}");
    let used = expect(&daemon, &lab, 20_000, "bad/same", &["extend", "refuse"]);
    assert_eq!(used.text("drop"), "already-used", "{used}");
    expect(&daemon, &lab, 20_010, "good/same", &["open"]);
    let used = expect(&daemon, &lab, 20_010, "good/same", &["extend", "refuse"]);
    assert_eq!(used.text("drop"), "already-used", "{used}");
    expect(&daemon, &lab, 20_011, "good/fresh", &["extend"]);
    daemon
        .expect_none("refuse", |entry| entry.text("tenant") == "good" && entry.text("drop") == "tokens-full");
    daemon.stop();
}

#[test]
fn a_module_that_is_swapped_while_it_is_verified_does_not_run() {
    let Some(lab) = Lab::if_possible() else { return };
    let signer = Signer::new(1);
    let trust = format!("[tenants.bad]\n    trust = [{:?}]", signer.public_key());
    let signed = opening(20_000, 1);
    // Opens another door, which nobody signed.
    let unsigned = opening(20_000, 2);
    let digest = |module: &[u8]| show_digest(&Sha256::digest(module).into());
    let setup = setup(&lab, &[("bad/knock", "bad", signed.clone())])
        .config(&CONFIG.replace("[tenants.bad]", &trust))
        .file("bad/knock.wasm.minisig", signer.sign(&signed))
        .file("good/knock.toml", GOOD);
    let daemon = started(setup, 2.0);
    daemon.wait_for("loaded", |entry| entry.text("module") == digest(&signed));
    let is_over = AtomicBool::new(false);
    let dir = daemon.dir().join("bad");
    let swaps = thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0_u32;
            while !is_over.load(Ordering::Relaxed) {
                for module in [&unsigned, &signed] {
                    let beside = dir.join("beside");
                    fs::write(&beside, module)
                        .and_then(|()| fs::rename(&beside, dir.join("knock.wasm")))
                        .unwrap();
                    swaps += 1;
                    // A reload waits until files are at rest for a moment.
                    thread::sleep(Duration::from_millis(3));
                }
            }
            swaps
        });
        // Also if this panics, or it would be waited for for ever.
        let over = Over(&is_over);
        // Another rule file each time, so that all is read anew; some readings see the one, and some the other.
        let (mut taken, mut refused) = (0, 0);
        for n in 0..200 {
            let mark = daemon.log().mark();
            let rule = format!("module = \"./knock.wasm\"\ndoor = \"bad\"\n# {n}\n");
            daemon.write("bad/knock.toml", rule);
            daemon.wait_since(mark, "reload", |_| true);
            send(&lab, 20_000);
            let entries = daemon.log().entries();
            let is_refused =
                |entry: &&Entry| entry.event() == "tenant-refused" && entry.text("tenant") == "bad";
            match entries[mark..].iter().find(is_refused) {
                Some(entry) => {
                    assert!(entry.text("detail").contains("one of them was changed"), "{entry}");
                    refused += 1;
                }
                None => taken += 1,
            }
            if taken >= 3 && refused >= 3 {
                break;
            }
        }
        assert!(taken > 0 && refused > 0, "{taken} were taken and {refused} refused");
        drop(over);
        swapper.join().unwrap()
    });
    assert!(swaps > 20, "{swaps}");
    daemon.write("bad/knock.wasm", &signed);
    expect(&daemon, &lab, 20_000, "bad/knock", &["open", "extend"]);
    for event in ["loaded", "open"] {
        daemon.expect_none(event, |entry| entry.text("module") == digest(&unsigned));
    }
    daemon.stop();
}

/// Ends what goes on until then.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Also of addresses of the other family, whose prefixes a rule may name.
#[test]
fn a_prefix_around_anothers_client_is_not_granted_to_close_it() {
    let Some(lab) = Lab::if_possible() else { return };
    let close = answering(
        20_000,
        "(i32.store8 (i32.const 96) (i32.const 4)) (i32.store8 (i32.const 1036) (i32.const 1)) (i32.store8 (i32.const 1037) (i32.const 64))",
    );
    let setup = setup(&lab, &[("bad/close", "shared", close)]).file("good/knock.toml", GOOD);
    let daemon = started(setup, 2.0);
    lab.knock(CLIENT6, STEPS);
    daemon.wait_for("open", |entry| entry.text("tenant") == "good");
    let source = SocketAddr::new(CLIENT6, 4000);
    lab.injector().send(&frame::udp(source, SocketAddr::new(SERVER6, 20_000), b"x"));
    let refused = daemon.wait_for("refuse", |entry| entry.text("tenant") == "bad");
    assert_eq!(refused.text("drop"), "client-not-granted", "{refused}");
    daemon.expect_none("close", |entry| entry.text("reason") == "asked");
    daemon.stop();
}
