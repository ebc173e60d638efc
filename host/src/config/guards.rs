//! Guards: whatever can be read of guard doors, whatever else is wrong with `postern.toml`. It finds no mistakes; that is
//! [`super::door`]'s.
//!
//! A daemon that cannot start for a mistake still closes these ports: closed is safe.

use std::sync::Arc;

use postern_core::Width;
use postern_doorman::{GuardDoor, MAX_ALWAYS, MAX_DOOR_PORTS, MAX_GUARDED_PORTS, OnClose, PortRange};
use toml::de::{DeTable, DeValue};

use super::is_name;
use super::values::{ports, trusted};

/// The guard doors of a file that is TOML, each with what is right of it; a port that two of them name goes to the first.
pub(super) fn read(document: &DeTable<'_>) -> Vec<GuardDoor> {
    let mut guards = Vec::new();
    add(document, &mut guards);
    part(guards)
}

/// As [`read`], of a text that is no TOML: each of its tables is read by itself, so that what is wrong in one leaves the others alone.
pub(super) fn read_broken(text: &str) -> Vec<GuardDoor> {
    let mut guards = Vec::new();
    let mut starts: Vec<_> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    starts.retain(|start| text[*start..].trim_start_matches([' ', '\t']).starts_with('['));
    starts.insert(0, 0);
    starts.push(text.len());
    for (start, end) in starts.iter().zip(&starts[1..]) {
        let (document, _) = DeTable::parse_recoverable(&text[*start..*end]);
        add(document.get_ref(), &mut guards);
    }
    part(guards)
}

/// Parts doors with more ports than one may have. Who guards without opening has no use for the bound, and must not fail for it.
fn part(guards: Vec<GuardDoor>) -> Vec<GuardDoor> {
    let mut parts = Vec::with_capacity(guards.len());
    for guard in guards {
        for (number, ports) in guard.ports.chunks(MAX_DOOR_PORTS).enumerate() {
            let name = if number == 0 {
                Arc::clone(&guard.name)
            } else {
                format!("{}..{number}", guard.name).into()
            };
            parts.push(GuardDoor { name, ports: ports.to_vec(), ..guard.clone() });
        }
    }
    parts
}

/// Adds what a document has of guard doors.
fn add(document: &DeTable<'_>, guards: &mut Vec<GuardDoor>) {
    let Some(DeValue::Table(doors)) = value(document, "doors") else { return };
    for (name, door) in doors {
        let room = MAX_GUARDED_PORTS - guards.iter().map(|guard| guard.ports.len()).sum::<usize>();
        let number = guards.len();
        let DeValue::Table(door) = door.get_ref() else { continue };
        let taken: Vec<_> = guards.iter().flat_map(|guard| guard.ports.iter().copied()).collect();
        let mut mine: Vec<PortRange> = Vec::new();
        for range in texts(door, "guard").filter_map(|text| ports(text).ok()) {
            let free = range.without(taken.iter().chain(&mine));
            mine.extend(free);
        }
        mine.truncate(room);
        let name = name.get_ref();
        if let Some(known) = guards.iter_mut().find(|guard| *guard.name == **name) {
            known.ports.extend(mine);
            continue;
        }
        if mine.is_empty() {
            continue;
        }
        guards.push(GuardDoor {
            // What has a right name keeps what is open there; no right name looks like the other.
            name: if is_name(name) { name.as_ref().into() } else { format!(".{number}").into() },
            ports: mine,
            always: texts(door, "always").filter_map(|text| trusted(text).ok()).take(MAX_ALWAYS).collect(),
            prefixes: texts(door, "prefixes")
                .filter_map(|text| text.parse().ok())
                .take(Width::MOST)
                .collect(),
            on_close: match texts(door, "on_close").next() {
                Some("cut") => OnClose::Cut,
                Some("reset") => OnClose::Reset,
                _ => OnClose::Keep,
            },
        });
    }
}

fn value<'a>(table: &'a DeTable<'a>, key: &str) -> Option<&'a DeValue<'a>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.get_ref())
}

/// The texts of a key that has one or a list of them.
fn texts<'a>(table: &'a DeTable<'a>, key: &str) -> impl Iterator<Item = &'a str> {
    let (one, list) = match value(table, key) {
        Some(DeValue::String(text)) => (Some(&**text), None),
        Some(DeValue::Array(items)) => (None, Some(items)),
        _ => (None, None),
    };
    let of_list = list.into_iter().flat_map(|items| items.iter()).filter_map(|item| match item.get_ref() {
        DeValue::String(text) => Some(&**text),
        _ => None,
    });
    one.into_iter().chain(of_list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let (document, mistakes) = DeTable::parse_recoverable(text);
        let guards = if mistakes.is_empty() { read(document.get_ref()) } else { read_broken(text) };
        let shown: Vec<_> = guards
            .iter()
            .map(|guard| {
                let ports: Vec<_> = guard.ports.iter().map(ToString::to_string).collect();
                format!("{}: {}", guard.name, ports.join(" "))
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn mistakes_elsewhere_leave_a_port_guarded() {
        check("", &[]);
        check("[doors.ssh]\nguard = \"tcp/22\"", &["ssh: tcp/22"]);
        check("[doors.ssh]\nguard = \"tcp/22\"\nfro = \"1m\"\n[doors.lamp]\nopne = 5", &["ssh: tcp/22"]);
        check("doors.ssh.guard = [\"tcp/22\", \"tcp/70000\", 7, \"udp/5-9\"]", &["ssh: tcp/22 udp/5-9"]);
        check(
            "[doors.a]\nguard = \"tcp/22\"\n[doors.b]\nguard = [\"tcp/20-30\"]",
            &["a: tcp/22", "b: tcp/20-21 tcp/23-30"],
        );
        check("[doors.\"s h\"]\nguard = \"tcp/22\"", &[".0: tcp/22"]);
        check("[doors.ssh]\nguard = \"tcp/22\"\nset = \"inet a b\"", &["ssh: tcp/22"]);
        check("doors = 5", &[]);
        let many: Vec<_> = (1..=150).map(|port| format!("\"tcp/{}\"", 2 * port)).collect();
        let text = format!("[doors.ssh]\nguard = [{}]", many.join(", "));
        let (document, _) = DeTable::parse_recoverable(&text);
        let guards = read(document.get_ref());
        let shown: Vec<_> = guards.iter().map(|guard| (&*guard.name, guard.ports.len())).collect();
        assert_eq!(shown, [("ssh", 64), ("ssh..1", 64), ("ssh..2", 22)]);
    }

    #[test]
    fn what_is_no_toml_leaves_a_port_guarded() {
        check("interfaces = [\"eth0\"\n[doors.ssh]\nguard = \"tcp/22\"\n", &["ssh: tcp/22"]);
        check("[doors.ssh]\nguard = \"tcp/22\"\nfor = 10m\n", &["ssh: tcp/22"]);
        check("[doors.ssh]\nguard = \"tcp/22\"\n[doors.ssh]\nguard = \"tcp/23\"", &["ssh: tcp/22 tcp/23"]);
        check("  [doors.ssh\n[doors.b]\nguard = \"tcp/24\"", &["b: tcp/24"]);
        check(
            "[doors.ssh]\nguard = \"tcp/22\"\n= = [[\n[doors.b]\nguard = \"tcp/24\"",
            &["ssh: tcp/22", "b: tcp/24"],
        );
    }
}
