//! Runs the commands of command doors, and keeps the journal of openings that only a command can close.
//!
//! A [`Runner`] runs the commands of an opening one after the other, and of different openings beside each other. What only a command can
//! close is in the [`Journal`] on the disk before it is opened, if whoever gives orders asks for that first; the next start takes over what
//! is still there. This crate decides nothing: it does what it is told, and answers with a [`RunnerEvent`].

mod as_user;
mod execution;
mod hooks;
pub mod journal;
mod left_running;
mod notes;
mod process_identity;
mod process_table;
mod runner;
mod shim;
mod shims;
mod tree;

pub use as_user::{become_and_execute, role_of};
pub use hooks::HookRunner;
pub use journal::{Journal, JournalError, JournalRecord};
pub use notes::{InheritedNotes, Notes};
pub use runner::{Call, Commands, Runner, RunnerEvent, filled, is_handed_over};
pub use shim::ShimCommand;
pub use shims::Shims;
