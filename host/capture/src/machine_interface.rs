//! MachineInterface: what an operator should know of each interface of this machine. A list of one moment, for a look at a machine; no capture needs it.

use std::io;

use crate::rtnetlink::{self, DumpKind, RtnetlinkMessage, RtnetlinkRequests, attributes, word};

// linux/if.h
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_RUNNING: u32 = 0x40;

/// An interface of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineInterface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What kind of virtual device it is, in the kernel's word: `bridge`, `bond`, `vlan`; none for others.
    pub kind: Option<String>,
    /// The index of the interface that it belongs to; none if it belongs to none.
    pub master: Option<u32>,
    /// Whether packets can come in: it is up, and has a carrier.
    pub is_up: bool,
    /// Whether only this machine itself is behind it.
    pub is_loopback: bool,
}

/// The interfaces of the network that this thread is in.
///
/// # Errors
/// If the kernel does not list them.
pub fn interfaces() -> io::Result<Vec<MachineInterface>> {
    RtnetlinkRequests::open()?.read_all(DumpKind::Links, read)
}

/// From struct ifinfomsg and what follows it (linux/if_link.h).
fn read(message: &RtnetlinkMessage<'_>) -> Option<MachineInterface> {
    const FLAGS: usize = 8;
    const HEADER: usize = 16;
    const NAME: u16 = 3;
    const MASTER: u16 = 10;
    const INFO: u16 = 18;
    const INFO_KIND: u16 = 1;
    if message.kind != rtnetlink::NEW_LINK {
        return None;
    }
    let flags = word(message.body, FLAGS)?;
    let mut interface = MachineInterface {
        index: word(message.body, 4)?,
        name: String::new(),
        kind: None,
        master: None,
        is_up: flags & IFF_UP != 0 && flags & IFF_RUNNING != 0,
        is_loopback: flags & IFF_LOOPBACK != 0,
    };
    for (kind, value) in attributes(message.body.get(HEADER..)?) {
        match kind {
            NAME => interface.name = text(value),
            MASTER => interface.master = word(value, 0).filter(|index| *index != 0),
            INFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == INFO_KIND);
                interface.kind = kind.map(|(_, value)| text(value));
            }
            _ => {}
        }
    }
    Some(interface)
}

/// A text, whose last byte is a zero.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::LOOPBACK;

    #[test]
    fn the_loopback_is_there() {
        let all = interfaces().unwrap();
        let loopback = all.iter().find(|interface| interface.index == LOOPBACK).unwrap();
        assert!(loopback.is_loopback && loopback.name == "lo" && loopback.master.is_none());
        assert_eq!(all.iter().filter(|interface| interface.is_loopback).count(), 1, "{all:?}");
    }
}
