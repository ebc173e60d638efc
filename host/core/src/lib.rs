//! Postern's decisions.

mod door;
mod drop_reason;
mod interest;
mod knock;

pub use door::{Act, DoorId, Order, Receipt};
pub use drop_reason::DropReason;
pub use interest::{Destination, Interest, Watch};
pub use knock::{Knock, MAX_PAYLOAD, TcpFlags, Timestamp, Transport};
