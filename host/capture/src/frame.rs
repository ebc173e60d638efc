//! Frame: one packet as it was captured.

use std::sync::Arc;

use postern_core::{Direction, Timestamp};

/// Bytes kept of a frame: a full Ethernet frame with tags and long headers, and so that the kernel's ring holds two frames in a page.
pub(crate) const SNAP_LENGTH: u16 = 1920;

/// One packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When the kernel saw it.
    pub time: Timestamp,
    /// What `bytes` begins with.
    pub link: LinkType,
    /// Bytes of the frame before it was cut to what is captured.
    pub length: u32,
    /// The interface that captured it; `any` for a capture on all of them.
    pub interface: &'a Arc<str>,
    /// The index of that interface; 0 for `any`, where the cooked header may say it, and if it is not known.
    pub index: u32,
    /// Whether it came in or went out there.
    pub direction: Direction,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

/// A time as libpcap says it; before 1970 counts as the beginning of 1970.
pub(crate) fn timestamp(seconds: i64, micros: i64) -> Timestamp {
    let (seconds, micros) = (u64::try_from(seconds).unwrap_or(0), u64::try_from(micros).unwrap_or(0));
    Timestamp(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// The link-layer header of a frame, by the registry at <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// Ethernet, with or without VLAN tags; also `lo` on Linux.
    Ethernet,
    /// Linux cooked capture, version 1: several interfaces at once, or one whose own header is of no use.
    Cooked,
    /// Linux cooked capture, version 2.
    CookedV2,
    /// An IP packet of either version, as from a tun device.
    Ip,
    /// An IPv4 packet.
    Ipv4,
    /// An IPv6 packet.
    Ipv6,
    /// BSD loopback, the address family in the byte order of the capturing machine.
    Null,
    /// BSD loopback, the address family in network order.
    Loop,
    /// Any other, by its number.
    Other(i32),
}

impl LinkType {
    /// From the number in a capture file or from libpcap.
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        match number {
            0 => Self::Null,
            1 => Self::Ethernet,
            // In files raw IP is 101; libpcap's own number for it is 12, on OpenBSD 14.
            12 | 14 | 101 => Self::Ip,
            108 => Self::Loop,
            113 => Self::Cooked,
            228 => Self::Ipv4,
            229 => Self::Ipv6,
            276 => Self::CookedV2,
            other => Self::Other(other),
        }
    }
}
