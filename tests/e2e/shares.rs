//! A tenant that uses more than its share of a processor, as the log tells it.

use std::net::{Ipv4Addr, SocketAddr};

use postern_tests::guest::judging;
use postern_tests::{CLIENT4, Entry, Lab, SERVER4, frame};

use crate::posternd;

/// A hundredth of a processor for one, and as much as anybody has for the other.
const CONFIG: &str = r#"
    interfaces = ["eth0"]
    [doors.good]
    guard = "tcp/22"
    [doors.bad]
    guard = "tcp/80"
    [tenants.bad]
    rules = "bad"
    grant = { watch = ["udp/7"], interfaces = ["any"], doors = ["bad"] }
    limits = { share = "1%", cpu = "100ms" }
    [tenants.good]
    rules = "good"
    grant = { any_port = true, interfaces = ["any"], doors = ["good"] }
"#;
const GOOD: &str =
    "module = \"sequence\"\ndoor = \"good\"\n[settings]\nsequence = [\"7000/udp\", \"8000/udp\"]\n";
const BAD: &str = "module = \"./burn.wasm\"\ndoor = \"bad\"\nlimits.cpu = \"100ms\"\n";
/// Packets of a burst. Each takes some milliseconds, of ten in a second.
const BURST: u32 = 500;

fn burning() -> Vec<u8> {
    judging(
        "(i32.store (i32.const 200) (i32.const 10000000))
         (loop $more
            (i32.store (i32.const 200) (i32.sub (i32.load (i32.const 200)) (i32.const 1)))
            (br_if $more (i32.load (i32.const 200))))
         (i32.const 96)",
    )
}

#[test]
fn the_log_says_when_a_tenant_is_over_its_share_and_when_that_ends() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab)
        .config(CONFIG)
        .file("good/knock.toml", GOOD)
        .file("bad/burn.toml", BAD)
        .file("bad/burn.wasm", burning())
        .start();
    // Compilers may take a while on a machine that is busy with other tests.
    daemon.wait_for("reload", |entry| entry.number("rules") == Some(2.0));
    let is_bad = |entry: &Entry| entry.text("tenant") == "bad" && entry.text("rule").is_empty();
    let mut wire = lab.injector();
    let mut dropped = 0.0;
    for _ in 0..2 {
        let mark = daemon.log().mark();
        for n in 0..BURST {
            let source = SocketAddr::from((Ipv4Addr::from(0xc612_0000 + n), 40_000));
            wire.send(&frame::udp(source, (SERVER4, 7).into(), b"x"));
        }
        let begun = daemon.wait_since(mark, "over-share", is_bad);
        assert_eq!(begun.text("share"), "1%", "{begun}");
        lab.knock(CLIENT4, "7000/udp 8000/udp");
        daemon.wait_since(mark, "stage", |entry| entry.text("tenant") == "good");
        // Five seconds after the last packet that was dropped.
        let ended = daemon.wait_since(mark, "within-share", is_bad);
        let of_burst = ended.number("dropped").expect("it says how many");
        assert!((f64::from(BURST / 2)..f64::from(BURST)).contains(&of_burst), "{ended}");
        dropped += of_burst;
    }
    daemon.expect_none("over-share", |entry| !is_bad(entry));
    daemon.expect_none("within-share", |entry| !is_bad(entry));
    let (_, log) = daemon.stop();
    let entries = log.entries();
    let told = |event| entries.iter().filter(|entry| entry.event() == event).count();
    assert_eq!((told("over-share"), told("within-share")), (2, 2));
    let stopped = entries.iter().rfind(|entry| entry.event() == "stop").expect("it says that it stops");
    #[expect(clippy::cast_precision_loss, reason = "they are few")]
    let counted = stopped.count("dropped", "over-share") as f64;
    assert_eq!(counted.to_bits(), dropped.to_bits(), "{stopped}");
}
