//! The daemon `posternd`: captures packets, has rules judge them, opens and closes doors.
//!
//! In the order of a packet's way: `postern-capture` makes a knock of a frame, `postern-sandbox` has rules judge it, `postern-core`
//! decides what becomes of the verdict, and the doors carry it out. `app` owns all of it.

pub mod command_doors;
mod doors;
mod effects;
pub mod kept_socket;
mod ledger;
pub mod net_doors;
mod not_in_place;
mod one_time;
pub mod plan;
mod probing;
pub mod remote_doorman;
pub mod remote_runner;
// What is a process of its own.
pub mod roles;
mod shared_engine;

mod assemble;
pub mod compile;
mod load_rules;
pub mod module_code;
mod origin;
mod patience;
mod peer_link;
mod readers;
mod reload;
mod signed;
mod watch;

mod advice;
mod captures;
mod control;
mod control_question;
mod listeners;
mod open_files;
mod signals;
mod state;
pub mod systemd;
mod watchdog;

mod app;
pub mod as_knockd;
pub mod check;
pub mod cli;
pub mod clock;
pub mod doctor;
mod ended;
pub mod exit;
mod grant_files;
mod guarding;
mod hooks;
mod main_loop_event;
mod metrics;
pub mod observe;
mod pace;
pub mod replay;
pub mod role;
pub mod rule;
pub mod run;
mod sample_knock;
mod shell;
mod try_run;
mod whole_file;

pub use load_rules::load_rules;
