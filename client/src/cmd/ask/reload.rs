//! `postern reload` and `confirm`: what the daemon is to do.

use std::time::Duration;

use postern_protocol::{NewGeneration, Reply, Request};
use postern_text::terminal;

use super::{connect, count, name, say, say_all, say_json};
use crate::cli::{AskArgs, ReloadArgs};
use crate::control::{mistakes_in, unexpected};
use crate::exit::{CommandFailure, Exit};

/// How long an answer is waited for that need not be waited for: a refusal and most reloads take less.
const BRIEFLY: Duration = Duration::from_secs(2);

/// Has the daemon read its configuration again, and says what came of it; without `--wait` only if that is known soon. [`Exit::Failure`] if files
/// of a tenant are not in force.
///
/// # Errors
/// If it cannot be asked, or the configuration has mistakes.
pub fn reload(args: &ReloadArgs) -> Result<Exit, CommandFailure> {
    let mut daemon = connect(&args.ask)?;
    let answer = if args.wait {
        daemon.ask(Request::Reload).map(Some)
    } else {
        daemon.ask_briefly(Request::Reload, BRIEFLY)
    };
    let answer = answer.inspect_err(|failure| {
        mistakes_in(failure).iter().for_each(|mistake| drop(terminal::err(mistake)));
    })?;
    let generation = match answer {
        Some(Reply::Reloaded(generation)) => generation,
        Some(_) => return Err(unexpected()),
        None => {
            drop(terminal::err(UNDER_WAY));
            return Ok(Exit::Success);
        }
    };
    if args.ask.json {
        say_json(&generation)?;
    } else {
        say_all(text(&generation))?;
    }
    Ok(if generation.refused.is_empty() { Exit::Success } else { Exit::Failure })
}

/// What is said if nothing has come of it yet.
pub(super) const UNDER_WAY: &str =
    "postern: the configuration is being read; postern reload --wait waits for what comes of it";

/// What is in force, what is not, and what does not count yet.
pub(super) fn text(generation: &NewGeneration) -> Vec<String> {
    let NewGeneration { generation: number, rules, refused, warnings } = generation;
    let mut text = vec![format!("generation {number} is in force, with {}", count(*rules, "rule"))];
    text.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    for of in refused {
        text.push(format!("tenant {} goes on with the rules that it had:", name(&of.tenant)));
        text.extend(of.mistakes.iter().map(|mistake| format!("  {mistake}")));
    }
    text
}

/// Keeps what `posternd try` has put in place.
///
/// # Errors
/// If there is nothing to keep, or the daemon cannot be asked.
pub fn confirm(args: &AskArgs) -> Result<Exit, CommandFailure> {
    let Reply::Confirmed {} = connect(args)?.ask(Request::Confirm)? else { return Err(unexpected()) };
    // An empty object: programs ask for the exit status.
    if args.json {
        say("{}")?
    } else {
        say(CONFIRMED)?
    }
    Ok(Exit::Success)
}

/// What is said of what was confirmed.
pub(super) const CONFIRMED: &str = "confirmed: the guard stays, and posternd goes on as `posternd run` does";
