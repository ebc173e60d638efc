//! Transport layer: ports, flags and what is behind the header.

use etherparse::err::tcp;
use etherparse::{TcpHeaderSlice, UdpHeaderSlice};
use postern_core::{DropReason, TcpFlags, TcpHeader, Transport};

use super::network::Packet;

/// The flag bits of a TCP header.
const TCP_FLAGS: usize = 13;
/// Type, code, checksum and the four bytes whose meaning depends on the type, in ICMP and ICMPv6 alike.
const ICMP_LENGTH: usize = 8;

/// What the transport header says. For ICMP and ICMPv6 the ports are code and type.
pub(super) struct Segment<'a> {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) tcp_flags: TcpFlags,
    pub(super) tcp_header: Option<Box<TcpHeader>>,
    pub(super) payload: &'a [u8],
}

/// Reads the transport header of `packet`; what a TCP header says beyond ports and flags only if it is wanted.
pub(super) fn read<'a>(packet: &Packet<'a>, wants_tcp_header: bool) -> Result<Segment<'a>, DropReason> {
    match packet.transport {
        Transport::Tcp => read_tcp(packet, wants_tcp_header),
        Transport::Udp => read_udp(packet),
        Transport::Icmp | Transport::Icmpv6 => read_icmp(packet),
    }
}

fn read_tcp<'a>(packet: &Packet<'a>, wants_header: bool) -> Result<Segment<'a>, DropReason> {
    let rest = packet.rest;
    let header = TcpHeaderSlice::from_slice(rest.bytes).map_err(|error| match error {
        tcp::HeaderSliceError::Len(error) => rest.lacks(error.required_len),
        tcp::HeaderSliceError::Content(_) => DropReason::Malformed,
    })?;
    Ok(Segment {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        tcp_flags: TcpFlags(header.slice()[TCP_FLAGS]),
        tcp_header: wants_header.then(|| Box::new(whole_header(&header))),
        payload: rest.behind(header.slice().len())?.bytes,
    })
}

fn whole_header(header: &TcpHeaderSlice<'_>) -> TcpHeader {
    TcpHeader {
        sequence: header.sequence_number(),
        acknowledgment: header.acknowledgment_number(),
        window: header.window_size(),
        urgent_pointer: header.urgent_pointer(),
        // The header's own length says how many there are: at most 40 bytes fit into its four bits.
        options: header.options().into(),
    }
}

fn read_udp<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, DropReason> {
    let rest = packet.rest;
    let header = UdpHeaderSlice::from_slice(rest.bytes).map_err(|error| rest.lacks(error.required_len))?;
    // The length of the datagram, its header included; of a fragmented one only the beginning is here.
    let length = usize::from(header.length());
    let Some(length) = length.checked_sub(header.slice().len()) else {
        return Err(DropReason::Malformed);
    };
    let behind = rest.behind(header.slice().len())?;
    if length > behind.whole && !packet.fragmented {
        return Err(DropReason::Malformed);
    }
    Ok(Segment {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        tcp_flags: TcpFlags::default(),
        tcp_header: None,
        payload: &behind.bytes[..behind.bytes.len().min(length)],
    })
}

fn read_icmp<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, DropReason> {
    let behind = packet.rest.behind(ICMP_LENGTH)?;
    Ok(Segment {
        source_port: packet.rest.bytes[1].into(),
        destination_port: packet.rest.bytes[0].into(),
        tcp_flags: TcpFlags::default(),
        tcp_header: None,
        payload: behind.bytes,
    })
}
