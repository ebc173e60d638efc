//! Firewalls: chains of other programs that still drop or reject what an open door lets in.

mod allow;
mod beyond;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use postern_capture::{MachineInterface, interfaces};
use postern_core::{ANY_INTERFACE, PortRange};
use postern_doorman::{DoormanError, FirstPacket, Obstacle, OtherFilters, Redirection, redirections};
use postern_text::{chain, duration};

use super::DoctorSubject;
use super::families::has_v6;
use super::finding::{Finding, Looked, NotLooked};
use allow::{Writers, allow};

/// Most interfaces that are tried: a machine may have one for each container.
const MOST_INTERFACES: usize = 64;
/// After so long no further port is tried: a ruleset may have tens of thousands of rules, of which each is asked for each packet.
const LONGEST: Duration = Duration::from_secs(30);

/// The packets that an obstacle stops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stopped {
    ports: BTreeSet<PortRange>,
    /// Of these, what arrives as it was dialled, and what redirections lead elsewhere.
    direct: BTreeSet<PortRange>,
    led: BTreeSet<PortRange>,
    interfaces: BTreeSet<String>,
    over_v4: bool,
    over_v6: bool,
    /// Set if this client's are stopped, and others' may not be.
    only_from: Option<IpAddr>,
}

type StoppedBy = BTreeMap<Obstacle, Stopped>;

/// What was tried.
#[derive(Clone, Debug, Default)]
struct TriedPackets {
    interfaces: BTreeSet<String>,
    with_v6: bool,
    /// From this client; none: from anybody.
    from: Option<IpAddr>,
    /// Whether all interfaces are tried that there are, and not those that the configuration names.
    on_any: bool,
    /// What gets in by one of them at least, over IPv6 or not.
    gets_in: BTreeSet<(PortRange, bool)>,
}

pub(super) fn look(subject: &DoctorSubject<'_>, filters: Result<OtherFilters, DoormanError>) -> Looked {
    let unreadable = |error: DoormanError| {
        if subject.is_root {
            NotLooked::new(chain(&error).to_string(), "see what is said of nftables")
        } else {
            NotLooked::for_want_of_root()
        }
    };
    let mut filters = filters.map_err(unreadable)?;
    let led = redirections().map_err(unreadable)?;
    let there = interfaces().map_err(|error| {
        NotLooked::new(format!("the kernel does not list interfaces: {error}"), "run it again")
    })?;
    let entries = entries(&subject.config.interfaces, &there);
    let from = subject.from;
    let on_any = subject.config.interfaces.iter().any(|name| name == ANY_INTERFACE);
    let mut tried = TriedPackets { with_v6: has_v6(), from, on_any, ..TriedPackets::default() };
    let families: Vec<_> = match from {
        Some(client) => vec![client.is_ipv6()],
        None => [false, true].into_iter().filter(|is_ipv6| !is_ipv6 || tried.with_v6).collect(),
    };
    let (mut stopped, until, mut left) = (StoppedBy::new(), Instant::now() + LONGEST, 0);
    for (_, range) in subject.guarded() {
        if Instant::now() > until {
            left += 1;
            continue;
        }
        for interface in &entries {
            tried.interfaces.insert(interface.name.clone());
            for &is_ipv6 in &families {
                let mut gets_in = true;
                for packet in packets(range, interface, is_ipv6, &led) {
                    let of_any = filters.obstacles(&packet).map_err(unreadable)?;
                    let of_client = match from {
                        Some(_) => filters
                            .obstacles(&FirstPacket { source: from, ..packet.clone() })
                            .map_err(unreadable)?,
                        None => of_any.clone(),
                    };
                    gets_in &= of_client.is_empty();
                    for obstacle in of_client {
                        // Forwarding depends on where a packet goes out, which is not known here.
                        if obstacle.is_certain || packet.forwarded_to.is_none() {
                            let only_from = from.filter(|_| !of_any.contains(&obstacle));
                            note(&mut stopped, obstacle, range, &packet, only_from);
                        }
                    }
                }
                if gets_in {
                    tried.gets_in.insert((range, is_ipv6));
                }
            }
        }
    }
    let mut found = judge(&stopped, &tried, Writers::of(&filters));
    found.extend(beyond::look(subject, &filters));
    found.extend(not_tried(left));
    Ok(found)
}

/// That there was no time for so many ports.
fn not_tried(ranges: usize) -> Option<Finding> {
    let ports = if ranges == 1 {
        "1 guarded port or range".to_owned()
    } else {
        format!("{ranges} guarded ports and ranges")
    };
    (ranges > 0).then(|| {
        Finding::note(
            format!("{ports} could not be tried within {}: the ruleset is large", duration::show(LONGEST)),
            "see that its chains let them in, as they let in those that are said",
        )
    })
}

