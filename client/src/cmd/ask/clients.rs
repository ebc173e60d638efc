//! `postern clients`: whose knocks are half finished.

use std::net::IpAddr;

use postern_protocol::{ClientsOf, HalfFinished, Reply, Request};

use super::table::{lines, row};
use super::{connect, rule_of, say_all, say_json, time};
use crate::cli::ClientsArgs;
use crate::control::unexpected;
use crate::exit::{CommandFailure, Exit};

/// Lists those who have come half way.
///
/// # Errors
/// If the daemon cannot be asked.
pub fn run(args: &ClientsArgs) -> Result<Exit, CommandFailure> {
    let of = ClientsOf { tenant: args.tenant.clone(), address: args.address };
    let Reply::Clients { clients } = connect(&args.ask)?.ask(Request::Clients(of))? else {
        return Err(unexpected());
    };
    if args.ask.json {
        clients.iter().try_for_each(say_json)?;
    } else {
        say_all(text(&clients, args.address))?;
    }
    Ok(if clients.is_empty() && args.address.is_some() { Exit::Failure } else { Exit::Success })
}

/// Those of this address, if one was asked for.
pub(super) fn text(clients: &[HalfFinished], address: Option<IpAddr>) -> Vec<String> {
    if clients.is_empty() {
        let whose = address.map_or_else(String::new, |address| format!(" of {address}"));
        return vec![format!("no knock{whose} is half finished")];
    }
    let mut rows = vec![row(["CLIENT", "RULE", "STAGE", "SINCE", "LEFT"])];
    rows.extend(clients.iter().map(|client| {
        let rule = rule_of(Some(&client.tenant), Some(&client.rule));
        let stage = client.stage.to_string();
        vec![client.client.clone(), rule, stage, time(client.since_ms), time(client.left_ms)]
    }));
    lines(&rows)
}
