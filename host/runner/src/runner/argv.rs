//! A command of Postern's own configuration: a program and its arguments, without a shell, in a clean environment.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{Act, CommandDoor, PLACEHOLDERS};

use super::Call;
use crate::execution::Execution;
use crate::journal::Close;
use crate::notes::Note;
use crate::shims::Shims;

/// How a door is closed for the client of a call; none if there is nothing to run.
pub(super) fn close(door: &CommandDoor, call: &Call<'_>) -> Option<Close> {
    let ArgvCommand { argv, values, limit, user } = ArgvCommand::new(door, Act::Close, call);
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    (!argv.is_empty()).then(|| Close::Argv { argv, values: values.to_vec(), limit, user })
}

/// What carries out `act` at a door for a call: a program and its arguments, filled in; nothing if there is nothing to run.
#[must_use]
pub fn filled(door: &CommandDoor, act: Act, call: &Call<'_>) -> Vec<String> {
    let command = ArgvCommand::new(door, act, call);
    // As `perform` has it: the program is what is written.
    command
        .argv
        .iter()
        .enumerate()
        .map(|(n, part)| if n == 0 { part.clone() } else { command.fill(part) })
        .collect()
}

/// One run of a command.
pub(super) struct ArgvCommand {
    argv: Vec<String>,
    values: [String; PLACEHOLDERS.len()],
    limit: Duration,
    /// The account; none: this process's own user.
    user: Option<String>,
}

impl ArgvCommand {
    /// The command that carries out `act` at the door of a call.
    pub(super) fn new(door: &CommandDoor, act: Act, call: &Call<'_>) -> Self {
        let (argv, seconds) = match act {
            Act::Open(lasts) => (door.open.clone(), lasts.as_secs().max(1)),
            Act::Close | Act::Expire => (door.close.clone(), 0),
            // The engine itself keeps the time of such a door, so extending it runs nothing.
            Act::Extend(_) => (Vec::new(), 0),
        };
        let rule = call.rule.map_or_else(String::new, |rule| rule.to_string());
        let values = [call.client.to_string(), call.door.to_owned(), rule, seconds.to_string()];
        Self { argv, values, limit: door.timeout, user: door.user.clone() }
    }

    /// A command that an earlier daemon recorded.
    pub(super) fn recorded(argv: &[String], values: &[String], limit: u64, user: Option<String>) -> Self {
        let value = |n: usize| values.get(n).cloned().unwrap_or_default();
        let limit = Duration::from_millis(limit);
        Self { argv: argv.to_vec(), values: std::array::from_fn(value), limit, user }
    }

    /// Whether there is nothing to run.
    pub(super) const fn is_nothing(&self) -> bool {
        self.argv.is_empty()
    }

    /// Runs it to its end, by a shim if there is a note for that.
    pub(super) async fn perform(&self, shim: Option<(&Arc<Shims>, &Note)>) -> Result<(), String> {
        let Some((program, arguments)) = self.argv.split_first() else { return Ok(()) };
        let variable = |(name, value): (&&str, &String)| {
            (format!("POSTERN_{}", name.to_ascii_uppercase()), value.clone())
        };
        let execution = Execution {
            program,
            arguments: arguments.iter().map(|argument| self.fill(argument)).collect(),
            user: self.user.as_deref(),
            environment: PLACEHOLDERS.iter().zip(&self.values).map(variable).collect(),
            input: Stdio::null(),
            limit: self.limit,
            shim,
        };
        execution.run().await.map_err(|why| format!("{program} {why}"))
    }

    /// Fills the placeholders in, once: a value is never looked at again.
    fn fill(&self, argument: &str) -> String {
        let mut filled = String::with_capacity(argument.len());
        let mut rest = argument;
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let found = PLACEHOLDERS.iter().zip(&self.values).find_map(|(name, value)| {
                let after = rest.strip_prefix('{')?.strip_prefix(name)?.strip_prefix('}')?;
                Some((value, after))
            });
            match found {
                Some((value, after)) => {
                    filled.push_str(value);
                    rest = after;
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled.push_str(rest);
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let values = ["2001:db8::1", "lamp", "{ip}", "60"].map(str::to_owned);
        let run = ArgvCommand { argv: vec![], values, limit: Duration::ZERO, user: None };
        assert_eq!(run.fill("--from={ip} {door}/{rule} {seconds}s"), "--from=2001:db8::1 lamp/{ip} 60s");
        assert_eq!(run.fill("{other} {{ip} {"), "{other} {2001:db8::1 {");
    }
}
