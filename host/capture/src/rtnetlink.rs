//! Rtnetlink: lists the kernel's addresses and links, and notifies when they change.
//!
//! Only the few messages that matter here (linux/netlink.h, linux/rtnetlink.h); numbers are in this machine's byte order. After a
//! notification the caller reads the whole list anew, so a lost message does no harm.

use std::io;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

/// Messages of links and of addresses.
pub(crate) const NEW_LINK: u16 = 16;
pub(crate) const NEW_ADDRESS: u16 = 20;
const DELETED_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;

/// Groups for changes of links, and of IPv4 and IPv6 addresses (RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// How long to wait for an answer. The kernel answers at once; the limit only keeps a failure from blocking for ever.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Attempts to read a list that changes while it is read.
const ATTEMPTS: usize = 8;
/// Longer than any part of a list that the kernel sends.
const BUFFER: usize = 64 << 10;

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// NLM_F_REQUEST, NLM_F_ROOT and NLM_F_MATCH: all there are.
const DUMP: u16 = 0x301;
/// NLM_F_DUMP_INTR.
const INTERRUPTED: u16 = 0x10;
/// Flags in the kind of an attribute (NLA_F_NESTED and NLA_F_NET_BYTEORDER), which say nothing about which one it is.
const ATTRIBUTE_FLAGS: u16 = 0xc000;

/// What to list (a dump, in netlink's word).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DumpKind {
    Addresses,
    Links,
}

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

/// What `read` makes of each message of a list, in the kernel's order. The list is whole and of one moment.
pub(crate) fn read_all<T>(
    list: DumpKind,
    read: impl Fn(&RtnetlinkMessage<'_>) -> Option<T>,
) -> io::Result<Vec<T>> {
    for _ in 0..ATTEMPTS {
        if let Some(all) = read_once(list, &read)? {
            return Ok(all);
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "they change faster than they can be read"))
}

/// The list, or none if it changed while it was read.
fn read_once<T>(
    list: DumpKind,
    read: impl Fn(&RtnetlinkMessage<'_>) -> Option<T>,
) -> io::Result<Option<Vec<T>>> {
    let socket = open(SocketFlags::empty())?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WAIT))?;
    sendto(&socket, &request(list), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut all = Vec::new();
    let mut buffer = vec![0_u8; BUFFER];
    let mut is_consistent = true;
    loop {
        let (_, length) = recv(&socket, &mut buffer[..], RecvFlags::TRUNC)?;
        let part = buffer.get(..length).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        for message in split(part) {
            is_consistent &= !message.is_interrupted;
            match message.kind {
                DONE => return Ok(is_consistent.then_some(all)),
                ERROR => {
                    let code = message.body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                }
                _ => all.extend(read(&message)),
            }
        }
    }
}

fn open(flags: SocketFlags) -> io::Result<OwnedFd> {
    // Routing is netlink's protocol 0, the default.
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC | flags, None)?)
}

fn request(list: DumpKind) -> Vec<u8> {
    /// struct ifaddrmsg, for all families.
    const ADDRESSES: [u8; 8] = [0; 8];
    /// struct ifinfomsg.
    const LINKS: [u8; 16] = [0; 16];
    /// IFLA_EXT_MASK, with RTEXT_FILTER_SKIP_STATS: counters are most of what is said of a link.
    const EXTENSION_MASK: u16 = 29;
    const WITHOUT_COUNTERS: u32 = 1 << 3;
    const MASK_LENGTH: u16 = 8;
    let (kind, body) = match list {
        DumpKind::Addresses => (GET_ADDRESS, ADDRESSES.to_vec()),
        DumpKind::Links => {
            let mask = [&MASK_LENGTH.to_ne_bytes()[..], &EXTENSION_MASK.to_ne_bytes()].concat();
            (GET_LINK, [&LINKS[..], &mask, &WITHOUT_COUNTERS.to_ne_bytes()].concat())
        }
    };
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    // Sequence and port number may be zero: a socket asks once.
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &DUMP.to_ne_bytes(), &[0; 8], &body].concat()
}

/// The messages in what was received; ends at the first that contradicts itself.
fn split(mut bytes: &[u8]) -> impl Iterator<Item = RtnetlinkMessage<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let message = bytes.get(..length)?;
        let kind = half(message, 4)?;
        let is_interrupted = half(message, 6)? & INTERRUPTED != 0;
        let body = message.get(HEADER..)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(RtnetlinkMessage { kind, is_interrupted, body })
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
        read(&RtnetlinkMessage { kind, is_interrupted: false, body }).into_iter().collect()
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
