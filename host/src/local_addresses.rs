//! LocalAddresses: which addresses are this machine's, kept up to date as they come and go.
//!
//! The kernel tells over rtnetlink when addresses change, and then all of them are read anew (RTM_GETADDR), so that a lost
//! message costs nothing. A thread does that and sleeps otherwise. Broadcast addresses and the far ends of tunnels
//! are not this machine's; nor are addresses that only a `local` route makes so.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, write};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};
use thiserror::Error;
use tracing::{debug, warn};

/// Groups for changes of IPv4 and IPv6 addresses (RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR in linux/rtnetlink.h).
const GROUPS: u32 = 0x10 | 0x100;
/// The kernel answers at once; this is for a broken one.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// When to try again after addresses could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// How often a list that changed while it was read is read anew.
const ATTEMPTS: usize = 8;
/// Longer than any part of a list that the kernel sends.
const BUFFER: usize = 64 << 10;

/// The addresses of this machine. Ask it from any thread.
#[derive(Debug)]
pub struct LocalAddresses {
    known: Arc<ArcSwap<Vec<IpAddr>>>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Why the addresses cannot be known.
#[derive(Debug, Error)]
pub enum LocalAddressesError {
    /// No rtnetlink socket, or no subscription.
    #[error("cannot subscribe to address changes")]
    Subscribe(#[source] io::Error),
    /// The list could not be read.
    #[error("cannot read the addresses of this machine")]
    Read(#[source] io::Error),
    /// The system has not what a thread needs.
    #[error("cannot start the thread that follows address changes")]
    Thread(#[source] io::Error),
}

impl LocalAddresses {
    /// Reads the addresses, and follows their changes until this is dropped.
    ///
    /// # Errors
    ///
    /// If the kernel does not say them, or there is no thread to be had.
    pub fn follow() -> Result<Self, LocalAddressesError> {
        // Subscribed first, so that no change between reading and subscribing is missed.
        let news = subscribe().map_err(LocalAddressesError::Subscribe)?;
        let known = Arc::new(ArcSwap::from_pointee(read_all().map_err(LocalAddressesError::Read)?));
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| LocalAddressesError::Thread(errno.into()))?;
        let stop = Arc::new(stop);
        let thread = thread::Builder::new()
            .name("local-addresses".to_owned())
            .spawn({
                let (known, stop) = (known.clone(), stop.clone());
                move || keep(&known, &news, &stop)
            })
            .map_err(LocalAddressesError::Thread)?;
        Ok(Self { known, stop, thread: Some(thread) })
    }

    /// Whether `address` is one of this machine's. All of 127.0.0.0/8 is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(v4) if v4.is_loopback())
            || self.known.load().binary_search(&address).is_ok()
    }
}

impl Drop for LocalAddresses {
    fn drop(&mut self) {
        let _ = write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!(event = "addresses", "the thread that follows address changes had panicked");
        }
    }
}

/// The thread: sleep until something changes, read everything.
fn keep(known: &ArcSwap<Vec<IpAddr>>, news: &OwnedFd, stop: &OwnedFd) {
    let mut retry = None;
    loop {
        let mut descriptors = [PollFd::new(stop, PollFlags::IN), PollFd::new(news, PollFlags::IN)];
        match poll(&mut descriptors, retry.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => {
                warn!(event = "addresses", error = %errno, "address changes are no longer followed");
                return;
            }
        }
        if !descriptors[0].revents().is_empty() {
            return;
        }
        drain(news);
        retry = match read_all() {
            Ok(addresses) => {
                debug!(event = "addresses", count = addresses.len(), "read the addresses of this machine");
                known.store(Arc::new(addresses));
                None
            }
            Err(error) => {
                if retry.is_none() {
                    warn!(event = "addresses", %error, "cannot read the addresses of this machine; trying again");
                }
                Timespec::try_from(RETRY).ok()
            }
        };
    }
}

fn open(flags: SocketFlags) -> io::Result<OwnedFd> {
    // Routing is netlink's protocol 0, the default.
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC | flags, None)?)
}

