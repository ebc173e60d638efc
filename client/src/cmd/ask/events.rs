//! `postern explain` and `tail`: what happened, and what happens.

use std::net::IpAddr;

use jiff::{Timestamp, Zoned};
use postern_protocol::{Event, Explain, Reply, Request, Tail};
use postern_text::terminal;

use super::{connect, name, say, say_json};
use crate::cli::{ExplainArgs, TailArgs};
use crate::control::{Connection, gone, unexpected};
use crate::exit::{CommandFailure, Exit};

/// Says why an address did not get in. [`Exit::Failure`] if nothing is known of it.
///
/// # Errors
/// If the daemon cannot be asked.
pub fn explain(args: &ExplainArgs) -> Result<Exit, CommandFailure> {
    let mut daemon = connect(&args.ask)?;
    let (address, follow, json) = (args.address, args.follow, args.ask.json);
    daemon.ask_for_more(Request::Explain(Explain { address, follow, tenant: args.tenant.clone() }))?;
    if follow {
        let begun = format!("waiting for what comes from {address}");
        return stream(&mut daemon, json, &begun);
    }
    let mut is_known = false;
    loop {
        let Some((Reply::Event { event, .. }, continues)) = daemon.answer()? else { return Err(gone()) };
        if let Some(event) = event {
            is_known = true;
            tell(&event, json)?;
        }
        if !continues {
            break;
        }
    }
    if is_known {
        return Ok(Exit::Success);
    }
    if !json {
        say(unknown_text(address))?;
    }
    Ok(Exit::Failure)
}

/// Says what is reported from now on.
///
/// # Errors
/// If the daemon cannot be asked, or is gone.
pub fn tail(args: &TailArgs) -> Result<Exit, CommandFailure> {
    let mut daemon = connect(&args.ask)?;
    let kinds = Some(args.kinds.clone()).filter(|kinds| !kinds.is_empty());
    let (tenant, rule, from) = (args.tenant.clone(), args.rule.clone(), args.from.clone());
    daemon.ask_for_more(Request::Tail(Tail { tenant, rule, from, kinds }))?;
    stream(&mut daemon, args.ask.json, "waiting for what is reported")
}

/// Tells events until the daemon goes; and before, that it has begun to listen.
fn stream(daemon: &mut Connection, json: bool, begun: &str) -> Result<Exit, CommandFailure> {
    loop {
        let Some((reply, _)) = daemon.answer()? else { return Err(gone()) };
        let Reply::Event { event, left_out } = reply else { return Err(unexpected()) };
        if left_out > 0 {
            drop(terminal::err(left_out_text(left_out)));
        }
        match event {
            Some(event) => tell(&event, json)?,
            None => {
                daemon.listen()?;
                // Not said to a program, which would take it for a mistake.
                if !json {
                    drop(terminal::err(format!("postern: {begun}; end it with Ctrl+C")));
                }
            }
        }
    }
}

/// Writes an event.
fn tell(event: &Event, json: bool) -> Result<(), CommandFailure> {
    if json { say_json(event) } else { say(text(event, &Zoned::now())) }
}

/// When that was, as a reader knows it for whom it is `now`, the kind, and the words.
pub(super) fn text(event: &Event, now: &Zoned) -> String {
    let millis = i64::try_from(event.time_ms).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(millis).map(|time| time.to_zoned(now.time_zone().clone()));
    let time = time.map_or_else(
        |_| "?".to_owned(),
        |time| {
            // What happened on another day must not look as if it were of today.
            let format = if time.date() == now.date() { "%H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S" };
            time.strftime(format).to_string()
        },
    );
    format!("{time}  {:11}  {}", name(&event.kind), event.text)
}

/// That there is nothing to say about an address.
pub(super) fn unknown_text(address: IpAddr) -> String {
    format!(
        "nothing is known of {address}: nothing that came from it was a step of a knock, unless that is long ago or posternd was \
         restarted since; see what comes from it with postern explain {address} --follow, and with postern tail whether it has another \
         address here, as behind a NAT"
    )
}

/// That something was not told.
pub(super) fn left_out_text(left_out: u64) -> String {
    format!("postern: {left_out} left out, since they came faster than they are told")
}
