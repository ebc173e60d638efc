//! The parts of the daemon that are processes of their own, and what they say to each other.

pub(crate) mod begin;
mod config_table;
pub mod doorman;
pub(crate) mod engine;
mod engine_messages;
mod files_notices;
mod module_answers;
mod permits;
mod process;
mod reading_messages;
mod reading_service;
mod remote_origin;
mod restart;
mod rule_numbers;
pub mod runner;
mod running_modules;
pub(crate) mod supervisor;

use std::fs;
use std::process::ExitCode;

use postern_text::{chain, terminal};

use crate::role::Role;
use crate::{compile, doctor, readers};

pub(crate) use config_table::{ConfigTable, TableHolders};
pub(crate) use reading_service::ReadingService;

/// Does what a role does; the process ends then.
#[must_use]
pub fn run(role: Role) -> ExitCode {
    // It was executed by a descriptor, and is called after its number.
    let _ = fs::write("/proc/self/comm", format!("postern-{}", role.name()));
    let done = match role {
        Role::Barriers => doctor::run_barriers(),
        Role::Compiler => return compile::run_compiler(),
        Role::Doorman => doorman::run(),
        Role::Engine => engine::run(),
        Role::Reader => return readers::run_reader(),
        Role::Runner => runner::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What could not be told to the supervisor; if standard error is gone nobody can be told.
            drop(terminal::err(format_args!("posternd: the {} ends: {}", role.name(), chain(&*error))));
            ExitCode::FAILURE
        }
    }
}