fn note(
    stopped: &mut StoppedBy,
    by: Obstacle,
    range: PortRange,
    packet: &FirstPacket,
    only_from: Option<IpAddr>,
) {
    let FirstPacket { interface, is_ipv6, dialled, arrives_at, forwarded_to, .. } = packet;
    let of = stopped.entry(by).or_insert_with(|| Stopped { only_from, ..Stopped::default() });
    of.ports.insert(range);
    of.only_from = of.only_from.and(only_from);
    if dialled == arrives_at && forwarded_to.is_none() {
        of.direct.insert(range);
    } else {
        of.led.insert(PortRange::single(range.protocol, *dialled));
    }
    of.interfaces.insert(interface.clone());
    of.over_v4 |= !is_ipv6;
    of.over_v6 |= is_ipv6;
}

/// Where packets for this machine come in, as IP sees them: not on the parts of a bridge or bond.
fn entries<'a>(wanted: &[String], there: &'a [MachineInterface]) -> Vec<&'a MachineInterface> {
    let is_any = wanted.iter().any(|name| name == ANY_INTERFACE);
    let wanted = there.iter().filter(|interface| is_any || wanted.contains(&interface.name));
    let bundle = |interface: &&'a MachineInterface| {
        let master = there.iter().find(|other| Some(other.index) == interface.master);
        master.filter(|master| matches!(master.kind.as_deref(), Some("bridge" | "bond" | "team")))
    };
    let mut entries: Vec<&MachineInterface> = Vec::new();
    for interface in wanted.filter(|interface| !interface.is_loopback) {
        let entry = bundle(&interface).unwrap_or(interface);
        if entry.is_up && !entries.iter().any(|known| known.index == entry.index) {
            entries.push(entry);
        }
    }
    entries.truncate(MOST_INTERFACES);
    entries
}

/// The first packets to a range's ends, and where redirections lead them.
fn packets(
    range: PortRange,
    interface: &MachineInterface,
    is_ipv6: bool,
    led: &[Redirection],
) -> Vec<FirstPacket> {
    let packet = |port| FirstPacket {
        interface: interface.name.clone(),
        link: interface.index,
        is_ipv6,
        source: None,
        protocol: range.protocol,
        dialled: port,
        arrives_at: port,
        forwarded_to: None,
    };
    let ends: BTreeSet<_> = [range.first, range.last].into();
    let packets = ends.into_iter().map(|port| {
        let led = led.iter().find(|led| {
            let is_of_family = led.address.is_none_or(|address| address.is_ipv6() == is_ipv6);
            led.protocol == range.protocol && led.dialled.contains(&port) && is_of_family
        });
        let Some(Redirection { port: arrives_at, address, .. }) = led else { return packet(port) };
        let forwarded_to = address.filter(|address| !crate::advice::is_own(*address));
        FirstPacket { arrives_at: *arrives_at, forwarded_to, ..packet(port) }
    });
    packets.collect()
}

fn judge(stopped: &StoppedBy, tried: &TriedPackets, writers: Writers) -> Vec<Finding> {
    stopped.iter().map(|(obstacle, of)| finding(obstacle, of, tried, writers)).collect()
}

fn finding(obstacle: &Obstacle, of: &Stopped, tried: &TriedPackets, writers: Writers) -> Finding {
    let Obstacle { chain, is_rejected, is_policy, is_answer, is_certain } = obstacle;
    let ports: Vec<_> = of.ports.iter().map(ToString::to_string).collect();
    let ports = ports.join(", ");
    let does = match (is_rejected, is_answer) {
        (false, false) => "drops",
        (true, false) => "rejects",
        (false, true) => "drops the answers of",
        (true, true) => "rejects the answers of",
    };
    let by = if *is_policy { " (its policy)" } else { "" };
    let over = match (of.over_v4, of.over_v6) {
        _ if tried.from.is_some() => "",
        (true, false) if tried.with_v6 => " over IPv4",
        (false, true) => " over IPv6",
        _ => "",
    };
    let from = tried.from.map(|client| format!(" from {client}")).unwrap_or_default();
    let at = if of.interfaces == tried.interfaces {
        String::new()
    } else {
        format!(" on {}", of.interfaces.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    };
    let allow = allow(obstacle, of, writers);
    let remedy = if *is_answer {
        format!("let them out there: {allow}")
    } else {
        format!("let it in there, too: {allow}; inet postern keeps it closed to who has not knocked")
    };
    let what = format!("{chain}{by} {does} {ports}{from}{over}{at}, whether a door is open or not");
    // Of the interfaces that a machine has, some are for containers alone.
    let families = [(of.over_v4, false), (of.over_v6, true)].into_iter().filter(|(is_over, _)| *is_over);
    let mut each = families.flat_map(|(_, is_ipv6)| of.ports.iter().map(move |range| (*range, is_ipv6)));
    if tried.on_any && each.all(|one| tried.gets_in.contains(&one)) {
        Finding::note(
            format!("{what}; by another interface it gets in"),
            format!("if clients come in there, {remedy}"),
        )
    } else if *is_certain {
        Finding::problem(what, remedy)
    } else {
        let but = "but for what its rules let in by conditions such as a source address";
        Finding::warning(format!("{what}, {but}"), remedy)
    }
}

#[cfg(test)]
mod tests;
