//! Xt: what matches of iptables ask, as iptables-nft hands them to nf_tables: the structures of their headers in linux/netfilter.

use super::bits::Is;
use super::first_packet::Headers;
use super::rates;

/// IPPROTO_TCP.
const TCP: u8 = 6;
/// XT_STATE_BIT and XT_CONNTRACK_STATE_BIT of IP_CT_NEW.
const NEW: u16 = 1 << 3;

/// Whether a match fits the packet; none if that depends on what is not known here.
pub(super) fn matches(name: &str, info: &[u8], headers: &Headers) -> Option<Is> {
    match name {
        "comment" => Some(Is::Yes),
        "tcp" => ports(info, headers, TCP).map(|is| is.and(flags(info))),
        "udp" => ports(info, headers, 17),
        "multiport" => multiport(info, headers),
        "conntrack" => conntrack(info, headers),
        "state" => Some((u32::from_ne_bytes(*info.first_chunk()?) & u32::from(NEW) != 0).into()),
        "addrtype" => address_type(info, headers),
        _ => rates::xt_within(name, info),
    }
}

/// The source and destination ports of `struct xt_tcp` and `struct xt_udp`, and what inverts them.
fn ports(info: &[u8], headers: &Headers, protocol: u8) -> Option<Is> {
    if headers.protocol != protocol {
        return Some(Is::No);
    }
    let inverted = *info.get(if protocol == TCP { 11 } else { 8 })?;
    let is_any = (half(info, 0)?, half(info, 2)?) == (0, u16::MAX);
    let source = if is_any && inverted & 1 == 0 { Is::Yes } else { Is::Maybe };
    let is_in = (half(info, 4)?..=half(info, 6)?).contains(&headers.port);
    Some(source.and((is_in != (inverted & 2 != 0)).into()))
}

/// The flags and the option of `struct xt_tcp`.
fn flags(info: &[u8]) -> Is {
    const SYN: u8 = 2;
    let &[option, mask, compare, inverted] = info.get(8..12).unwrap_or_default() else { return Is::Maybe };
    let of_flags = Is::from((SYN & mask == compare) != (inverted & 4 != 0));
    if option == 0 { of_flags } else { of_flags.and(Is::Maybe) }
}

/// `struct xt_multiport_v1`: ports, and which of them begin a range.
fn multiport(info: &[u8], headers: &Headers) -> Option<Is> {
    const MOST: usize = 15;
    const DESTINATION: u8 = 1;
    if *info.first()? != DESTINATION {
        return None;
    }
    let count = usize::from(*info.get(1)?).min(MOST);
    let (mut n, mut is_in) = (0, false);
    while n < count {
        let first = half(info, 2 + 2 * n)?;
        let is_range = *info.get(2 + 2 * MOST + n)? != 0;
        n += usize::from(is_range);
        is_in |= (first..=half(info, 2 + 2 * n)?).contains(&headers.port);
        n += 1;
    }
    let is_inverted = *info.get(2 + 3 * MOST)? != 0;
    Some((is_in != is_inverted).into())
}

/// The states of `struct xt_conntrack_mtinfo3`, if it asks for nothing else but the status, which is not known.
fn conntrack(info: &[u8], headers: &Headers) -> Option<Is> {
    const STATE: u16 = 1;
    const STATUS: u16 = 1 << 6;
    /// It was written as `-m state`.
    const ALIAS: u16 = 1 << 13;
    /// XT_CONNTRACK_STATE_DNAT.
    const REDIRECTED: u16 = 1 << 7;
    let (asked, inverted) = (half(info, 146)?, half(info, 148)?);
    if asked & !(STATE | STATUS | ALIAS) != 0 {
        return None;
    }
    let states = if headers.is_redirected { NEW | REDIRECTED } else { NEW };
    let is_in = half(info, 150)? & states != 0;
    let of_state = asked & STATE == 0 || is_in != (inverted & STATE != 0);
    Some(Is::from(of_state).and(if asked & STATUS == 0 { Is::Yes } else { Is::Maybe }))
}

/// `struct xt_addrtype_info_v1`, if it asks for the destination alone.
fn address_type(info: &[u8], headers: &Headers) -> Option<Is> {
    const INVERT_DESTINATION: u32 = 2;
    const OF_INTERFACES: u32 = 4 | 8;
    let (source, destination) = (half(info, 0)?, half(info, 2)?);
    let flags = u32::from_ne_bytes(*info.get(4..)?.first_chunk()?);
    if source != 0 || flags & OF_INTERFACES != 0 {
        return None;
    }
    let is_in = destination & (1_u16.checked_shl(headers.destination)?) != 0;
    Some((is_in != (flags & INVERT_DESTINATION != 0)).into())
}

/// A number in the order of this machine.
fn half(info: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*info.get(at..)?.first_chunk()?))
}
