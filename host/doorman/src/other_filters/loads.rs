//! Loads: what expressions load of a packet into registers; none of what is not known of it.

use super::bits::{Byte, known};
use super::first_packet::Headers;
use super::registers::Registers;
use crate::attributes::{find, find_u32};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_CT_KEY: u16 = 2;
const NFTA_CT_DIRECTION: u16 = 3;
const NFTA_FIB_RESULT: u16 = 2;
const NFTA_FIB_FLAGS: u16 = 3;

/// What is known of a packet besides its bytes, by the key of a meta expression.
pub(super) fn meta(headers: &Headers, key: Option<u32>) -> Option<Vec<Byte>> {
    let Headers { is_ipv6, protocol, arrived_by, leaves_by, .. } = headers;
    // enum nft_meta_keys
    match key? {
        1 => Some(known(&(if *is_ipv6 { 0x86dd_u16 } else { 0x0800 }).to_be_bytes())),
        4 => arrived_by.map(|link| known(&link.index.to_ne_bytes())),
        5 => leaves_by.map(|link| known(&link.index.to_ne_bytes())),
        6 => arrived_by.map(|link| known(&link.name)),
        7 => leaves_by.map(|link| known(&link.name)),
        15 => Some(known(&[if *is_ipv6 { 10 } else { 2 }])),
        16 => Some(known(&[*protocol])),
        // PACKET_HOST: it was sent to this machine's hardware address.
        19 => (!headers.is_answer).then(|| known(&[0])),
        _ => None,
    }
}

/// What is known of its bytes.
pub(super) fn payload(headers: &Headers, data: &[u8]) -> Option<Vec<Byte>> {
    let number = |kind| find_u32(data, kind).and_then(|number| usize::try_from(number).ok());
    let (offset, length) = (number(NFTA_PAYLOAD_OFFSET)?, number(NFTA_PAYLOAD_LEN)?.min(Registers::BYTES));
    let header = match find_u32(data, NFTA_PAYLOAD_BASE)? {
        1 => &headers.network,
        2 => &headers.transport,
        _ => return Some(vec![Byte::UNKNOWN; length]),
    };
    let bytes = header.get(offset..offset.checked_add(length)?);
    Some(bytes.map_or_else(|| vec![Byte::UNKNOWN; length], <[Byte]>::to_vec))
}

/// What is known of its connection.
pub(super) fn connection(headers: &Headers, data: &[u8]) -> Option<Vec<Byte>> {
    let Headers { is_redirected, is_answer, dialled, protocol, .. } = headers;
    // IP_CT_DIR_ORIGINAL, if it says.
    let is_original = find(data, NFTA_CT_DIRECTION).is_none_or(|direction| direction == [0]);
    // enum nft_ct_keys
    match find_u32(data, NFTA_CT_KEY)? {
        0 => Some(known(&u32::from(headers.state()).to_ne_bytes())),
        1 => Some(known(&[(*is_answer).into()])),
        2 => Some(status(*is_redirected)),
        10 => Some(known(&[*protocol])),
        12 if is_original => Some(known(&dialled.to_be_bytes())),
        _ => None,
    }
}

/// What the routing tables would say of it: of the kind of its destination alone.
pub(super) fn route(headers: &Headers, data: &[u8]) -> Option<Vec<Byte>> {
    const ADDRESS_TYPE: u32 = 3;
    const OF_SOURCE: u32 = 1;
    const OF_DESTINATION: u32 = 2;
    let flags = find_u32(data, NFTA_FIB_FLAGS)?;
    let is_type = find_u32(data, NFTA_FIB_RESULT)? == ADDRESS_TYPE;
    let is_destination = flags & (OF_SOURCE | OF_DESTINATION) == OF_DESTINATION;
    headers.destination.filter(|_| is_type && is_destination).map(|kind| known(&kind.to_ne_bytes()))
}

/// The status of a connection: of it is known whether its addresses were changed.
fn status(is_redirected: bool) -> Vec<Byte> {
    /// IPS_SRC_NAT and IPS_DST_NAT.
    const FROM: u32 = 1 << 4;
    const TO: u32 = 1 << 5;
    let value = if is_redirected { TO } else { 0 }.to_ne_bytes();
    let known = (FROM | TO).to_ne_bytes();
    value.into_iter().zip(known).map(|(value, known)| Byte { value, known }).collect()
}
