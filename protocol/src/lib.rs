//! Protocol: what is spoken over the control socket, for the daemon and whoever asks it.
//!
//! On the wire it is [Varlink](https://varlink.org/Wire-protocol): objects of JSON, each ended by a NUL. `org.postern.control.varlink` beside this
//! file describes it, and the daemon hands that out by `org.varlink.service`. Requests, replies and refusals are types of their own: nothing
//! that the daemon works with is ever written here, so that it may change without anybody who asks noticing.
//!
//! It opens no socket, and knows nothing of either side.

mod event;
mod refusal;
mod reply;
mod request;
mod wire;

pub use event::Event;
pub use refusal::Refusal;
pub use reply::{
    Changed, Drops, HalfFinished, Health, Interface, InterfaceState, NewGeneration, Opening, Process,
    ProcessState, Reply, RuleInfo, RuleState, ServiceDescription, ServiceInfo, Status, TenantRefusal,
};
pub use request::{
    Call, CallError, ClientsOf, CloseDoor, Explain, InterfaceName, OpenDoor, Request, Selection, StatusOf,
    Tail,
};
pub use wire::{Answer, Cut, MessageReader, message};

/// The interface that the daemon offers.
pub const INTERFACE: &str = "org.postern.control";
/// The interface in which every Varlink service tells what it offers.
pub const SERVICE: &str = "org.varlink.service";
/// What [`INTERFACE`] is, in Varlink's own language.
pub const DESCRIPTION: &str = include_str!("org.postern.control.varlink");
/// What [`SERVICE`] is, by <https://varlink.org/Service>.
pub const SERVICE_DESCRIPTION: &str = include_str!("org.varlink.service.varlink");
/// Where the daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/postern/control.sock";
/// The longest request, in bytes without the NUL.
pub const LONGEST_REQUEST: usize = 8 << 10;
/// The longest answer, in bytes without the NUL: what is longer comes in several.
pub const LONGEST_ANSWER: usize = 4 << 20;

#[cfg(test)]
mod tests;
