//! Opens and closes doors in nftables over netlink.
//!
//! A guard door is a port that Postern closes itself, in its own table `inet postern`, and opens with set elements
//! that the kernel removes when they expire, whether the daemon runs or not. A set door is a set in the user's own ruleset, filled the
//! same way. This crate starts no process, reads no packet and no configuration, and sends nothing to the network: it resets a connection only by
//! asking the kernel to.

mod doorman;
mod keeper;
mod noted_order;
mod orders;
mod owner_socket;
mod packets;
mod thread;

mod order_policy;
mod order_rate;
mod tables;

mod base_chains;
mod changes;
mod check;
mod door_chain;
mod guard;
mod identity;
mod inventory;
mod kept_connections;
mod layout;
mod legacy;
mod port_map;
mod standing;
mod table;
mod trial;

mod connection;
mod connections;
mod conntrack;
mod other_filters;
mod passages;
mod redirections;
mod sock_diag;

mod attributes;
mod batch;
mod counter;
mod counting;
mod door_set;
mod elements;
mod expressions;
mod socket;
mod user_data;

mod error;

pub use changes::Changes;
pub use check::{DoorFamilies, check_sets, families};
pub use doorman::{Doorman, give_up_trial, reset, reset_after};
pub use error::{DoormanError, RulesetMistake};
pub use keeper::GuardKeeper;
pub use kept_connections::KeptConnections;
pub use noted_order::NotedOrder;
pub use order_policy::OrderPolicy;
pub use order_rate::OrderRate;
pub use other_filters::{FirstPacket, Obstacle, OtherFilters};
pub use owner_socket::OwnerSocket;
pub use postern_core::{Posture, Release};
pub use redirections::{Redirection, redirections};
pub use standing::{Standing, standing};
pub use tables::{DoorsTables, TableRefused};
pub use thread::{DoormanEvent, DoormanHandle, GuardControl};
pub use trial::GuardTrial;
