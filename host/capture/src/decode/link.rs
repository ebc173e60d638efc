//! Link layers: where the IP packet begins, and which version the link says it is.

use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};
use postern_core::DropReason;

use super::network::Version;
use crate::frame::LinkType;

/// Stacked VLAN tags that are looked through: QinQ has two, and two more do no harm.
pub(super) const MAX_VLAN_TAGS: usize = 4;

pub(super) const ETHER_IPV4: u16 = 0x0800;
pub(super) const ETHER_IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and what some switches used before 802.1ad.
pub(super) const ETHER_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// Protocol field and length of a Linux cooked header, version 1 (LINKTYPE_LINUX_SLL).
pub(super) const COOKED_PROTOCOL: usize = 14;
pub(super) const COOKED_LENGTH: usize = 16;
/// The same of version 2 (LINKTYPE_LINUX_SLL2).
pub(super) const COOKED_V2_PROTOCOL: usize = 0;
pub(super) const COOKED_V2_LENGTH: usize = 20;

/// The address family of IPv4, the same on all systems.
const FAMILY_IPV4: u32 = 2;
/// The address family of IPv6 on Linux, on NetBSD and OpenBSD, on FreeBSD, and on macOS.
const FAMILY_IPV6: [u32; 4] = [10, 24, 28, 30];

/// The bytes from the IP header on, and the version that the link layer promises.
pub(super) fn network_packet(link: LinkType, bytes: &[u8]) -> Result<(Version, &[u8]), DropReason> {
    match link {
        LinkType::Ethernet => {
            let header = Ethernet2HeaderSlice::from_slice(bytes).map_err(|_| DropReason::Truncated)?;
            behind_tags(header.ether_type().0, &bytes[header.slice().len()..])
        }
        LinkType::Cooked => cooked(bytes, COOKED_PROTOCOL, COOKED_LENGTH),
        LinkType::CookedV2 => cooked(bytes, COOKED_V2_PROTOCOL, COOKED_V2_LENGTH),
        LinkType::Ip => match bytes.first().ok_or(DropReason::Truncated)? >> 4 {
            4 => Ok((Version::V4, bytes)),
            6 => Ok((Version::V6, bytes)),
            _ => Err(DropReason::NotIp),
        },
        LinkType::Ipv4 => Ok((Version::V4, bytes)),
        LinkType::Ipv6 => Ok((Version::V6, bytes)),
        LinkType::Null | LinkType::Loop => loopback(bytes),
        LinkType::Other(_) => Err(DropReason::LinkType),
    }
}

/// The packet behind a Linux cooked header, and behind VLAN tags that may follow it.
///
/// Of two tags Linux (seen on 6.18) leaves the inner one in place but puts in the header the protocol that is behind it.
/// So where an IP header should be but is not, a tag is looked for.
fn cooked(bytes: &[u8], protocol: usize, length: usize) -> Result<(Version, &[u8]), DropReason> {
    let (header, rest) = bytes.split_at_checked(length).ok_or(DropReason::Truncated)?;
    let (version, packet) = behind_tags(u16::from_be_bytes([header[protocol], header[protocol + 1]]), rest)?;
    let (nibble, ether_type) = match version {
        Version::V4 => (4, ETHER_IPV4),
        Version::V6 => (6, ETHER_IPV6),
    };
    match packet {
        [first, _, high, low, behind @ ..]
            if first >> 4 != nibble && u16::from_be_bytes([*high, *low]) == ether_type =>
        {
            Ok((version, behind))
        }
        _ => Ok((version, packet)),
    }
}

fn behind_tags(mut ether_type: u16, mut bytes: &[u8]) -> Result<(Version, &[u8]), DropReason> {
    for _ in 0..=MAX_VLAN_TAGS {
        match ether_type {
            ETHER_IPV4 => return Ok((Version::V4, bytes)),
            ETHER_IPV6 => return Ok((Version::V6, bytes)),
            tag if ETHER_VLAN.contains(&tag) => {
                let header = SingleVlanHeaderSlice::from_slice(bytes).map_err(|_| DropReason::Truncated)?;
                ether_type = header.ether_type().0;
                bytes = &bytes[header.slice().len()..];
            }
            _ => return Err(DropReason::NotIp),
        }
    }
    Err(DropReason::Malformed)
}

/// Behind the address family of a BSD loopback header, which is in the byte order of the machine that captured it (NULL)
/// or of the network (LOOP). Families are small numbers, so the order shows.
fn loopback(bytes: &[u8]) -> Result<(Version, &[u8]), DropReason> {
    let (family, rest) = bytes.split_first_chunk::<4>().ok_or(DropReason::Truncated)?;
    let family = u32::from_le_bytes(*family).min(u32::from_be_bytes(*family));
    if family == FAMILY_IPV4 {
        Ok((Version::V4, rest))
    } else if FAMILY_IPV6.contains(&family) {
        Ok((Version::V6, rest))
    } else {
        Err(DropReason::NotIp)
    }
}
