//! Families: doors that open for clients of one address family alone, on a machine that is reached by both.

use std::fs;

use postern_config::{Config, DoorKind};
use postern_core::{DoorId, NetDoor, Trusted};
use postern_doorman::{DoorFamilies, families};

use super::finding::{Finding, Looked};

/// What is known of a door.
struct DoorFacts {
    door: String,
    /// None if its sets cannot be looked at, which other looks say.
    families: Option<DoorFamilies>,
    /// Whether it names networks that need no knock, of IPv4 and of IPv6.
    trusts: (bool, bool),
}

pub(super) fn look(config: &Config) -> Looked {
    let doors: Vec<_> = (0..)
        .zip(config.doors.values())
        .filter_map(|(n, door)| match &door.kind {
            DoorKind::Net(net) => Some((DoorId(n), &door.name, net.clone())),
            DoorKind::Command(_) | DoorKind::Shell(_) => None,
        })
        .collect();
    let net: Vec<_> = doors.iter().map(|(id, _, net)| (*id, net.clone())).collect();
    let known = families(&net).unwrap_or_default();
    let facts = doors.iter().map(|(id, name, net)| DoorFacts {
        door: name.to_string(),
        families: known.get(id).copied(),
        trusts: trusts(net),
    });
    Ok(judge(&facts.collect::<Vec<_>>(), has_v6()))
}

/// Whether a door names networks of IPv4 and of IPv6 that need no knock.
fn trusts(door: &NetDoor) -> (bool, bool) {
    let NetDoor::Guard(guard) = door else { return (false, false) };
    let of = |is_ipv4: bool| {
        guard.always.iter().any(
            |trusted| matches!(trusted, Trusted::Network(network) if network.addr().is_ipv4() == is_ipv4),
        )
    };
    (of(true), of(false))
}

fn judge(doors: &[DoorFacts], has_v6: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    for DoorFacts { door, families, trusts } in doors {
        let one = match families {
            Some(DoorFamilies { v4: true, v6: false }) if has_v6 => Some(("IPv4", "IPv6", "ipv6_addr")),
            Some(DoorFamilies { v4: false, v6: true }) => Some(("IPv6", "IPv4", "ipv4_addr")),
            _ => None,
        };
        if let Some((only, other, kind)) = one {
            found.push(Finding::warning(
                format!("door {door} opens over {only} alone: who knocks over {other} does not get in"),
                format!("declare a set of type {kind} as well, and name both in `set`"),
            ));
        }
        if has_v6 && *trusts == (true, false) {
            found.push(Finding::note(
                format!(
                    "`always` of door {door} names networks of IPv4 alone: the same machines have to knock when they come over IPv6"
                ),
                "name their IPv6 networks as well, or leave it so",
            ));
        }
    }
    found
}

/// Whether this machine can be reached over IPv6 from elsewhere.
pub(super) fn has_v6() -> bool {
    let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    has_global(&addresses)
}

/// `addresses` as the kernel lists them: address, index, length of the prefix, scope (0: global), flags, interface.
fn has_global(addresses: &str) -> bool {
    addresses.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.nth(3) == Some("00") && words.nth(1) != Some("lo")
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::doctor::finding::lines;

    fn check(families: Option<(bool, bool)>, trusts: (bool, bool), has_v6: bool, expected: Expect) {
        let families = families.map(|(v4, v6)| DoorFamilies { v4, v6 });
        let facts = [DoorFacts { door: "web".to_owned(), families, trusts }];
        expected.assert_eq(&lines(&judge(&facts, has_v6)));
    }

    #[test]
    fn a_door_for_half_of_the_clients_is_said() {
        check(Some((true, true)), (true, true), true, expect![[""]]);
        check(Some((true, false)), (true, false), false, expect![[""]]);
        check(None, (false, false), true, expect![[""]]);
        check(
            Some((true, false)),
            (false, false),
            true,
            expect![[r#"
                warning: door web opens over IPv4 alone: who knocks over IPv6 does not get in; declare a set of type ipv6_addr as well, and name both in `set`
            "#]],
        );
        check(
            Some((false, true)),
            (false, false),
            false,
            expect![[r#"
                warning: door web opens over IPv6 alone: who knocks over IPv4 does not get in; declare a set of type ipv4_addr as well, and name both in `set`
            "#]],
        );
        check(
            Some((true, true)),
            (true, false),
            true,
            expect![[r#"
                note: `always` of door web names networks of IPv4 alone: the same machines have to knock when they come over IPv6; name their IPv6 networks as well, or leave it so
            "#]],
        );
    }
    #[test]
    fn only_a_global_address_counts_as_ipv6() {
        let line = |scope: &str, name: &str| {
            format!("20010db8000000000000000000000001 02 40 {scope} 80     {name}\n")
        };
        assert!(has_global(&(line("20", "eth0") + &line("00", "eth0"))));
        assert!(!has_global(&(line("20", "eth0") + &line("10", "lo") + &line("00", "lo"))));
    }
}
