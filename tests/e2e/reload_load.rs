//! Reloads, one right after the other, while clients knock: none of their packets and no half-finished knock is lost, and memory stays flat.

use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use postern_tests::{Injector, Lab, SERVER4, eventually, frame};

use crate::posternd;

/// An ordinary run; `POSTERN_RELOADS=2000` is the long one.
const RELOADS: usize = 40;
/// Clients that begin to knock for each reload.
const A_RELOAD: u32 = 2;
/// Clients that begin between two steps of one: so many are at each step of their knock when a reload comes.
const BETWEEN: u32 = 20;
/// Others, who send first steps all the time.
const OTHERS: u32 = 1000;
/// From one of their packets to the next, at least.
const PAUSE: Duration = Duration::from_micros(500);
/// What memory may grow after the first reloads.
const GROWTH_KIB: u64 = 6 << 10;

const CONFIG: &str = r#"
    interfaces = ["eth0"]
    [doors.ssh]
    guard = "tcp/22"
"#;

/// Each differs from the one before.
fn rule(reload: usize) -> String {
    format!(
        r#"
        module = "sequence"
        door = "ssh"
        for = "{}s"
        [settings]
        sequence = ["7000/udp", "8000/udp", "9000/udp"]
        within = "1h"
        "#,
        7200 + reload % 2
    )
}

/// Knocks for one client after the other, as reloads go on until it is over; for how many.
fn knock(wire: &mut Injector, reloads: &AtomicU32, is_over: &AtomicBool) -> u32 {
    // 198.18.0.0/15 is for tests of this kind (RFC 2544).
    let mut send = |network: u8, client: u32, port: u16| {
        let source = Ipv4Addr::from_bits(Ipv4Addr::new(198, network, 0, 0).to_bits() + client);
        let source = SocketAddr::new(IpAddr::V4(source), 4000);
        wire.send(&frame::udp(source, SocketAddr::new(SERVER4, port), b""));
    };
    let (mut begun, mut tick, mut other) = (0, 0, 0);
    loop {
        let is_over = is_over.load(Ordering::Relaxed);
        if is_over && tick >= begun + 2 * BETWEEN {
            return begun;
        }
        if is_over || tick < A_RELOAD * reloads.load(Ordering::Relaxed) {
            begun += u32::from(!is_over);
            for (place, port) in [(0, 7000), (1, 8000), (2, 9000)] {
                if let Some(client) = tick.checked_sub(place * BETWEEN).filter(|client| *client < begun) {
                    send(18, client, port);
                }
            }
            tick += 1;
        }
        other = (other + 1) % OTHERS;
        send(19, other, 7000);
        thread::sleep(PAUSE);
    }
}

#[test]
fn reloads_under_load_lose_no_packet_and_no_half_finished_knock() {
    let Some(lab) = Lab::if_possible() else { return };
    let reloads = env::var("POSTERN_RELOADS").map_or(RELOADS, |text| text.parse().expect("a number"));
    let daemon = posternd(&lab).config(CONFIG).rule("knock", &rule(0)).start();
    let mut wire = lab.injector();
    let (done, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    let (clients, early) = thread::scope(|scope| {
        let knocks = scope.spawn(|| knock(&mut wire, &done, &is_over));
        let mut early = 0;
        for reload in 1..=reloads {
            daemon.change_rule("knock", &rule(reload));
            done.fetch_add(1, Ordering::Relaxed);
            if reload == reloads / 4 {
                early = daemon.resident_kib();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        (knocks.join().expect("it only sends"), early)
    });
    let let_in = || {
        let listing = lab.server_exec(&["nft", "list", "table", "inet", "postern"]).stdout;
        String::from_utf8_lossy(&listing).matches("198.18.").count()
    };
    let all = usize::try_from(clients).expect("not so many");
    eventually("every client that knocked is let in", || (let_in() == all).then_some(()));
    let grown = daemon.resident_kib().saturating_sub(early);
    println!("{reloads} reloads, {clients} clients, {grown} KiB more");
    // What is open has its place in the table of openings, at most a KiB.
    assert!(grown < GROWTH_KIB + u64::from(clients), "{grown} KiB more after {reloads} reloads");
    daemon.expect_none("fault", |_| true);
    let (_, log) = daemon.stop();
    let stop = log.entries().into_iter().rfind(|entry| entry.event() == "stop").expect("it said so");
    assert_eq!(stop.number("lost"), Some(0.0), "{stop}");
}
