//! Harness of the tests above unit level: two machines on one wire, and a real `posternd` on one of them.
//!
//! A [`Lab`] is a server and a client in network namespaces of their own. A [`Daemon`] is a running `posternd` on its
//! server, with a folder of configuration that a test may change. A [`frame`] is a packet that no socket would
//! send, and a [`capture_file`] holds several. Nothing here waits for a fixed time and hopes: [`eventually`] polls with a deadline.
//!
//! The harness panics when something is not as it must be, because its callers are tests. It leaves nothing behind: namespaces
//! have no name and go with their last user, and `tests/in-namespace.sh` ends whatever a killed test left running.

mod daemon;
mod deadline;
mod lab;
mod machine;
mod random;
mod signer;
mod skip;

pub mod capture_file;
pub mod compilers;
pub mod examples;
pub mod frame;
pub mod guest;
pub mod open_metrics;
pub mod tour;

pub use daemon::log::{Entry, Log};
pub use daemon::{Daemon, ProcessStatus, Setup, is_running};
pub use deadline::{PATIENCE, eventually, eventually_within, sleep_until};
pub use lab::banner::{BannerSite, BannerWay};
pub use lab::injector::Injector;
pub use lab::namespace::Namespace;
pub use lab::program::{Program, with_files};
pub use lab::service::Service;
pub use lab::sshd::sshd;
pub use lab::{Answer, CLIENT4, CLIENT6, Lab, SERVER4, SERVER6, STRANGER4, STRANGER6, Step, steps};
pub use machine::machine;
pub use random::{Random, rounds};
/// What a test may send to a daemon.
pub use rustix::process::Signal;
pub use signer::Signer;
pub use skip::{skip, skip_everywhere, tool};
