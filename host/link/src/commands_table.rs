//! CommandsTable: what the supervisor gives the runner: the doors of commands, the names of rules, and how much an engine may ask for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{CommandDoor, DoorId, RuleId, ShellDoor};
use serde::{Deserialize, Serialize};

/// The doors of commands under a number. Both the engine and the runner go by it, so that neither misreads the other over a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandsTable {
    /// From 1 on; a later table has a higher number.
    pub number: u32,
    /// The doors. No two doors of any tables have the same number.
    pub doors: Vec<(DoorId, TabledDoor)>,
    /// The rules that may open them, by number.
    pub rules: BTreeMap<u32, RuleId>,
    /// No opening lasts longer.
    pub longest: Duration,
    /// Most openings at once, all doors together; so many times two orders may be under way.
    pub most_openings: usize,
}

/// A door of commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TabledDoor {
    /// Its name.
    pub name: Arc<str>,
    /// What it runs.
    pub commands: TabledCommands,
}

/// What a door runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TabledCommands {
    /// Programs with arguments.
    Argv(CommandDoor),
    /// As knockd runs them.
    Shell(ShellDoor),
}
