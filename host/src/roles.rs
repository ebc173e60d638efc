//! The parts of the daemon that are processes of their own, and what they say to each other.

pub(crate) mod begin;
pub mod doorman;
mod doors_table;
pub(crate) mod engine;
mod engine_messages;
mod files_notices;
mod process;
mod reading_messages;
mod reading_service;
mod remote_origin;
mod restart;
mod rule_numbers;
pub mod runner;
pub(crate) mod supervisor;

pub(crate) use doors_table::{DoorsTable, TableHolders};
pub(crate) use reading_service::ReadingService;
