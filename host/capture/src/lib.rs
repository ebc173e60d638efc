//! Packets from the wire, and what is known of the network that they come from.
//!
//! In the order of a packet's way: a [`LiveCapture`] reads [`Frame`]s of an interface, behind a kernel [`Filter`] that lets only wanted ones
//! through, or a [`SavedCapture`] those of a file; [`decode()`] makes a knock of a frame, or names why not; [`LocalNetwork`] knows this machine's addresses and links, and so whether
//! the packet can have come from its source address. This crate opens no door and sends nothing to the network: it judges only whether
//! a packet is possible, not whether a client gets in.

mod frame;

mod filter;
mod live;
mod saved;

mod decode;

mod interface_name;
mod link_changes;
mod rtnetlink;

mod links;
mod local_addresses;
mod local_network;
mod machine_interface;
mod stated_addresses;

#[cfg(test)]
mod confinement;
#[cfg(test)]
mod namespace;

pub use decode::{Sightings, decode};
pub use filter::{Filter, Precision};
pub use frame::{Frame, LinkType};
pub use link_changes::LinkChanges;
pub use links::{LOOPBACK, Links, Shown, TAG_8021AD, TAG_8021Q, Tag, is_link_local};
pub use live::{
    CaptureCounter, CaptureError, CaptureSettings, CaptureStats, Devices, EndingCapture, FrameSink,
    LiveCapture,
};
pub use local_network::{LocalNetwork, LocalNetworkError, LocalNetworkSockets, View};
pub use machine_interface::{MachineInterface, interfaces};
pub use saved::{SavedCapture, SavedCaptureError};
pub use stated_addresses::StatedAddresses;
