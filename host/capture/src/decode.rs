//! Decode: a captured frame becomes a [`Knock`], or a reason why not.
//!
//! This is the only place that reads headers, and every byte that it reads may be an attacker's. It allocates only
//! the payload and the TCP header that `detail` asks for, never panics and never logs. It does not verify checksums: with checksum offload
//! the frames of this machine carry wrong ones, and an attacker can send right ones anyway.

mod address;
pub(crate) mod arrival;
mod link;
mod network;
mod sighting;
mod transport;

#[cfg(test)]
mod tests;

use postern_core::{Detail, DropReason, Knock, MAX_PAYLOAD};

use crate::frame::Frame;
use crate::links::LOOPBACK;
pub use sighting::Sightings;

/// Reads the headers of `frame`, and what `detail` asks for: of the payload at most [`MAX_PAYLOAD`] bytes.
///
/// A frame that was cut behind its transport header still decodes, with a shorter payload. What link layers put behind the
/// IP packet, such as Ethernet padding, is never payload.
///
/// # Errors
///
/// [`DropReason::Truncated`] if the capture ends before the headers do; [`DropReason::Malformed`] if headers contradict each
/// other; [`DropReason::LinkType`], [`DropReason::NotIp`], [`DropReason::LaterFragment`] or [`DropReason::OtherTransport`]
/// for packets that can be no knock; [`DropReason::ImpossibleSource`] or [`DropReason::ImpossibleDestination`] if an address is one
/// that no packet has, on any machine. On the loopback interface loopback addresses are right.
pub fn decode(frame: &Frame<'_>, detail: Detail) -> Result<Knock, DropReason> {
    let (version, bytes) = link::network_packet(frame.link, frame.bytes)?;
    let packet = network::read(version, bytes)?;
    let interface_index = arrival::interface(frame);
    address::check(packet.source, packet.destination, || interface_index == LOOPBACK)?;
    let segment = transport::read(&packet, detail.tcp_header)?;
    let payload = &segment.payload[..segment.payload.len().min(detail.payload_limit).min(MAX_PAYLOAD)];
    Ok(Knock {
        time: frame.time,
        source: packet.source,
        source_port: segment.source_port,
        destination: packet.destination,
        destination_port: segment.destination_port,
        transport: packet.transport,
        tcp_flags: segment.tcp_flags,
        hop_limit: packet.hop_limit,
        packet_length: packet.length,
        tcp_header: segment.tcp_header,
        interface: frame.interface.clone(),
        interface_index,
        link: 0,
        direction: frame.direction,
        sighting: None,
        payload: payload.into(),
    })
}

/// The part of a packet behind a header: the bytes that were captured, and how many the whole packet has there.
#[derive(Clone, Copy)]
struct Remainder<'a> {
    bytes: &'a [u8],
    whole: usize,
}

impl<'a> Remainder<'a> {
    /// A packet of `whole` bytes; bytes behind it in the frame, such as padding, are cut off.
    fn new(bytes: &'a [u8], whole: usize) -> Self {
        Self { bytes: &bytes[..bytes.len().min(whole)], whole }
    }

    /// Why there are no `needed` bytes here: the packet is too short for its own headers, or the capture was cut.
    fn lacks(&self, needed: usize) -> DropReason {
        if needed > self.whole { DropReason::Malformed } else { DropReason::Truncated }
    }

    /// What follows the next `length` bytes.
    fn behind(&self, length: usize) -> Result<Self, DropReason> {
        let bytes = self.bytes.get(length..).ok_or_else(|| self.lacks(length))?;
        Ok(Self { bytes, whole: self.whole.saturating_sub(length) })
    }
}
