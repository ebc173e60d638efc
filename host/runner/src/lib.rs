//! Runs the commands of command doors, and keeps the journal of openings that only a command can close.
//!
//! A [`Runner`] runs the commands of an opening one after the other, and those of different openings in parallel. What only a command can
//! close is in the [`Journal`] on the disk before it is opened; the next start takes over what is still there. This crate decides
//! nothing: it does what orders say, and answers each with a receipt.

pub mod journal;
mod runner;

pub use journal::{Journal, JournalError, JournalRecord};
pub use runner::{Call, Commands, Runner};
