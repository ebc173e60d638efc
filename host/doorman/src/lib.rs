//! Opens and closes doors in nftables over netlink.
//!
//! A guard door is a port that Postern closes itself, in its own table `inet postern`, and opens with set elements
//! that the kernel removes in time, daemon or no daemon. A set door is a set in the user's own ruleset, filled the
//! same way. This crate starts no process, reads no packet and no configuration, and never answers the network.

mod net_door;
mod set_name;

mod doorman;
mod orders;
mod posture;

mod changes;
mod check;
mod guard;
mod table;

mod redirections;

mod attributes;
mod batch;
mod door_set;
mod elements;
mod expressions;
mod socket;

mod error;

pub use changes::Changes;
pub use check::{check_doors, check_sets};
pub use doorman::{Doorman, Opening, reset};
pub use error::{Error, Mistake};
pub use net_door::{GuardProtocol, MAX_DOOR_PORTS, MAX_GUARDED_PORTS, NetDoor, OnClose};
pub use posture::{Posture, WhyPlain};
pub use redirections::{Redirection, redirections};
pub use set_name::{Family, SetName, SetNameError};
