//! Guarded: whether behind each guarded port there is something to get at, and no way past its guard.

use postern_config::Advice;
use postern_core::{GuardProtocol, PortRange};
use postern_doorman::{Redirection, redirections};

use super::DoctorSubject;
use super::finding::{Finding, Looked, NotLooked};
use crate::advice::{self, is_own};
use crate::listeners::Listeners;

/// A guarded range of ports, and the door that guards it.
type Guarded = (String, PortRange);

pub(super) fn look(subject: &DoctorSubject<'_>) -> Looked {
    let guarded: Vec<Guarded> = subject.guarded().map(|(door, range)| (door.to_owned(), range)).collect();
    if guarded.is_empty() {
        return Ok(Vec::new());
    }
    let found = redirections().map_err(|error| {
        if subject.is_root {
            NotLooked::new(error.to_string(), "see what is said of nftables")
        } else {
            NotLooked::for_want_of_root()
        }
    })?;
    let passed_by = advice::passed_by(subject.config);
    let passed_by = passed_by.into_iter().map(|Advice { what, remedy }| Finding::problem(what, remedy));
    let is_here = |led: &Redirection| led.address.is_none_or(is_own);
    Ok(passed_by.chain(judge(&guarded, &found, subject.listeners, is_here)).collect())
}

/// `is_here` says whether a redirection leads to this machine.
fn judge(
    guarded: &[Guarded],
    redirections: &[Redirection],
    listeners: &Listeners,
    is_here: impl Fn(&Redirection) -> bool,
) -> Vec<Finding> {
    let is_guarded = |protocol, port| guarded.iter().any(|(_, range)| range.contains(protocol, port));
    let mut found = Vec::new();
    for (door, range) in guarded {
        let led: Vec<_> = redirections.iter().filter(|led| meets(range, led)).collect();
        for Redirection { protocol, port, chain, .. } in led.iter().filter(|led| is_here(led)) {
            if !is_guarded(*protocol, *port) && listeners.serve_others(*protocol, *port) {
                let what = format!(
                    "{range} of door {door} leads to {protocol}/{port} of this machine ({chain}), which can be dialled as well and needs no knock"
                );
                found
                    .push(Finding::problem(what, format!("guard {protocol}/{port} in place of it, or both")));
            }
        }
        // Whoever listens behind it may be another machine's.
        if led.is_empty() {
            found.extend(nobody(door, range, listeners));
        }
    }
    found
}

fn meets(range: &PortRange, led: &Redirection) -> bool {
    let PortRange { protocol, first, last } = *range;
    led.protocol == protocol && *led.dialled.start() <= last && first <= *led.dialled.end()
}

/// That a door leads nowhere; of a range one port is enough.
fn nobody(door: &str, range: &PortRange, listeners: &Listeners) -> Option<Finding> {
    let ports = || range.first..=range.last;
    if ports().any(|port| listeners.serve_others(range.protocol, port)) {
        return None;
    }
    let is_only_here = ports().any(|port| listeners.serve(range.protocol, port));
    let (what, remedy) = if is_only_here {
        (
            format!(
                "at {range} of door {door} a program listens on this machine's loopback alone: no client can get at it"
            ),
            "have it listen at an address of this machine",
        )
    } else {
        (
            format!("nobody listens at {range}, which door {door} guards: a knock opens a way to nothing"),
            "start the service, or guard the port at which it listens (`ss -ltnup`)",
        )
    };
    // What takes datagrams may listen only when there is one to expect.
    Some(if range.protocol == GuardProtocol::Udp {
        Finding::note(what, remedy)
    } else {
        Finding::warning(what, remedy)
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::doctor::finding::lines;
    use crate::listeners::ListeningSocket;

    const TCP: GuardProtocol = GuardProtocol::Tcp;

    fn check(guarded: &[u16], led: &[(u16, Option<&str>, u16)], served: &[(&str, u16)], expected: Expect) {
        let guarded: Vec<_> =
            guarded.iter().map(|port| ("ssh".to_owned(), PortRange::single(TCP, *port))).collect();
        let led: Vec<_> = led
            .iter()
            .map(|(dialled, address, port)| Redirection {
                protocol: TCP,
                dialled: *dialled..=*dialled,
                port: *port,
                address: address.map(|address| address.parse().unwrap()),
                chain: "ip nat DOCKER".to_owned(),
            })
            .collect();
        let listener = |(address, port): &(&str, u16)| ListeningSocket {
            protocol: TCP,
            address: address.parse().unwrap(),
            port: *port,
        };
        let listeners = Listeners(served.iter().map(listener).collect());
        let own: IpAddr = "192.0.2.1".parse().unwrap();
        let is_here = |led: &Redirection| led.address.is_none_or(|address| address == own);
        expected.assert_eq(&lines(&judge(&guarded, &led, &listeners, is_here)));
    }

    #[test]
    fn a_door_that_leads_nowhere_is_said() {
        check(&[22], &[], &[("0.0.0.0", 22)], expect![[""]]);
        check(&[22], &[], &[("::", 22)], expect![[""]]);
        check(
            &[22],
            &[],
            &[("0.0.0.0", 23)],
            expect![[r#"
                warning: nobody listens at tcp/22, which door ssh guards: a knock opens a way to nothing; start the service, or guard the port at which it listens (`ss -ltnup`)
            "#]],
        );
        check(
            &[22],
            &[],
            &[("127.0.0.1", 22), ("::1", 22)],
            expect![[r#"
                warning: at tcp/22 of door ssh a program listens on this machine's loopback alone: no client can get at it; have it listen at an address of this machine
            "#]],
        );
    }

    #[test]
    fn a_port_that_arrives_under_another_number_is_served_there() {
        // In a container; on this machine, guarded there as well, or where nobody listens for others.
        check(&[8080], &[(8080, Some("172.17.0.2"), 80)], &[], expect![[""]]);
        check(&[2201, 22], &[(2201, None, 22)], &[("0.0.0.0", 22)], expect![[""]]);
        check(&[2201], &[(2201, None, 22)], &[("127.0.0.1", 22)], expect![[""]]);
        for address in [None, Some("192.0.2.1")] {
            check(
                &[2201],
                &[(2201, address, 22)],
                &[("0.0.0.0", 22)],
                expect![[r#"
                    problem: tcp/2201 of door ssh leads to tcp/22 of this machine (ip nat DOCKER), which can be dialled as well and needs no knock; guard tcp/22 in place of it, or both
                "#]],
            );
        }
    }
}
