//! Opens and closes doors in nftables over netlink.
//!
//! A guard door is a port that Postern closes itself, in its own table `inet postern`, and opens with set elements
//! that the kernel removes in time, daemon or no daemon. A set door is a set in the user's own ruleset, filled the
//! same way. This crate starts no process, reads no packet and no configuration, and never answers the network.

mod net_door;
mod port_range;
mod set_name;

mod doorman;
mod orders;
mod posture;

mod changes;
mod check;
mod door_chain;
mod guard;
mod identity;
mod inventory;
mod legacy;
mod port_map;
mod table;

mod connection;
mod connections;
mod conntrack;
mod redirections;
mod sock_diag;

mod attributes;
mod batch;
mod door_set;
mod elements;
mod expressions;
mod socket;

mod error;

pub use changes::Changes;
pub use check::{check_doors, check_sets};
pub use doorman::{Doorman, Listing, Opening, reset};
pub use error::{Error, Mistake};
pub use guard::Release;
pub use identity::Identity;
pub use net_door::{GuardDoor, MAX_ALWAYS, MAX_DOOR_PORTS, MAX_GUARDED_PORTS, NetDoor, OnClose, Trusted};
pub use port_range::{GuardProtocol, PortRange};
pub use posture::{Kept, Posture, WhyPlain};
pub use redirections::{Redirection, redirections};
pub use set_name::{Family, SetName, SetNameError};
