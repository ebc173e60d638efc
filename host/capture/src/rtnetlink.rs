//! Rtnetlink: what the kernel says of addresses and links, and notifications of their changes; [`requests`] asks for them.
//!
//! Only the few messages that matter here (linux/netlink.h, linux/rtnetlink.h); numbers are in this machine's byte order. After a
//! notification the caller reads the whole list anew, so a lost message does no harm. Sockets stay open: a confined process may open no other.

mod requests;

use std::io;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

pub(crate) use requests::{DumpKind, RtnetlinkRequests};

/// Messages of links and of addresses.
pub(crate) const NEW_LINK: u16 = 16;
pub(crate) const NEW_ADDRESS: u16 = 20;
const DELETED_LINK: u16 = 17;

/// Groups for changes of links, and of IPv4 and IPv6 addresses (RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

const HEADER: usize = 16;
/// NLM_F_DUMP_INTR.
const INTERRUPTED: u16 = 0x10;
/// Flags in the kind of an attribute (NLA_F_NESTED and NLA_F_NET_BYTEORDER), which say nothing about which one it is.
const ATTRIBUTE_FLAGS: u16 = 0xc000;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) addresses: bool,
    pub(crate) links: bool,
}

impl Changed {
    pub(crate) const NOTHING: Self = Self { addresses: false, links: false };
    pub(crate) const EVERYTHING: Self = Self { addresses: true, links: true };

    /// What has changed by either of the two.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self { addresses: self.addresses || other.addresses, links: self.links || other.links }
    }
}

/// A message from the kernel.
pub(crate) struct RtnetlinkMessage<'a> {
    pub(crate) kind: u16,
    /// The request that it answers; 0 for none.
    sequence: u32,
    is_interrupted: bool,
    pub(crate) body: &'a [u8],
}

/// A socket that is readable when addresses or links have changed.
pub(crate) fn subscribe() -> io::Result<OwnedFd> {
    let socket = open(SocketFlags::NONBLOCK)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

/// Reads all pending notifications and says what they are about. If some were lost (ENOBUFS), everything may have changed.
pub(crate) fn drain(notifications: &OwnedFd) -> Changed {
    let mut changed = Changed::NOTHING;
    let mut begin = [0_u8; HEADER];
    loop {
        match recv(notifications, &mut begin[..], RecvFlags::TRUNC) {
            // Each notification is a datagram of its own, and its header is enough.
            Ok(_) => match half(&begin, 4) {
                Some(NEW_LINK | DELETED_LINK) => changed.links = true,
                _ => changed.addresses = true,
            },
            Err(Errno::NOBUFS) => changed = Changed::EVERYTHING,
            Err(Errno::INTR) => {}
            Err(_) => return changed,
        }
    }
}

fn open(flags: SocketFlags) -> io::Result<OwnedFd> {
    // Routing is netlink's protocol 0, the default.
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC | flags, None)?)
}

/// The messages in what was received; ends at the first that contradicts itself.
fn split(mut bytes: &[u8]) -> impl Iterator<Item = RtnetlinkMessage<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let message = bytes.get(..length)?;
        let kind = half(message, 4)?;
        let is_interrupted = half(message, 6)? & INTERRUPTED != 0;
        let sequence = word(message, 8)?;
        let body = message.get(HEADER..)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(RtnetlinkMessage { kind, sequence, is_interrupted, body })
    })
}

/// Kinds and values of attributes; ends at the first that contradicts itself.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(bytes, 0)?);
        let kind = half(bytes, 2)? & !ATTRIBUTE_FLAGS;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A number of 16 bits at an offset.
pub(crate) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|half| u16::from_ne_bytes(*half))
}

/// A number of 32 bits at an offset.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What `read` makes of one message.
    pub(crate) fn one<T>(
        kind: u16,
        body: &[u8],
        read: impl Fn(&RtnetlinkMessage<'_>) -> Option<T>,
    ) -> Vec<T> {
        read(&RtnetlinkMessage { kind, sequence: 0, is_interrupted: false, body }).into_iter().collect()
    }

    #[test]
    fn nonsense_from_the_kernel_is_not_read() {
        for bytes in [&[][..], &[0; 15], &[0; 64], &[0xff; 64], &[17, 0, 0, 0, 20, 0, 0, 0]] {
            assert_eq!(split(bytes).count(), 0, "{bytes:?}");
        }
        // No attribute, half of one, one of no length at all, and one shorter than its own header.
        for bytes in [&[][..], &[8, 0, 2, 0, 192, 0], &[0, 0, 2, 0, 192, 0, 2, 1], &[3, 0, 2, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn attributes_are_read_with_their_padding_and_without_their_flags() {
        let bytes = [5, 0, 2, 0x80, 9, 0, 0, 0, 4, 0, 3, 0x40];
        assert_eq!(attributes(&bytes).collect::<Vec<_>>(), [(2, &[9][..]), (3, &[])]);
    }
}
