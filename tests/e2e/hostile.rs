//! What outsiders may try.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, CLIENT6, Lab, PATIENCE, SERVER4, SERVER6, eventually, frame};

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

    // Whoever gets in behind the whole flood is behind everything that was kept of it.
    get_in(lab, CLIENT6);
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB more after {FLOOD} packets in {flood:?}");
    daemon.expect_none("fault", |_| true);
    daemon.stop();
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
