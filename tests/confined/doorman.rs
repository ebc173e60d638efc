//! Netlink, with the one capability that it needs.

use std::time::Duration;

use postern_confine::{CapabilitySet, SystemCalls};
use postern_core::{
    Act, ConfigIdentity, DoorId, GuardDoor, GuardProtocol, NetDoor, OnClose, Order, PortRange,
};
use postern_doorman::{Changes, Doorman, Posture, Release, redirections};

use crate::confine_but;

/// A port is guarded, opened, closed, and the table watched, all behind the confinement.
pub(crate) fn guard() -> String {
    confine_but(CapabilitySet::NET_ADMIN, SystemCalls::Doorman);
    let ports = vec![PortRange::single(GuardProtocol::Tcp, 22)];
    let (always, prefixes) = (Vec::new(), Vec::new());
    let door = GuardDoor { name: "ssh".into(), ports, always, prefixes, on_close: OnClose::Cut };
    let identity = ConfigIdentity::new("00c0ffee", "postern.toml");
    let doors = [(DoorId(1), NetDoor::Guard(door))];
    let (mut doorman, _) = Doorman::start(Some(identity), &doors, Release::Now).unwrap();
    assert_eq!(doorman.posture(), Posture::Owned);
    let _changes = Changes::watch(doorman.port_id()).unwrap();
    redirections().unwrap();
    for act in [Act::Open(Duration::from_secs(60)), Act::Close] {
        let client = "192.0.2.1".parse().unwrap();
        let receipts = doorman.carry_out(&[Order { serial: 1, door: DoorId(1), client, occurrence: 0, act }]);
        receipts[0].outcome.as_ref().unwrap();
        println!("{} open", doorman.list().unwrap().openings.len());
    }
    "opened and closed".to_owned()
}
