//! What outsiders may try.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, CLIENT6, Injector, Lab, Log, PATIENCE, SERVER4, SERVER6, eventually, frame};

use crate::{KNOCK, SSH_2S, STEPS, posternd};

/// Spoofed clients, each with a right first step.
const FLOOD: u32 = 100_000;
/// What a full memory of the rule below, a queue and the allocator may take. Half-finished knocks without bound would take more
/// with each flood.
const GROWTH_KIB: u64 = 48 * 1024;

#[test]
fn a_flood_of_half_finished_knocks_costs_bounded_memory_and_keeps_nobody_out() {
    let Some(lab) = Lab::if_possible() else { return };
    flood(&lab, SSH_2S);
}

#[test]
fn several_workers_survive_it_too() {
    let Some(lab) = Lab::if_possible() else { return };
    flood(&lab, &format!("workers = 3\n{SSH_2S}"));
}

fn flood(lab: &Lab, config: &str) {
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(lab).config(config).rule("knock", KNOCK).start();
    let before = daemon.resident_kib();
    let mut wire = lab.injector();
    let server = SocketAddr::new(SERVER4, 7000);

    let sent = AtomicU32::new(0);
    let flood = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let start = Instant::now();
            for number in 0..FLOOD {
                sent.store(number, Ordering::Relaxed);
                // 198.18.0.0/15 is for tests of this kind (RFC 2544).
                let source = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number);
                wire.send(&frame::udp(SocketAddr::new(IpAddr::V4(source), 4000), server, b""));
            }
            start.elapsed()
        });
        eventually("the middle of the flood", || (sent.load(Ordering::Relaxed) > FLOOD / 2).then_some(()));
        get_in(lab, CLIENT4);
        flood.join().expect("the flood only sends")
    });

    // A client that gets in after the whole flood was judged after every packet of it.
    get_in(lab, CLIENT6);
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB more after {FLOOD} packets in {flood:?}");
    daemon.expect_none("fault", |_| true);
    daemon.stop();
}

/// Of a small table many times as much as fits, and yet no more than the wire holds for a daemon that is slow.
const SMALL_FLOOD: u32 = 4000;
const FEW: &str = "[memory]\nentries = 100\n";
/// Time enough for a busy machine.
const LONG: &str = "\
[settings]
sequence = [\"7000/udp\", \"8000/udp\", \"9000/udp\"]
within = \"5m\"
";

/// A rule of three steps for the door `ssh`.
fn slow_knock(more: &str) -> String {
    format!("module = \"sequence\"\ndoor = \"ssh\"\n{more}{LONG}")
}

/// Hits these ports, one after the other from each of these sources.
fn hit(wire: &mut Injector, sources: Range<u32>, ports: &[u16]) {
    for number in sources {
        let source = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number);
        for port in ports {
            let server = SocketAddr::new(SERVER4, *port);
            wire.send(&frame::udp(SocketAddr::new(IpAddr::V4(source), 4000), server, b""));
        }
    }
}

/// How many drops there were for this reason, as the daemon says when it stops.
fn count(log: &Log, reason: &str) -> u64 {
    let entries = log.entries();
    let stopped = entries.iter().rfind(|entry| entry.event() == "stop").expect("it says that it stops");
    stopped.count("dropped", reason)
}

#[test]
fn a_flood_of_first_steps_takes_no_place_of_who_has_come_further() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", &slow_knock(FEW)).start();
    let mut wire = lab.injector();
    for client in [CLIENT4, CLIENT6] {
        lab.knock(client, "7000/udp 8000/udp");
        daemon.wait_for("stage", |entry| entry.told().as_deref() == Some("stage 2"));
    }
    hit(&mut wire, 0..SMALL_FLOOD, &[7000]);
    for client in [CLIENT4, CLIENT6] {
        lab.knock(client, "9000/udp");
        daemon.wait_for("open", |entry| entry.text("src") == client.to_string());
    }
    let (_, log) = daemon.stop();
    assert_eq!(count(&log, "evicted"), u64::from(SMALL_FLOOD) - 98);
    assert_eq!(count(&log, "memory-full"), 0);
}

#[test]
fn first_steps_beyond_a_table_of_those_that_came_further_are_dropped_by_name() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", &slow_knock(FEW)).start();
    let mut wire = lab.injector();
    lab.knock(CLIENT4, "7000/udp 8000/udp");
    daemon.wait_for("stage", |entry| entry.told().as_deref() == Some("stage 2"));
    hit(&mut wire, 0..99, &[7000, 8000]);
    // These have not come so far, and so find no place.
    hit(&mut wire, 99..SMALL_FLOOD, &[7000]);
    lab.knock(CLIENT4, "9000/udp");
    daemon.wait_for("open", |entry| entry.text("src") == CLIENT4.to_string());
    let (_, log) = daemon.stop();
    assert_eq!(count(&log, "memory-full"), u64::from(SMALL_FLOOD) - 99);
    assert_eq!(count(&log, "evicted"), 0);
}

#[test]
fn a_flood_of_one_rule_takes_no_place_of_anothers_clients() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let flooded = slow_knock("").replace("7000/udp", "7001/udp");
    let config = format!("{SSH_2S}[memory]\nentries = 100\n");
    let daemon =
        posternd(&lab).config(&config).rule("knock", &slow_knock("")).rule("other", &flooded).start();
    let mut wire = lab.injector();
    for client in [CLIENT4, CLIENT6] {
        lab.knock(client, "7000/udp");
        daemon.wait_for("stage", |entry| entry.text("src") == client.to_string());
    }
    hit(&mut wire, 0..SMALL_FLOOD, &[7001]);
    for client in [CLIENT4, CLIENT6] {
        lab.knock(client, "8000/udp 9000/udp");
        daemon.wait_for("open", |entry| entry.text("src") == client.to_string());
    }
    let (_, log) = daemon.stop();
    assert_eq!(count(&log, "evicted"), u64::from(SMALL_FLOOD) - 98);
}

/// Knocks until it is let in. A flood may fill what stands between the wire and the rule, so a knock may be lost.
#[track_caller]
fn get_in(lab: &Lab, client: IpAddr) {
    let start = Instant::now();
    let mut knocks = 0;
    while !lab.tcp_connects(client, 22, Duration::from_millis(20)) {
        assert!(start.elapsed() < PATIENCE, "{client} is kept out after {knocks} knocks");
        lab.knock(client, STEPS);
        knocks += 1;
    }
}

#[test]
fn broken_frames_hurt_nobody() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let mut wire = lab.injector();
    let seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = seed;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).expect("below a usize")
    };
    for (source, server) in [(CLIENT4, SERVER4), (CLIENT6, SERVER6)] {
        let good = frame::tcp(SocketAddr::new(source, 4000), SocketAddr::new(server, 8000), frame::SYN);
        for _ in 0..5_000 {
            let mut bad = frame::tagged(&good, 7);
            for _ in 0..=next(3) {
                let at = 12 + next(bad.len() - 12);
                bad[at] = next(256).to_be_bytes()[7];
            }
            bad.truncate(14 + next(bad.len() - 13));
            wire.send(&bad);
        }
    }
    for client in [CLIENT4, CLIENT6] {
        // The garbage may have been half a knock, so twice.
        lab.knock(client, STEPS);
        lab.knock(client, STEPS);
        daemon.wait_for("open", |entry| entry.text("src") == client.to_string());
    }
    daemon.stop();
}
