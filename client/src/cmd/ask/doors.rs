//! `postern doors`, `open` and `close`: what is open for whom, and what is opened and closed by hand.

use std::thread::sleep;
use std::time::Duration;

use postern_protocol::{Changed, CloseDoor, OpenDoor, Opening, Reply, Request, Selection};
use postern_text::terminal;

use super::table::{lines, row};
use super::{connect, name, rule_of, say, say_all, say_json, time};
use crate::cli::{CloseArgs, DoorsArgs, OpenArgs};
use crate::control::unexpected;
use crate::exit::{CommandFailure, Exit};

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(1);
/// Digits of a module's hash that are shown to people.
const DIGITS: usize = 12;

/// Lists what is open; again and again if it is watched.
///
/// # Errors
/// If the daemon cannot be asked, or there is no such door.
pub fn list(args: &DoorsArgs) -> Result<Exit, CommandFailure> {
    let mut daemon = connect(&args.ask)?;
    let of = Selection { tenant: args.tenant.clone(), door: args.door.clone() };
    loop {
        let Reply::Doors { doors, left_out } = daemon.ask(Request::Doors(of.clone()))? else {
            return Err(unexpected());
        };
        if args.ask.json {
            doors.iter().try_for_each(say_json)?;
        } else {
            say_all(text(&doors))?;
        }
        // Not among what programs read.
        left_out_text(left_out).into_iter().for_each(|line| drop(terminal::err(line)));
        if !args.watch {
            return Ok(Exit::Success);
        }
        sleep(EVERY);
        if !args.ask.json {
            say("")?;
        }
    }
}

/// How many there are beside those that were listed.
pub(super) fn left_out_text(left_out: u64) -> Option<String> {
    (left_out > 0).then(|| format!("postern: and {left_out} more; name a door or a tenant"))
}

pub(super) fn text(doors: &[Opening]) -> Vec<String> {
    if doors.is_empty() {
        return vec!["nothing is open".to_owned()];
    }
    let mut rows = vec![row(["DOOR", "CLIENT", "SINCE", "LEFT", "PACKETS", "RULE", "MODULE"])];
    rows.extend(doors.iter().map(|opening| {
        let left = if opening.state == "open" { time(opening.left_ms) } else { opening.state.clone() };
        let module = opening.module.as_deref().and_then(|module| module.get(..DIGITS)).unwrap_or("-");
        vec![
            opening.door.clone(),
            opening.client.clone(),
            opening.since_ms.map_or_else(|| "found open".to_owned(), time),
            left,
            opening.packets.map_or_else(|| "-".to_owned(), |packets| packets.to_string()),
            rule_of(opening.tenant.as_deref(), opening.rule.as_deref()),
            module.to_owned(),
        ]
    }));
    lines(&rows)
}

/// Opens a door by hand.
///
/// # Errors
/// If the daemon does not.
pub fn open(args: &OpenArgs) -> Result<Exit, CommandFailure> {
    let lasts_ms = args.lasts.map(|lasts| lasts.as_millis().try_into().unwrap_or(u64::MAX));
    let open = OpenDoor { door: args.door.clone(), client: args.client.clone(), lasts_ms };
    let reply = connect(&args.ask)?.ask(Request::Open(open))?;
    told(&reply, args.ask.json)
}

/// Closes a door by hand.
///
/// # Errors
/// If the daemon does not, or it is not open.
pub fn close(args: &CloseArgs) -> Result<Exit, CommandFailure> {
    let close = CloseDoor { door: args.door.clone(), client: args.client.clone() };
    let reply = connect(&args.ask)?.ask(Request::Close(close))?;
    told(&reply, args.ask.json)
}

fn told(reply: &Reply, json: bool) -> Result<Exit, CommandFailure> {
    let Reply::Changed(changed) = reply else { return Err(unexpected()) };
    if json {
        say_json(changed)?;
    } else {
        say(changed_text(changed))?;
    }
    Ok(Exit::Success)
}

/// What was done by hand.
pub(super) fn changed_text(Changed { door, client, left_ms }: &Changed) -> String {
    let door = name(door);
    match left_ms {
        0 => format!("{door} is closed for {client}"),
        left_ms => format!("{door} is open for {client} for {}", time(*left_ms)),
    }
}
