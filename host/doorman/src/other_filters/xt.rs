//! Xt: what matches of iptables ask, as iptables-nft hands them to nf_tables: the structures of their headers in linux/netfilter.

use super::bits::Is;
use super::first_packet::{CLIENTS, Headers};
use super::rates;

/// IPPROTO_TCP.
const TCP: u8 = 6;

/// Whether a match fits the packet; none if that depends on what is not known here.
pub(super) fn matches(name: &str, info: &[u8], headers: &Headers) -> Option<Is> {
    match name {
        "comment" => Some(Is::Yes),
        "tcp" => ports(info, headers, TCP).map(|is| is.and(flags(info, headers))),
        "udp" => ports(info, headers, 17),
        "multiport" => multiport(info, headers),
        "conntrack" => conntrack(info, headers),
        "state" => Some((u32::from_ne_bytes(*info.first_chunk()?) & u32::from(headers.state()) != 0).into()),
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
    let source = within(headers.source_port, half(info, 0)?, half(info, 2)?, inverted & 1 != 0);
    let destination = within(headers.port, half(info, 4)?, half(info, 6)?, inverted & 2 != 0);
    Some(source.and(destination))
}

/// Whether a port is in a range, or not.
fn within(port: Option<u16>, first: u16, last: u16, is_inverted: bool) -> Is {
    let is_in = match port {
        Some(port) => (first..=last).contains(&port).into(),
        None if last < CLIENTS => Is::No,
        None if first <= CLIENTS && last == u16::MAX => Is::Yes,
        None => Is::Maybe,
    };
    if is_inverted { is_in.not() } else { is_in }
}

/// The flags and the option of `struct xt_tcp`.
fn flags(info: &[u8], headers: &Headers) -> Is {
    let &[option, mask, compare, inverted] = info.get(8..12).unwrap_or_default() else { return Is::Maybe };
    let of_flags = Is::from((headers.flags & mask == compare) != (inverted & 4 != 0));
    if option == 0 { of_flags } else { of_flags.and(Is::Maybe) }
}

/// `struct xt_multiport_v1`: ports, and which of them begin a range.
fn multiport(info: &[u8], headers: &Headers) -> Option<Is> {
    const MOST: usize = 15;
    let port = match *info.first()? {
        0 => headers.source_port?,
        1 => headers.port?,
        _ => return None,
    };
    let count = usize::from(*info.get(1)?).min(MOST);
    let (mut n, mut is_in) = (0, false);
    while n < count {
        let first = half(info, 2 + 2 * n)?;
        let is_range = *info.get(2 + 2 * MOST + n)? != 0;
        n += usize::from(is_range);
        is_in |= (first..=half(info, 2 + 2 * n)?).contains(&port);
        n += 1;
    }
    let is_inverted = *info.get(2 + 3 * MOST)? != 0;
    Some((is_in != is_inverted).into())
}

/// The states of `struct xt_conntrack_mtinfo3` and the port that was dialled, if it asks for nothing else but the status, which is not
/// known.
fn conntrack(info: &[u8], headers: &Headers) -> Option<Is> {
    const STATE: u16 = 1;
    const STATUS: u16 = 1 << 6;
    const DIALLED: u16 = 1 << 9;
    const DIRECTION: u16 = 1 << 12;
    /// It was written as `-m state`.
    const ALIAS: u16 = 1 << 13;
    /// XT_CONNTRACK_STATE_DNAT.
    const REDIRECTED: u16 = 1 << 7;
    let (asked, inverted) = (half(info, 146)?, half(info, 148)?);
    if asked & !(STATE | STATUS | DIALLED | DIRECTION | ALIAS) != 0 {
        return None;
    }
    let of = |what: u16, is_in: bool| Is::from(asked & what == 0 || is_in != (inverted & what != 0));
    let states = headers.state() | if headers.is_redirected { REDIRECTED } else { 0 };
    let of_state = of(STATE, half(info, 150)? & states != 0);
    let (first, last) = (half(info, 140)?, half(info, 156).unwrap_or_default());
    let of_dialled = of(DIALLED, (first..=last.max(first)).contains(&headers.dialled));
    // Not inverted it asks for the first packet's direction.
    let of_direction = of(DIRECTION, !headers.is_answer);
    let of_status = if asked & STATUS == 0 { Is::Yes } else { Is::Maybe };
    Some(of_state.and(of_dialled).and(of_direction).and(of_status))
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
    let is_in = destination & (1_u16.checked_shl(headers.destination?)?) != 0;
    Some((is_in != (flags & INVERT_DESTINATION != 0)).into())
}

/// A number in the order of this machine.
fn half(info: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*info.get(at..)?.first_chunk()?))
}
