//! Handles: how libpcap opens packet sockets for us.

use std::io;

use pcap::{Active, Capture, TimestampType};
use postern_core::{ANY_INTERFACE, Direction};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{CaptureError, packet_options};
use crate::frame::SNAP_LENGTH;

/// A capture on an interface, or on `any`, with a ring of so many bytes. They are all the process's from now on.
pub(super) fn open(interface: &str, promiscuous: bool, ring: i32) -> Result<Capture<Active>, pcap::Error> {
    let capture = Capture::from_device(interface)?
        // Frames are delivered as soon as the kernel has them, not when a block of the ring is full.
        .immediate_mode(true)
        .promisc(promiscuous && interface != ANY_INTERFACE)
        .snaplen(SNAP_LENGTH.into())
        .buffer_size(ring)
        .tstamp_type(TimestampType::Host)
        .open()?
        .setnonblock()?;
    // libpcap does not set close-on-exec on its socket, and a door's command must not inherit it.
    let flags = fcntl_getfd(&capture).map_err(io::Error::from)?;
    fcntl_setfd(&capture, flags | FdFlags::CLOEXEC).map_err(io::Error::from)?;
    Ok(capture)
}

/// Our filter rejects packets of the other direction, but some may be in the ring before it is attached; libpcap drops those.
/// Other unwanted packets from that moment do no harm, since dispatch checks again.
pub(super) fn set_direction(capture: &Capture<Active>, direction: Direction) -> Result<(), pcap::Error> {
    packet_options::ignore_outgoing(capture, direction == Direction::Incoming);
    capture.direction(match direction {
        Direction::Incoming => pcap::Direction::In,
        Direction::Outgoing => pcap::Direction::Out,
    })
}

/// Why one could not be opened. libpcap gives its errors only as text, so the two common causes are found by probing.
pub(super) fn why(interface: &str, source: pcap::Error) -> CaptureError {
    let interface = interface.to_owned();
    let probe = |family, kind| socket_with(family, kind, SocketFlags::CLOEXEC, None);
    if matches!(probe(AddressFamily::PACKET, SocketType::RAW), Err(Errno::PERM | Errno::ACCESS)) {
        return CaptureError::NotPermitted { interface };
    }
    let exists = probe(AddressFamily::UNIX, SocketType::DGRAM)
        .is_ok_and(|socket: OwnedFd| name_to_index(&socket, &interface).is_ok());
    if interface != ANY_INTERFACE && !exists {
        return CaptureError::NoInterface { interface };
    }
    CaptureError::Pcap { interface, source }
}
