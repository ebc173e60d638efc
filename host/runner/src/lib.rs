//! Runs what command doors name, and keeps the journal of what is to be undone.
//!
//! A [`Runner`] runs the commands of an opening one after the other, and of different openings beside each other. What only a command can
//! close is in the [`Journal`] on the disk before it is opened; the next start takes over what is still there. This crate decides
//! nothing: it does what orders say, and answers each with a receipt.

pub mod journal;
mod runner;

pub use journal::{Journal, JournalError, JournalRecord};
pub use runner::{Call, Commands, Runner};
