//! The knock client: sends the packets of a knock, waits until the door is open, and keeps profiles of knocks.
//!
//! It needs plain sockets and nothing else, so it runs wherever they are, as any user. In reading order: what a knock is
//! (`step`, `transport`, `tcp_door`, `profile`), where it goes and when (`resolve`, `plan`), what sends it (`hit`, `knock`, `cmd`), and
//! how ssh gets the connection (`fdpass`).

#![forbid(unsafe_code)]

pub mod step;
pub mod transport;

pub mod payload;
pub mod tcp_door;
pub mod then;

pub mod profile;

pub mod resolve;

pub mod plan;

#[cfg(unix)]
pub mod fdpass;
pub mod hit;
pub mod knock;

#[cfg(unix)]
pub mod control;

pub mod cli;
pub mod cmd;
pub mod complete;
pub mod exit;

mod duration;
mod read_at_most;
mod ready;
mod services;
