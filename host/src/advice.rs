//! Advice: what is no mistake, and still worth a word before the daemon relies on it. It changes nothing and refuses nothing.

mod passed_by;

use std::path::Path;

use postern_core::{NetDoor, Trusted};

use crate::config::{Config, DoorKind, machine};
use crate::trust::{Distrust, Trust};
use crate::written::Written;

/// Tells it in the log.
pub(crate) fn tell(written: &Written, config: &Config) {
    for advice in advice(written, config) {
        tracing::warn!(event = "advice", "{advice}");
    }
}

/// A line for each thing that the operator should know.
pub(crate) fn advice(written: &Written, config: &Config) -> Vec<String> {
    let strict_modes = match written {
        Written::Postern(_, trust) => waived(*trust, config).into_iter().collect(),
        Written::Knockd(source) => untrusted(source.file(), config),
    };
    let trusted = missing_trusted(config);
    strict_modes
        .into_iter()
        .chain(missing_interfaces(config))
        .chain(trusted)
        .chain(passed_by::ways(config))
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

/// What `always` names that is no network and no interface either: a name of a host, perhaps.
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

fn waived(trust: Trust, config: &Config) -> Option<String> {
    match (trust, config.trust) {
        (Trust::Anybody, _) => Some(
            "--no-strict-modes: postern.toml, rule files and modules are taken even if others can write them, and so decide who gets in".to_owned(),
        ),
        (Trust::Strict, Trust::Anybody) => Some(
            "strict_modes = false: rule files and modules are taken even if others can write them, and so decide who gets in".to_owned(),
        ),
        (Trust::Strict, Trust::Strict) => None,
    }
}

/// knockd takes such files, and so do we.
fn untrusted(file: &Path, config: &Config) -> Vec<String> {
    let one_time = config.rules.iter().filter_map(|rule| rule.one_time.as_ref());
    let files = one_time.map(|line| line.path.as_path());
    let mut lines: Vec<_> = std::iter::once(file)
        .chain(files)
        .filter_map(|path| Trust::Strict.distrust(path))
        .map(|Distrust { path, what }| format!("{}: {what}", path.display()))
        .collect();
    lines.sort();
    lines.dedup();
    lines
}
