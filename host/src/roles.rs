//! What the processes of the daemon do that hold a power each: one file for each.

pub mod doorman;
pub mod runner;
