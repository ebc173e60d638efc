//! `postern status`: how the daemon is, on one screen.

use std::cmp::Reverse;

use postern_protocol::{
    Drops, Health, Interface, InterfaceState, Process, ProcessState, Reply, Request, Status, StatusOf,
};

use super::table::{lines, row};
use super::{connect, count, say_all, say_json, time};
use crate::cli::StatusArgs;
use crate::control::unexpected;
use crate::exit::{CommandFailure, Exit};

/// Lines of each part that are shown: one screen must do.
const MOST_LINES: usize = 10;
/// Columns of a list that goes over several lines.
const WIDTH: usize = 76;

/// Asks how the daemon is; [`Exit::Failure`] if something is missing.
///
/// # Errors
/// If it cannot be asked.
pub fn run(args: &StatusArgs) -> Result<Exit, CommandFailure> {
    let of = StatusOf { tenant: args.tenant.clone() };
    let Reply::Status(status) = connect(&args.ask)?.ask(Request::Status(of))? else {
        return Err(unexpected());
    };
    if args.ask.json {
        say_json(&status)?;
    } else {
        say_all(screen(&status))?;
    }
    Ok(match status.health {
        Health::Ok => Exit::Success,
        Health::Degraded => Exit::Failure,
    })
}

/// What people see of it.
pub(super) fn screen(status: &Status) -> Vec<String> {
    let mut screen = vec![match status.health {
        Health::Ok => "ok".to_owned(),
        Health::Degraded => "degraded".to_owned(),
    }];
    screen.extend(first(status.reasons.clone()).into_iter().map(indented));
    let trial = if status.trial > 0 { format!(", {} of them on trial", status.trial) } else { String::new() };
    screen.push(format!(
        "posternd {}, up {}: generation {}, {}{trial}, {} open",
        status.version,
        time(status.uptime_ms),
        status.generation,
        count(status.rules, "rule"),
        count(status.open, "door")
    ));
    if let Some(left) = status.trial_left_ms {
        screen.push(format!("tried: the guard goes in {}; postern confirm keeps it", time(left)));
    }
    let mut part = |head: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            screen.extend([String::new(), head.to_owned()]);
            screen.extend(lines.into_iter().map(indented));
        }
    };
    part("interfaces", interfaces(&status.interfaces));
    part("processes", lines(&status.processes.iter().map(process).collect::<Vec<_>>()));
    part("barriers that hold", barriers(&status.processes));
    part("not in force", first(status.refused.iter().flat_map(|of| of.mistakes.clone()).collect()));
    part("came to nothing", drops(&status.drops));
    screen
}

fn indented(line: String) -> String {
    format!("  {line}")
}

/// The first of these, and how many more there are.
fn first(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST_LINES);
    if more > 0 {
        lines.truncate(MOST_LINES);
        lines.push(format!("and {more} more; --json has all"));
    }
    lines
}

/// Those that do not listen come first.
fn interfaces(interfaces: &[Interface]) -> Vec<String> {
    let mut sorted: Vec<_> = interfaces.iter().collect();
    sorted.sort_by_key(|interface| interface.state == InterfaceState::Listening);
    let row = |Interface { name, direction, state, why }: &Interface| {
        let state = match state {
            InterfaceState::Listening => "listening".to_owned(),
            InterfaceState::Waiting => format!("waiting: {why}"),
        };
        vec![name.clone(), direction.clone(), state]
    };
    first(lines(&sorted.into_iter().map(row).collect::<Vec<_>>()))
}

fn process(process: &Process) -> Vec<String> {
    let state = match (process.state, process.restarts) {
        (ProcessState::Restarting, _) => "is being started again".to_owned(),
        (ProcessState::Running, 0) => "running".to_owned(),
        (ProcessState::Running, restarts) => format!("running, restarted {}", count(restarts, "time")),
    };
    vec![process.name.clone(), state]
}

/// Which barriers hold, once for those of whom the same do.
fn barriers(processes: &[Process]) -> Vec<String> {
    let mut groups: Vec<(String, &str)> = Vec::new();
    for Process { name, held, .. } in processes.iter().filter(|process| !process.held.is_empty()) {
        match groups.iter_mut().find(|(_, of)| *of == held.as_str()) {
            Some((names, _)) => *names += &format!(", {name}"),
            None => groups.push((name.clone(), held)),
        }
    }
    let mut lines = Vec::new();
    for (names, held) in groups {
        let mut line = format!("{names}: ");
        for (n, barrier) in held.split(", ").enumerate() {
            if n > 0 {
                line += ",";
                if line.chars().count() + 1 + barrier.chars().count() > WIDTH {
                    lines.push(std::mem::replace(&mut line, " ".to_owned()));
                }
                line += " ";
            }
            line += barrier;
        }
        lines.push(line);
    }
    first(lines)
}

/// What happens most now comes first.
fn drops(drops: &[Drops]) -> Vec<String> {
    if drops.is_empty() {
        return Vec::new();
    }
    let mut sorted: Vec<_> = drops.iter().collect();
    sorted.sort_by_key(|drops| Reverse((drops.last_minute, drops.total)));
    let mut rows = vec![row(["REASON", "LAST MINUTE", "ALL"])];
    rows.extend(
        sorted
            .into_iter()
            .map(|drops| vec![drops.reason.clone(), drops.last_minute.to_string(), drops.total.to_string()]),
    );
    first(lines(&rows))
}
