//! `postern rules`: what has become of each rule.

use postern_protocol::{Reply, Request, RuleInfo, RuleState, Selection};

use super::table::{lines, row};
use super::{connect, rule_of, say_all, say_json};
use crate::cli::RulesArgs;
use crate::control::unexpected;
use crate::exit::{CommandFailure, Exit};

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
        say_all(shown(&rules))?;
    }
    Ok(Exit::Success)
}

fn shown(rules: &[RuleInfo]) -> Vec<String> {
    if rules.is_empty() {
        return vec!["there are no rules".to_owned()];
    }
    let mut rows = vec![row(["RULE", "STATE", "DOORS", "WATCHES"])];
    rows.extend(rules.iter().map(|rule| {
        let state = match rule.state {
            RuleState::Running => "running".to_owned(),
            RuleState::Trial => "on trial".to_owned(),
            RuleState::Resting | RuleState::Withdrawn => rule.why.clone(),
        };
        vec![
            rule_of(Some(&rule.tenant), Some(&rule.rule)),
            state,
            rule.doors.join(", "),
            rule.watches.join(", "),
        ]
    }));
    lines(&rows)
}
