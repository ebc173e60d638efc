//! Runs a knockd.conf as it is, with knockd's command line and words.
//!
//! Owns the two file formats and the log that knockd users know; what happens in between is the daemon's as for any other
//! configuration, and is handed in as a [`Daemon`]. `host/docs/knockd.md` lists the differences that a user can notice.

mod options;
mod run;

// From a knockd.conf to a configuration.
mod conf;
mod known_conf;
mod source;
mod translate;

mod convert;

// knockd's words.
mod log;
mod names;
mod reports;

// How it runs.
mod background;
mod daemon;
mod pid_file;

#[doc(hidden)]
pub mod fuzzed;

pub use daemon::Daemon;
pub use run::run;