fn subscribe() -> io::Result<OwnedFd> {
    let socket = open(SocketFlags::NONBLOCK)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

/// Reads the news away: that there is some was all that counts. That some was lost (ENOBUFS) is news as well.
fn drain(news: &OwnedFd) {
    loop {
        match recv(news, &mut [0_u8; 256][..], RecvFlags::TRUNC) {
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// All addresses, sorted.
fn read_all() -> io::Result<Vec<IpAddr>> {
    for _ in 0..ATTEMPTS {
        if let Some(mut addresses) = read_once()? {
            addresses.sort_unstable();
            addresses.dedup();
            return Ok(addresses);
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "they change faster than they can be read"))
}

/// All addresses, or none if they changed while they were read.
fn read_once() -> io::Result<Option<Vec<IpAddr>>> {
    let socket = open(SocketFlags::empty())?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WAIT))?;
    sendto(&socket, &message::request(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut addresses = Vec::new();
    let mut buffer = vec![0_u8; BUFFER];
    let mut is_consistent = true;
    loop {
        let (_, length) = recv(&socket, &mut buffer[..], RecvFlags::TRUNC)?;
        let part = buffer.get(..length).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        for message in message::split(part) {
            is_consistent &= !message.is_interrupted;
            match message.content()? {
                message::Content::Address(address) => addresses.push(address),
                message::Content::Other => {}
                message::Content::End => return Ok(is_consistent.then_some(addresses)),
            }
        }
    }
}

/// The few rtnetlink messages that matter here (linux/netlink.h, linux/if_addr.h); numbers are in the order of this machine.
mod message {
    use super::{IpAddr, Ipv4Addr, Ipv6Addr, io};

    const HEADER: usize = 16;
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    const NEW_ADDRESS: u16 = 20;
    const GET_ADDRESS: u16 = 22;
    /// NLM_F_REQUEST, NLM_F_ROOT and NLM_F_MATCH: all there are.
    const DUMP: u16 = 0x301;
    /// NLM_F_DUMP_INTR.
    const INTERRUPTED: u16 = 0x10;
    /// struct ifaddrmsg.
    const ADDRESS_HEADER: usize = 8;
    /// The address, or of a tunnel the far end.
    const ADDRESS: u16 = 1;
    /// The address of this end, if it is another one.
    const LOCAL: u16 = 2;

    pub(super) struct Message<'a> {
        kind: u16,
        pub(super) is_interrupted: bool,
        body: &'a [u8],
    }

    pub(super) enum Content {
        Address(IpAddr),
        Other,
        End,
    }

    /// Asks for the addresses of all families.
    pub(super) fn request() -> [u8; HEADER + ADDRESS_HEADER] {
        const LENGTH: u32 = 24;
        let mut bytes = [0; HEADER + ADDRESS_HEADER];
        bytes[..4].copy_from_slice(&LENGTH.to_ne_bytes());
        bytes[4..6].copy_from_slice(&GET_ADDRESS.to_ne_bytes());
        bytes[6..8].copy_from_slice(&DUMP.to_ne_bytes());
        bytes
    }

    /// The messages in what was received; ends at the first that contradicts itself.
    pub(super) fn split(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
        std::iter::from_fn(move || {
            let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
            let message = bytes.get(..length)?;
            let kind = half(message, 4)?;
            let is_interrupted = half(message, 6)? & INTERRUPTED != 0;
            let body = message.get(HEADER..)?;
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(Message { kind, is_interrupted, body })
        })
    }

    impl Message<'_> {
        pub(super) fn content(&self) -> io::Result<Content> {
            match self.kind {
                DONE => Ok(Content::End),
                ERROR => {
                    let code = self.body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    Err(io::Error::from_raw_os_error(code.saturating_neg()))
                }
                NEW_ADDRESS => Ok(self.address().map_or(Content::Other, Content::Address)),
                _ => Ok(Content::Other),
            }
        }

        fn address(&self) -> Option<IpAddr> {
            let mut attributes = self.body.get(ADDRESS_HEADER..)?;
            let (mut address, mut local) = (None, None);
            while let (Some(length), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
                let length = usize::from(length);
                let value = attributes.get(4..length)?;
                match kind {
                    ADDRESS => address = ip(value),
                    LOCAL => local = ip(value),
                    _ => {}
                }
                attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
            local.or(address)
        }
    }

    fn half(bytes: &[u8], at: usize) -> Option<u16> {
        bytes.get(at..)?.first_chunk().map(|half| u16::from_ne_bytes(*half))
    }

    fn ip(bytes: &[u8]) -> Option<IpAddr> {
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Some(Ipv4Addr::from(v4).into());
        }
        <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::capture::namespace::{Namespace, ip};

    fn until(local: &LocalAddresses, address: &str, expected: bool) {
        let address: IpAddr = address.parse().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while local.contains(address) != expected {
            assert!(Instant::now() < end, "{address} is not {expected}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn addresses_are_known_as_they_come_and_go() {
        let Some(namespace) = Namespace::new() else { return };
        namespace.inside(|| {
            ip("link add pe-a type veth peer name pe-b");
            ip("addr add 192.0.2.7/24 brd + dev pe-a");
            let local = LocalAddresses::follow().unwrap();
            let contains = |address: &str| local.contains(address.parse().unwrap());
            for address in ["127.0.0.1", "127.200.0.9", "::1", "192.0.2.7"] {
                assert!(contains(address), "{address}");
            }
            // A broadcast address, a neighbour, mapped, and nobody.
            for address in ["192.0.2.255", "192.0.2.8", "::ffff:192.0.2.7", "2001:db8::7", "0.0.0.0", "::"] {
                assert!(!contains(address), "{address}");
            }
            ip("addr add 2001:db8::7/64 dev pe-a nodad");
            until(&local, "2001:db8::7", true);
            ip("addr add 198.51.100.1 peer 198.51.100.2 dev pe-b");
            until(&local, "198.51.100.1", true);
            assert!(!contains("198.51.100.2"), "the far end");
            ip("addr del 192.0.2.7/24 dev pe-a");
            until(&local, "192.0.2.7", false);
            ip("link delete pe-a");
            until(&local, "198.51.100.1", false);
            until(&local, "2001:db8::7", false);
            assert!(contains("::1"));
        });
    }

    #[test]
    fn a_thousand_addresses_are_read_while_they_change() {
        let Some(namespace) = Namespace::new() else { return };
        namespace.inside(|| {
            let local = LocalAddresses::follow().unwrap();
            for index in 0..1000 {
                ip(&format!("addr add 10.1.{}.{}/32 dev lo", index / 250, index % 250));
            }
            until(&local, "10.1.3.249", true);
            assert!(local.known.load().len() >= 1002);
            ip("addr flush dev lo");
            until(&local, "10.1.0.0", false);
        });
    }

    #[test]
    fn nonsense_from_the_kernel_is_not_read() {
        for bytes in [&[][..], &[0; 15], &[0; 64], &[0xff; 64], &[17, 0, 0, 0, 20, 0, 0, 0]] {
            assert_eq!(
                message::split(bytes).filter_map(|message| message.content().ok()).count(),
                0,
                "{bytes:?}"
            );
        }
        // An address message without, with half and with a zero-length attribute.
        for attributes in [&[][..], &[8, 0, 2, 0, 192, 0], &[0, 0, 2, 0, 192, 0, 2, 1], &[3, 0, 2, 0]] {
            let length = u32::try_from(24 + attributes.len()).unwrap();
            let mut bytes = [&length.to_ne_bytes()[..], &[20, 0, 0, 0], &[0; 16]].concat();
            bytes.extend(attributes);
            let messages: Vec<_> = message::split(&bytes).collect();
            assert_eq!(messages.len(), 1);
            assert!(matches!(messages[0].content(), Ok(message::Content::Other)), "{attributes:?}");
        }
    }
}
