//! Interfaces: whether knocks can come in where the daemon captures.

use postern_capture::{MachineInterface, interfaces};
use postern_config::{Advice, Config};
use postern_core::ANY_INTERFACE;

use super::finding::{Finding, Looked, NotLooked};
use crate::advice;

pub(super) fn look(config: &Config) -> Looked {
    let there = interfaces().map_err(|error| {
        NotLooked::new(format!("the kernel does not list them: {error}"), "see `ip -br link`")
    })?;
    Ok(judge(&config.interfaces, &there, advice::missing_interfaces(config)))
}

/// `missing` is what `check` says of those that are not there.
fn judge(wanted: &[String], there: &[MachineInterface], missing: Option<Advice>) -> Vec<Finding> {
    let named = |name: &String| there.iter().find(|interface| interface.name == *name);
    let is_any = wanted.iter().any(|name| name == ANY_INTERFACE);
    let is_deaf = !is_any && wanted.iter().all(|name| named(name).is_none());
    let missing =
        missing.map(
            |Advice { what, remedy }| {
                if is_deaf { Finding::problem(what, remedy) } else { Finding::warning(what, remedy) }
            },
        );
    let of_captured = wanted.iter().filter_map(named).flat_map(|interface| {
        let MachineInterface { name, is_up, is_loopback, .. } = interface;
        let is_down = (!is_up && !is_loopback).then(|| {
            Finding::warning(
                format!("{name} is down, or nothing is plugged in: no knock comes in there"),
                format!("`ip link set {name} up`, or see the cable"),
            )
        });
        let only_loopback = (*is_loopback && wanted.len() == 1).then(|| {
            Finding::problem(
                format!("only {name} is captured on, where no other machine can knock"),
                "name the interface that `ip -br address` shows with this machine's address, or \"any\"",
            )
        });
        let others = there.iter().filter(|other| other.master == interface.master && other.name != *name);
        let master = interface.master.and_then(|index| there.iter().find(|it| it.index == index));
        let part = master.filter(|master| !is_any && !wanted.contains(&master.name)).map(|master| {
            let others: Vec<_> = others.map(|other| other.name.as_str()).collect();
            let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
            let MachineInterface { name: of, kind, .. } = master;
            let kind = kind.as_deref().unwrap_or("device");
            Finding::note(
                format!(
                    "{name} is a part of the {kind} {of}: knocks that come in by its other parts{others} are not seen"
                ),
                format!("name {of} in `interfaces` to see those of all parts, each once"),
            )
        });
        [is_down, only_loopback, part].into_iter().flatten()
    });
    missing.into_iter().chain(of_captured).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::doctor::finding::lines;

    fn interface(index: u32, name: &str, master: Option<u32>, is_up: bool) -> MachineInterface {
        let kind = (name == "br0").then(|| "bridge".to_owned());
        MachineInterface { index, name: name.to_owned(), kind, master, is_up, is_loopback: name == "lo" }
    }

    fn check(wanted: &[&str], missing: &[&str], expected: Expect) {
        let there = [
            interface(1, "lo", None, true),
            interface(2, "eth0", None, true),
            interface(3, "eth1", None, false),
            interface(4, "br0", None, true),
            interface(5, "eth2", Some(4), true),
            interface(6, "eth3", Some(4), true),
        ];
        let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let missing = (!missing.is_empty()).then(|| Advice {
            what: format!("not there now: {}", missing.join(", ")),
            remedy: "x".to_owned(),
        });
        expected.assert_eq(&lines(&judge(&wanted, &there, missing)));
    }

    #[test]
    fn what_does_not_hear_knocks_is_said() {
        check(&["any"], &[], expect![[""]]);
        check(&["eth0", "lo"], &[], expect![[""]]);
        check(&["br0", "eth2"], &[], expect![[""]]);
        check(
            &["eth9"],
            &["eth9"],
            expect![[r#"
                problem: not there now: eth9; x
            "#]],
        );
        check(
            &["eth0", "eth9"],
            &["eth9"],
            expect![[r#"
                warning: not there now: eth9; x
            "#]],
        );
        check(
            &["lo"],
            &[],
            expect![[r#"
                problem: only lo is captured on, where no other machine can knock; name the interface that `ip -br address` shows with this machine's address, or "any"
            "#]],
        );
        check(
            &["eth1", "eth2"],
            &[],
            expect![[r#"
                warning: eth1 is down, or nothing is plugged in: no knock comes in there; `ip link set eth1 up`, or see the cable
                note: eth2 is a part of the bridge br0: knocks that come in by its other parts (eth3) are not seen; name br0 in `interfaces` to see those of all parts, each once
            "#]],
        );
    }
}
