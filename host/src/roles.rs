//! The parts of the daemon that are processes of their own, and what they say to each other.

pub mod doorman;
mod doors_table;
mod files_notices;
mod reading_messages;
mod reading_service;
mod remote_origin;
mod rule_numbers;

pub(crate) use doors_table::{DoorsTable, TableHolders};
pub(crate) use reading_service::ReadingService;
pub(crate) use remote_origin::RemoteOrigin;
