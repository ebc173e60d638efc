//! Advice: warnings about a configuration without mistakes. It changes nothing and refuses nothing.

mod passed_by;
mod promises;

use postern_config::{Config, ConfigSource, DoorKind, machine};
use postern_core::{NetDoor, Trusted};

/// A line for each thing that the operator should know.
pub(crate) fn advice(source: &dyn ConfigSource, config: &Config) -> Vec<String> {
    let trusted = missing_trusted(config);
    source
        .advice(config)
        .into_iter()
        .chain(missing_interfaces(config))
        .chain(trusted)
        .chain(passed_by::ways(config))
        .chain(promises::beyond(config))
        .collect()
}

fn missing_interfaces(config: &Config) -> Option<String> {
    let missing = machine::missing(&config.interfaces);
    if missing.is_empty() {
        return None;
    }
    let (missing, here) = (missing.join(", "), machine::there_are());
    Some(format!("not there now: {missing}; nobody can knock there until it comes; {here}"))
}

/// Items of `always` that are no network and no interface either: a host's name, perhaps.
fn missing_trusted(config: &Config) -> Option<String> {
    let doors = config.doors.values().filter_map(|door| match &door.kind {
        DoorKind::Net(NetDoor::Guard(guard)) => Some(&guard.always),
        _ => None,
    });
    let mut names: Vec<_> = doors
        .flatten()
        .filter_map(|trusted| match trusted {
            Trusted::Interface(name) => Some(name.clone()),
            Trusted::Network(_) => None,
        })
        .collect();
    names.sort();
    names.dedup();
    let missing = machine::missing(&names);
    if missing.is_empty() {
        return None;
    }
    let (missing, here) = (missing.join(", "), machine::there_are());
    Some(format!(
        "always names interfaces that are not there now: {missing}; {here}; names of hosts are not taken"
    ))
}
