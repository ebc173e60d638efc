//! Check and reset: what can be done without a daemon running.

use std::io::{self, Write};
use std::path::Path;

use postern_core::DoorId;
use postern_doorman::check_sets;

use crate::activity::Activity;
use crate::advice::advice;
use crate::config::{Config, DoorKind, Mistake, Mistakes};
use crate::exit::Exit;
use crate::happening::Prepared;
use crate::reload::prepare;
use crate::rules::{Loader, Runtime};
use crate::trust::Trust;
use crate::written::{Written, identity};

/// Reads the configuration, loads every module, tries every rule, and looks at the sets that doors fill; `trust` is whose files are
/// taken. What is no mistake but worth a word is told on standard error.
///
/// # Errors
/// If the system does not let us check, or nobody can be told.
pub fn check(file: &Path, trust: Trust) -> anyhow::Result<Exit> {
    let loader = Loader::new(Runtime::start()?)?;
    let written = Written::Postern(file.to_owned(), trust);
    let Prepared { config, generation, .. } = prepare(&written, 1, &loader, &Activity::default(), None);
    let mut mistakes: Vec<_> =
        generation.err().map_or_else(Vec::new, |found| found.iter().cloned().collect());
    if let Some(config) = &config {
        mistakes.extend(set_mistakes(file, config));
        for advice in advice(&written, config) {
            writeln!(io::stderr(), "warning: {advice}")?;
        }
    }
    let Some(config) = config.filter(|_| mistakes.is_empty()) else {
        return tell(&Mistakes::new(mistakes));
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{}: no mistakes", file.display())?;
    for rule in &config.rules {
        let doors: Vec<_> = rule.doors.iter().map(|door| &**door).collect();
        writeln!(out, "  rule {} opens {}", rule.id.name, doors.join(", "))?;
    }
    Ok(Exit::Success)
}

/// Removes the guard that a stopped daemon left for the configuration at `file`.
///
/// # Errors
/// If a daemon is running, if the guard was put up for another configuration, or nftables cannot be reached.
pub fn reset(file: &Path) -> anyhow::Result<Exit> {
    let was_there = postern_doorman::reset(identity(file))?;
    let words = if was_there { "removed; its ports are no longer guarded" } else { "was not there" };
    writeln!(io::stdout().lock(), "table inet postern: {words}")?;
    Ok(Exit::Success)
}

fn set_mistakes(file: &Path, config: &Config) -> Vec<Mistake> {
    let doors: Vec<_> = config.doors.values().collect();
    let net: Vec<_> = doors
        .iter()
        .enumerate()
        .filter_map(|(n, door)| match &door.kind {
            DoorKind::Net(net) => Some((DoorId(u32::try_from(n).ok()?), net.clone())),
            DoorKind::Command(_) | DoorKind::Shell(_) => None,
        })
        .collect();
    let mistake = |(door, error): (DoorId, postern_doorman::Mistake)| {
        doors[door.0 as usize].mistake(file, format!("{:#}", anyhow::Error::from(error)))
    };
    check_sets(&net).into_iter().map(mistake).collect()
}

fn tell(mistakes: &Mistakes) -> anyhow::Result<Exit> {
    let mut err = io::stderr().lock();
    writeln!(err, "{mistakes}\nposternd: {}; nothing was started", mistakes.count())?;
    Ok(Exit::Mistakes)
}
