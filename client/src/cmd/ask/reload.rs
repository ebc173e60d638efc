//! `postern reload` and `confirm`: what the daemon is to do.

use std::time::Duration;

use postern_protocol::{NewGeneration, Reply, Request};
use postern_text::terminal;

use super::{connect, name, say, say_all, say_json};
use crate::cli::{AskArgs, ReloadArgs};
use crate::control::{mistakes_in, unexpected};
use crate::exit::{CommandFailure, Exit};

/// How long an answer is waited for that need not be waited for: a refusal and most reloads take less.
const BRIEFLY: Duration = Duration::from_secs(2);
/// What is said if nothing has come of it yet.
const UNDER_WAY: &str =
    "postern: the configuration is being read; postern reload --wait waits for what comes of it";

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
    let NewGeneration { generation: number, rules, refused, warnings } = &generation;
    if args.ask.json {
        say_json(&generation)?;
    } else {
        say(format!("generation {number} is in force, with {rules} rules"))?;
        say_all(warnings.iter().map(|warning| format!("warning: {warning}")))?;
        for of in refused {
            say(format!("tenant {} goes on with the rules that it had:", name(&of.tenant)))?;
            say_all(of.mistakes.iter().map(|mistake| format!("  {mistake}")))?;
        }
    }
    Ok(if refused.is_empty() { Exit::Success } else { Exit::Failure })
}

/// Keeps what `posternd try` has put in place.
///
/// # Errors
/// If there is nothing to keep, or the daemon cannot be asked.
pub fn confirm(args: &AskArgs) -> Result<Exit, CommandFailure> {
    let Reply::Confirmed {} = connect(args)?.ask(Request::Confirm)? else { return Err(unexpected()) };
    say("it stays")?;
    Ok(Exit::Success)
}
