//! The doorman's process against a real kernel, with real packets, in network namespaces of its own.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

#[path = "../../doorman/tests/netns/world.rs"]
#[allow(dead_code, reason = "the doorman's own tests use all of it")]
mod world;

mod engine;
mod process;
mod supervisor;

mod beyond;
mod kills;
mod orders;

use std::time::Duration;

use postern_core::{DoorId, DoorsTable, GuardDoor, GuardProtocol, NetDoor, OnClose, OrderLimits, PortRange};

const SSH: DoorId = DoorId(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A table of one guard door, port 22.
fn table(number: u32) -> DoorsTable {
    let guard = NetDoor::Guard(GuardDoor {
        name: "ssh".into(),
        ports: vec![PortRange::single(GuardProtocol::Tcp, 22)],
        always: Vec::new(),
        prefixes: vec!["ipv6/64".parse().unwrap()],
        on_close: OnClose::Keep,
    });
    let limits = OrderLimits { longest: MINUTE, most_openings: 3, orders_per_second: 1000 };
    DoorsTable { number, doors: vec![(SSH, guard)], limits }
}
