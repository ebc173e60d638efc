//! What goes from one of the daemon's processes to another, and the sockets that carry it.
//!
//! A [`Talk`] carries messages of any type, with descriptors, between a supervisor and what it started. It is as strict as JSON and serde
//! make it, and bounded by whoever receives.

mod rpc;
mod talk;

pub use rpc::{Answered, CallError, Reply, RpcClient, notify, serve};
pub use talk::{MOST_DESCRIPTORS, Talk, TalkReceiver, TalkSender};
