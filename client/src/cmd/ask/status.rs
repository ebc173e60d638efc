//! `postern status`: how the daemon is, on one screen.

use postern_protocol::{Health, Interface, InterfaceState, Process, ProcessState, Reply, Request, Status};

use super::table::{lines, row};
use super::{connect, name, say_all, say_json, time};
use crate::cli::AskArgs;
use crate::control::unexpected;
use crate::exit::{CommandFailure, Exit};

/// Asks how the daemon is; [`Exit::Failure`] if something is missing.
///
/// # Errors
/// If it cannot be asked.
pub fn run(args: &AskArgs) -> Result<Exit, CommandFailure> {
    let Reply::Status(status) = connect(args)?.ask(Request::Status)? else { return Err(unexpected()) };
    if args.json {
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
fn screen(status: &Status) -> Vec<String> {
    let mut screen = vec![match status.health {
        Health::Ok => "ok".to_owned(),
        Health::Degraded => "degraded".to_owned(),
    }];
    screen.extend(status.reasons.iter().map(|reason| format!("  {reason}")));
    let trial = if status.trial > 0 { format!(", {} of them on trial", status.trial) } else { String::new() };
    screen.push(format!(
        "posternd {} for {}: generation {}, {}{trial}, {} open",
        status.version,
        time(status.uptime_ms),
        status.generation,
        count(status.rules, "rule"),
        count(status.open, "door")
    ));
    if let Some(left) = status.trial_left_ms {
        screen.push(format!("tried for {} more; postern confirm keeps it", time(left)));
    }
    let mut part = |head: &str, rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            screen.push(String::new());
            screen.push(head.to_owned());
            screen.extend(lines(&rows).into_iter().map(|line| format!("  {line}")));
        }
    };
    part("interfaces", status.interfaces.iter().map(interface).collect());
    part("processes", status.processes.iter().map(process).collect());
    let refused =
        status.refused.iter().flat_map(|of| of.mistakes.iter().map(|mistake| vec![mistake.clone()]));
    part("not in force", refused.collect());
    let mut drops: Vec<_> = status
        .drops
        .iter()
        .map(|drops| vec![drops.reason.clone(), drops.last_minute.to_string(), drops.total.to_string()])
        .collect();
    if !drops.is_empty() {
        drops.insert(0, row(["REASON", "LAST MINUTE", "ALL"]));
    }
    part("came to nothing", drops);
    screen
}

/// So many of them.
fn count(number: u64, of: &str) -> String {
    if number == 1 { format!("1 {of}") } else { format!("{number} {of}s") }
}

fn interface(interface: &Interface) -> Vec<String> {
    let Interface { name: of, direction, state, why } = interface;
    let state = match state {
        InterfaceState::Listening => "listening".to_owned(),
        InterfaceState::Waiting => format!("waiting: {why}"),
    };
    vec![name(of), direction.clone(), state]
}

fn process(process: &Process) -> Vec<String> {
    let state = match (process.state, process.restarts) {
        (ProcessState::Restarting, _) => "is being started again".to_owned(),
        (ProcessState::Running, 0) => "running".to_owned(),
        (ProcessState::Running, n) => format!("running, restarted {n} times"),
    };
    vec![process.name.clone(), state, process.held.clone()]
}
