//! `postern rules`: what has become of each rule.

use postern_protocol::{Reply, Request, RuleInfo, RuleState, Selection};

use super::table::{lines, row};
use super::{connect, rule_of, say_all, say_json};
use crate::cli::RulesArgs;
use crate::control::unexpected;
use crate::exit::{CommandFailure, Exit};

/// Ports and doors of a rule that are named; of more it is said how many there are.
const MOST_NAMED: usize = 6;

/// Lists the rules.
///
/// # Errors
/// If the daemon cannot be asked.
pub fn run(args: &RulesArgs) -> Result<Exit, CommandFailure> {
    let of = Selection { tenant: args.tenant.clone(), door: None };
    let Reply::Rules { rules } = connect(&args.ask)?.ask(Request::Rules(of))? else {
        return Err(unexpected());
    };
    if args.ask.json {
        rules.iter().try_for_each(say_json)?;
    } else {
        say_all(text(&rules))?;
    }
    Ok(Exit::Success)
}

/// A line for each, and behind them why some do not run, or how they failed lately.
pub(super) fn text(rules: &[RuleInfo]) -> Vec<String> {
    if rules.is_empty() {
        return vec!["there are no rules".to_owned()];
    }
    let id = |rule: &RuleInfo| rule_of(Some(&rule.tenant), Some(&rule.rule));
    let mut rows = vec![row(["RULE", "STATE", "DOORS", "WATCHES"])];
    rows.extend(rules.iter().map(|rule| {
        let state = match rule.state {
            RuleState::Running => "running",
            RuleState::Trial => "on trial",
            RuleState::Resting => "resting",
            RuleState::Withdrawn => "withdrawn",
        };
        vec![id(rule), state.to_owned(), named(&rule.doors), named(&rule.watches)]
    }));
    let mut text = lines(&rows);
    let whys = rules.iter().filter(|rule| !rule.why.is_empty());
    let mut whys = whys.map(|rule| format!("rule {}: {}", id(rule), rule.why)).peekable();
    if whys.peek().is_some() {
        text.push(String::new());
        text.extend(whys);
    }
    text
}

/// The first of these names; `-` if there are none.
fn named(names: &[String]) -> String {
    if names.is_empty() {
        return "-".to_owned();
    }
    let (shown, rest) = names.split_at(names.len().min(MOST_NAMED));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    format!("{}{more}", shown.join(", "))
}
