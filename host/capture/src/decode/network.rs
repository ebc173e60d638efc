//! Network layer: IPv4 with options, IPv6 with extension headers, and of fragmented packets only the first fragment.

use std::net::IpAddr;

use etherparse::err::{ip_auth, ipv4, ipv6};
use etherparse::{
    IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
};
use postern_core::{DropReason, Transport};

use super::Remainder;

/// Extension headers that are walked; RFC 8200 knows six, and one of them may come twice.
const MAX_EXTENSIONS: usize = 8;

/// Next-header values of IPv6 extension headers.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// The version that the link layer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

/// What the IP headers say.
pub(super) struct Packet<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) hop_limit: u8,
    /// Bytes of the whole packet, as the header says.
    pub(super) length: u32,
    pub(super) transport: Transport,
    /// Whether this is a first fragment, so that lengths further in may exceed what is here.
    pub(super) fragmented: bool,
    pub(super) rest: Remainder<'a>,
}

/// Reads the IP headers; a version in them other than the link layer's is malformed.
pub(super) fn read(version: Version, bytes: &[u8]) -> Result<Packet<'_>, DropReason> {
    match version {
        Version::V4 => read_v4(bytes),
        Version::V6 => read_v6(bytes),
    }
}

fn read_v4(bytes: &[u8]) -> Result<Packet<'_>, DropReason> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|error| match error {
        ipv4::HeaderSliceError::Len(_) => DropReason::Truncated,
        ipv4::HeaderSliceError::Content(_) => DropReason::Malformed,
    })?;
    let rest = Remainder::new(bytes, header.total_len().into()).behind(header.slice().len())?;
    if header.fragments_offset().value() != 0 {
        return Err(DropReason::LaterFragment);
    }
    Ok(Packet {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hop_limit: header.ttl(),
        length: header.total_len().into(),
        transport: carried(header.protocol().0, [Transport::Tcp, Transport::Udp, Transport::Icmp])?,
        fragmented: header.more_fragments(),
        rest,
    })
}

fn read_v6(bytes: &[u8]) -> Result<Packet<'_>, DropReason> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|error| match error {
        ipv6::HeaderSliceError::Len(_) => DropReason::Truncated,
        ipv6::HeaderSliceError::Content(_) => DropReason::Malformed,
    })?;
    let length = header.slice().len() + usize::from(header.payload_length());
    let rest = Remainder::new(bytes, length).behind(header.slice().len())?;
    let chain = behind_extensions(header.next_header().0, rest)?;
    Ok(Packet {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hop_limit: header.hop_limit(),
        length: 40 + u32::from(header.payload_length()),
        transport: carried(chain.next, [Transport::Tcp, Transport::Udp, Transport::Icmpv6])?,
        fragmented: chain.fragmented,
        rest: chain.rest,
    })
}

/// What comes behind the extension headers.
struct ExtensionChain<'a> {
    next: u8,
    fragmented: bool,
    rest: Remainder<'a>,
}

fn behind_extensions(mut next: u8, mut rest: Remainder<'_>) -> Result<ExtensionChain<'_>, DropReason> {
    let mut fragmented = false;
    for _ in 0..=MAX_EXTENSIONS {
        let length = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6 => {
                let header = Ipv6RawExtHeaderSlice::from_slice(rest.bytes)
                    .map_err(|error| rest.lacks(error.required_len))?;
                next = header.next_header().0;
                header.slice().len()
            }
            AUTHENTICATION => {
                let header = IpAuthHeaderSlice::from_slice(rest.bytes).map_err(|error| match error {
                    ip_auth::HeaderSliceError::Len(error) => rest.lacks(error.required_len),
                    ip_auth::HeaderSliceError::Content(_) => DropReason::Malformed,
                })?;
                next = header.next_header().0;
                header.slice().len()
            }
            FRAGMENT => {
                let header = Ipv6FragmentHeaderSlice::from_slice(rest.bytes)
                    .map_err(|error| rest.lacks(error.required_len))?;
                if header.fragment_offset().value() != 0 {
                    return Err(DropReason::LaterFragment);
                }
                fragmented |= header.more_fragments();
                next = header.next_header().0;
                header.slice().len()
            }
            _ => return Ok(ExtensionChain { next, fragmented, rest }),
        };
        rest = rest.behind(length)?;
    }
    Err(DropReason::Malformed)
}

/// ICMP belongs to IPv4 and ICMPv6 to IPv6; the wrong one is as foreign as any other protocol.
fn carried(protocol: u8, known: [Transport; 3]) -> Result<Transport, DropReason> {
    known
        .into_iter()
        .find(|transport| transport.protocol_number() == protocol)
        .ok_or(DropReason::OtherTransport)
}
