//! Bypassed ports: guarded ports that no program of this machine serves, but that a redirection from an unguarded port leads to on another
//! machine.
//!
//! That is how a configuration looks that guards the port inside a container: the guard sees the port that clients connect to, and lets it
//! pass.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};

use postern_config::{Advice, Config, DoorKind};
use postern_core::{GuardProtocol, NetDoor};
use postern_doorman::{Redirection, redirections};

use crate::listeners::Listeners;

type GuardedPorts = BTreeSet<(GuardProtocol, u16)>;

/// A line for each such redirection. None if the rules cannot be read: then no door can be opened either, and that is reported elsewhere.
pub(crate) fn ways(config: &Config) -> Vec<Advice> {
    let guarded = guarded(config);
    if guarded.is_empty() {
        return Vec::new();
    }
    let found = redirections().unwrap_or_default();
    let listeners = Listeners::read();
    told(&guarded, &found, is_own, |protocol, port| listeners.serve(protocol, port))
}

fn guarded(config: &Config) -> GuardedPorts {
    let ports = config.doors.values().filter_map(|door| match &door.kind {
        DoorKind::Net(NetDoor::Guard(guard)) => Some(
            guard
                .ports
                .iter()
                .flat_map(|range| (range.first..=range.last).map(|port| (range.protocol, port))),
        ),
        DoorKind::Net(NetDoor::Set { .. }) | DoorKind::Command(_) | DoorKind::Shell(_) => None,
    });
    ports.flatten().collect()
}

fn told(
    guarded: &GuardedPorts,
    found: &[Redirection],
    is_own: impl Fn(IpAddr) -> bool,
    is_served: impl Fn(GuardProtocol, u16) -> bool,
) -> Vec<Advice> {
    let mut found_ways = Vec::new();
    for Redirection { protocol, dialled, port, address, chain } in found {
        let Some(address) = address.filter(|address| !is_own(*address)) else { continue };
        let passes = dialled.clone().any(|dialled| !guarded.contains(&(*protocol, dialled)));
        if passes && guarded.contains(&(*protocol, *port)) && !is_served(*protocol, *port) {
            let dialled = match (dialled.start(), dialled.end()) {
                (from, to) if from == to => format!("{protocol}/{from}"),
                (from, to) => format!("{protocol}/{from}-{to}"),
            };
            let what = format!(
                "{dialled} leads to port {port} of {address} ({chain}) and needs no knock, though {protocol}/{port} is guarded: what is guarded is the port that clients dial"
            );
            found_ways.push(Advice { what, remedy: format!("guard {dialled}") });
        }
    }
    found_ways.sort_by(|one, other| one.what.cmp(&other.what));
    found_ways.dedup();
    found_ways
}

/// Only an address of this machine can be bound to.
pub(crate) fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: GuardProtocol = GuardProtocol::Tcp;

    fn leads(dialled: u16, address: Option<&str>, port: u16) -> Redirection {
        let address = address.map(|address| address.parse().unwrap());
        Redirection {
            protocol: TCP,
            dialled: dialled..=dialled,
            port,
            address,
            chain: "ip nat DOCKER".to_owned(),
        }
    }

    #[test]
    fn a_guarded_port_inside_a_container_is_told() {
        let own: IpAddr = "192.0.2.1".parse().unwrap();
        let check = |guarded: &[u16], found: Redirection, served: u16| {
            let guarded = guarded.iter().map(|port| (TCP, *port)).collect();
            let told =
                told(&guarded, &[found.clone(), found], |address| address == own, |_, port| port == served);
            told.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let inside = || leads(8080, Some("172.17.0.2"), 80);
        assert_eq!(
            check(&[80], inside(), 22),
            [
                "tcp/8080 leads to port 80 of 172.17.0.2 (ip nat DOCKER) and needs no knock, though tcp/80 is guarded: what is guarded is the port that clients dial; guard tcp/8080"
            ]
        );
        let nothing: [&str; 0] = [];
        // Guarded by the port that clients connect to; served by this machine; not guarded at all.
        assert_eq!(check(&[80, 8080], inside(), 22), nothing);
        assert_eq!(check(&[80], inside(), 80), nothing);
        assert_eq!(check(&[22], inside(), 22), nothing);
        // What leads to a port of this machine is guarded there.
        assert_eq!(check(&[22], leads(2201, None, 22), 0), nothing);
        assert_eq!(check(&[22], leads(2201, Some("192.0.2.1"), 22), 0), nothing);
    }

    #[test]
    fn own_addresses_are_known() {
        assert!(is_own("127.0.0.1".parse().unwrap()) && !is_own("192.0.2.77".parse().unwrap()));
    }
}
