//! Measures the daemon on a wire, always beside its peers in the same run: Debian's `knockd`, and the least that a reader of libpcap can do.
//!
//! `cargo bench --bench wire -- [PART...]`, best by `make bench`; with `POSTERND` of another build than cargo's. It needs network namespaces, as the tests do. Everything is real: two
//! machines on one wire, raw packets, the packet filter; CPU time is what the kernel says of the process. Machines are shared and noisy,
//! so what counts is a ratio to a peer, not a figure.

#![allow(clippy::print_stdout, reason = "figures are for people")]
#![allow(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

mod asked;
mod banner;
mod blast;
mod crowds;
mod flood;
mod floor;
mod idle;
mod knocker;
mod neighbour;
mod opening;
mod process;
mod reload;
mod report;
mod rules;
mod subject;
mod tenant;

use std::net::{IpAddr, Ipv4Addr};

use floor::Floor;
use postern_tests::Lab;
use report::Report;

/// The knock that opens the door, in UDP, and the port behind the door.
const KNOCK: [u16; 3] = [7001, 7002, 7003];
const GUARDED: u16 = 9999;
/// Clients count up from here. The server has no route to 100.64.0.0/10 (RFC 6598), and so it answers nothing.
const FIRST_CLIENT: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);

/// A part of the measurement, and what it is about.
type Part = (&'static str, fn(&mut Report));

const PARTS: [Part; 12] = [
    ("opening", opening::measure),
    ("flood", flood::measure),
    ("crowds", crowds::measure),
    ("storm", opening::measure_in_a_storm),
    ("neighbour", neighbour::measure),
    ("rules", rules::measure),
    ("modules", rules::measure_modules),
    ("reload", reload::measure),
    ("tenant", tenant::measure),
    ("asked", asked::measure),
    ("idle", idle::measure),
    ("banner", banner::measure),
];
/// What is left out unless asked for, since it takes minutes.
const SLOW: [&str; 2] = ["modules", "banner"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let Some(floor) = Floor::ALL.into_iter().find(|floor| arguments == ["floor", floor.name()]) {
        return floor.run();
    }
    if let Some(unknown) = arguments.iter().find(|name| PARTS.iter().all(|part| part.0 != **name)) {
        let names = PARTS.map(|part| part.0).join(", ");
        eprintln!("wire: there is no part {unknown:?}; the parts are {names}");
        std::process::exit(2);
    }
    let mut report = Report::default();
    for (name, measure) in PARTS {
        let is_chosen =
            if arguments.is_empty() { !SLOW.contains(&name) } else { arguments.iter().any(|a| a == name) };
        if is_chosen {
            report.begin(name);
            measure(&mut report);
        }
    }
    report.write();
}

/// Two machines on one wire.
fn lab() -> Lab {
    let lab = Lab::new().unwrap_or_else(|why| panic!("{why}"));
    // A source without a route back may come in all the same.
    for interface in ["all", "eth0"] {
        lab.server_exec(&["sysctl", "-qw", &format!("net.ipv4.conf.{interface}.rp_filter=0")]);
    }
    lab
}

/// The address of a client.
fn client(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(FIRST_CLIENT.to_bits() + number).into()
}
