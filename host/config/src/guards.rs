//! Guards: reads guard doors as far as possible, whatever else is wrong with `postern.toml`. It reports no mistakes; [`crate::door`] does.
//!
//! A daemon that cannot start for a mistake still closes these ports: closed is safe.

use std::sync::Arc;

use postern_core::{GuardDoor, MAX_ALWAYS, MAX_DOOR_PORTS, MAX_GUARDED_PORTS, OnClose, PortRange, Width};
use toml::de::{DeTable, DeValue};

use crate::name::is_name;
use crate::values::{ports, trusted};

/// The guard doors in a text, each with what is right of it; a port that two of them name goes to the first.
pub(crate) fn read(text: &str) -> Vec<GuardDoor> {
    let mut guards = Vec::new();
    let (document, mistakes) = DeTable::parse_recoverable(text);
    if mistakes.is_empty() {
        add(document.get_ref(), &mut guards);
    } else {
        // Each table is read by itself, so that a mistake in one does not affect the others.
        for table in tables(text) {
            let (document, _) = DeTable::parse_recoverable(table);
            add(document.get_ref(), &mut guards);
        }
    }
    part(guards)
}

/// A text, cut before each line that begins with a bracket.
fn tables(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices('\n').map(|(at, _)| at + 1);
    let mut starts: Vec<_> =
        starts.filter(|start| text[*start..].trim_start_matches([' ', '\t']).starts_with('[')).collect();
    starts.insert(0, 0);
    let ends: Vec<_> = starts.iter().skip(1).copied().chain([text.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| &text[start..end])
}

/// Splits doors with more ports than one may have. Guarding without opening does not need the bound, and must not fail because of it.
fn part(guards: Vec<GuardDoor>) -> Vec<GuardDoor> {
    let mut parts = Vec::with_capacity(guards.len());
    for guard in guards {
        for (number, ports) in guard.ports.chunks(MAX_DOOR_PORTS).enumerate() {
            let name = match number {
                0 => Arc::clone(&guard.name),
                number => format!("{}..{number}", guard.name).into(),
            };
            parts.push(GuardDoor { name, ports: ports.to_vec(), ..guard.clone() });
        }
    }
    parts
}

/// Adds the guard doors of a document.
fn add(document: &DeTable<'_>, guards: &mut Vec<GuardDoor>) {
    let Some(DeValue::Table(doors)) = value(document, "doors") else { return };
    for (name, door) in doors {
        let doors = match door.get_ref() {
            DeValue::Table(door) => vec![door],
            // `[[doors.ssh]]`
            DeValue::Array(items) => items.iter().filter_map(|item| item.get_ref().as_table()).collect(),
            _ => continue,
        };
        doors.into_iter().for_each(|door| add_door(name.get_ref(), door, guards));
    }
}

fn add_door(name: &str, door: &DeTable<'_>, guards: &mut Vec<GuardDoor>) {
    let taken: Vec<_> = guards.iter().flat_map(|guard| guard.ports.iter().copied()).collect();
    let room = MAX_GUARDED_PORTS.saturating_sub(taken.len());
    let ports = PortRange::join(texts(door, "guard").iter().flat_map(|text| meant(text)).collect());
    let free = ports.into_iter().flat_map(|range| range.without(&taken)).take(room).collect::<Vec<_>>();
    if let Some(known) = guards.iter_mut().find(|guard| *guard.name == *name) {
        return known.ports.extend(free);
    }
    if free.is_empty() {
        return;
    }
    guards.push(GuardDoor {
        // A door with a valid name keeps its openings; the other names are not valid ones, so they cannot clash with it.
        name: if is_name(name) { name.into() } else { format!(".{}", guards.len()).into() },
        ports: free,
        always: texts(door, "always").iter().filter_map(|text| trusted(text).ok()).take(MAX_ALWAYS).collect(),
        prefixes: texts(door, "prefixes")
            .iter()
            .filter_map(|text| text.parse().ok())
            .take(Width::MOST)
            .collect(),
        on_close: match texts(door, "on_close").first().map(|text| &**text) {
            Some("cut") => OnClose::Cut,
            Some("reset") => OnClose::Reset,
            _ => OnClose::Keep,
        },
    });
}

/// The ports that the operator may have meant. A value in a wrong form is a mistake all the same, so these ports are closed and never opened.
fn meant(text: &str) -> Vec<PortRange> {
    let read = |item: &str| {
        let item = item.trim().to_ascii_lowercase();
        let turned = item.split_once('/').map(|(number, protocol)| format!("{protocol}/{number}"));
        let alone = format!("tcp/{item}");
        [Some(item), turned, Some(alone)].into_iter().flatten().find_map(|text| ports(&text).ok())
    };
    text.split(',').filter_map(read).collect()
}

fn value<'a>(table: &'a DeTable<'a>, key: &str) -> Option<&'a DeValue<'a>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.get_ref())
}

/// The texts and numbers of a key that has one or a list of them, as texts.
fn texts(table: &DeTable<'_>, key: &str) -> Vec<String> {
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        _ => None,
    };
    match value(table, key) {
        Some(DeValue::Array(items)) => items.iter().filter_map(|item| text(item.get_ref())).collect(),
        Some(one) => text(one).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let shown: Vec<_> = read(text)
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
        check("doors.ssh.guard = [\"tcp/22\", \"tcp/70000\", true, \"udp/5-9\"]", &["ssh: tcp/22 udp/5-9"]);
        check(
            "doors.ssh.guard = [\"22/tcp\", \"UDP/53\", 80, \"443, tcp/8080\"]",
            &["ssh: tcp/22 tcp/80 tcp/443 tcp/8080 udp/53"],
        );
        check(
            "[[doors.ssh]]\nguard = \"tcp/22\"\n[[doors.ssh]]\nguard = \"tcp/23\"",
            &["ssh: tcp/22 tcp/23"],
        );
        check(
            "[doors.a]\nguard = \"tcp/22\"\n[doors.b]\nguard = [\"tcp/20-30\"]",
            &["a: tcp/22", "b: tcp/20-21 tcp/23-30"],
        );
        check("[doors.\"s h\"]\nguard = \"tcp/22\"", &[".0: tcp/22"]);
        check("[doors.ssh]\nguard = \"tcp/22\"\nset = \"inet a b\"", &["ssh: tcp/22"]);
        check("doors = 5", &[]);
        let many: Vec<_> = (1..=150).map(|port| format!("\"tcp/{}\"", 2 * port)).collect();
        let text = format!("[doors.ssh]\nguard = [{}]", many.join(", "));
        let guards = read(&text);
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
