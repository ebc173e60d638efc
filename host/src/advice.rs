//! Advice: warnings about a configuration without mistakes. It changes nothing and refuses nothing.

mod passed_by;
mod promises;
mod unopened;

use postern_config::{Advice, Config, ConfigSource, DoorKind, machine};
use postern_core::{NetDoor, Trusted};

pub(crate) use passed_by::{is_own, ways as passed_by};
pub(crate) use promises::beyond;
pub(crate) use unopened::unopened;

/// A line for each thing that the operator should know.
pub(crate) fn advice(source: &dyn ConfigSource, config: &Config) -> Vec<String> {
    let of_files = source.advice(config).into_iter();
    let of_machine = missing_interfaces(config)
        .into_iter()
        .chain(missing_trusted(config))
        .chain(unopened(config))
        .chain(passed_by(config))
        .chain(beyond(config));
    of_files.chain(of_machine).map(|advice| advice.to_string()).collect()
}

/// Interfaces to capture on that are not there.
pub(crate) fn missing_interfaces(config: &Config) -> Option<Advice> {
    let missing = machine::missing(&config.interfaces);
    if missing.is_empty() {
        return None;
    }
    let what = format!("not there now: {}; nobody can knock there until it comes", missing.join(", "));
    Some(Advice { what, remedy: machine::there_are() })
}

/// Items of `always` that are no network and no interface either: a host's name, perhaps.
pub(crate) fn missing_trusted(config: &Config) -> Option<Advice> {
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
    let what = format!("always names interfaces that are not there now: {}", missing.join(", "));
    Some(Advice { what, remedy: format!("{}; names of hosts are not taken", machine::there_are()) })
}
