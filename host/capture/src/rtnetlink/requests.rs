//! RtnetlinkRequests: asks the kernel for its links and addresses.
//!
//! All requests of one asker go over one socket that stays open: a process that was confined may open no other.

use std::io;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, recv, sendto};

use super::{HEADER, RtnetlinkMessage, open, split};

const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;

/// How long to wait for an answer. The kernel answers at once; the limit only keeps a failure from blocking for ever.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Attempts to read a list that changes while it is read.
const ATTEMPTS: usize = 8;
/// Longer than any part of a list that the kernel sends.
const BUFFER: usize = 64 << 10;
/// More parts than are left of any list that was given up.
const MOST_PARTS: usize = 1 << 16;

const ATTRIBUTE_HEADER: usize = 4;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// NLM_F_REQUEST.
const REQUEST: u16 = 0x1;
/// NLM_F_REQUEST, NLM_F_ROOT and NLM_F_MATCH: all there are.
const DUMP: u16 = 0x301;

/// What to list (a dump, in netlink's word).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DumpKind {
    Addresses,
    Links,
}

/// Requests on one socket that stays open, each answered before the next.
#[derive(Debug)]
pub(crate) struct RtnetlinkRequests {
    socket: OwnedFd,
    /// Of the last request; answers name the request that they are for.
    sequence: u32,
}

impl RtnetlinkRequests {
    /// # Errors
    /// If the system has no such socket for this process.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = open(SocketFlags::empty())?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_WAIT))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// What `read` makes of each message of a list, in the kernel's order. The list is whole and of one moment.
    ///
    /// # Errors
    /// If the kernel does not list them, or they change faster than they can be read.
    pub(crate) fn read_all<T>(
        &mut self,
        list: DumpKind,
        read: impl Fn(&RtnetlinkMessage<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..ATTEMPTS {
            let (all, is_consistent) = self.ask(list.request(), DUMP, &list.body(), &read)?;
            if is_consistent {
                return Ok(all);
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "they change faster than they can be read"))
    }

    /// What `read` makes of the link of this name; none if there is no such link.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub(crate) fn find_link<T>(
        &mut self,
        name: &str,
        read: impl Fn(&RtnetlinkMessage<'_>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        /// IFLA_IFNAME.
        const NAME: u16 = 3;
        /// IFNAMSIZ, with the NUL that ends it.
        const NAME_SIZE: usize = 16;
        if name.is_empty() || name.len() >= NAME_SIZE || name.contains('\0') {
            return Ok(None);
        }
        let mut body = DumpKind::Links.body();
        let mut padded = [0_u8; NAME_SIZE];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        // The attribute ends with the first NUL; what pads it does not count.
        let length = u16::try_from(ATTRIBUTE_HEADER + name.len() + 1).unwrap_or(u16::MAX);
        body.extend([length.to_ne_bytes(), NAME.to_ne_bytes()].concat());
        body.extend(&padded[..(name.len() + 1).next_multiple_of(4)]);
        match self.ask(GET_LINK, REQUEST, &body, read) {
            Ok((found, _)) => Ok(found.into_iter().next()),
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What `read` makes of each message of the answer, and whether it is of one moment.
    fn ask<T>(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        read: impl Fn(&RtnetlinkMessage<'_>) -> Option<T>,
    ) -> io::Result<(Vec<T>, bool)> {
        self.forget();
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(kind, flags, self.sequence, body);
        sendto(&self.socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut all = Vec::new();
        let mut buffer = vec![0_u8; BUFFER];
        let mut is_consistent = true;
        loop {
            let (_, length) = match recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                received => received?,
            };
            let part = buffer.get(..length).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            for message in split(part).filter(|message| message.sequence == self.sequence) {
                is_consistent &= !message.is_interrupted;
                match message.kind {
                    DONE => return Ok((all, is_consistent)),
                    ERROR => {
                        let code = message.body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                    }
                    _ => all.extend(read(&message)),
                }
                // Only a list has an end of its own.
                if flags & DUMP != DUMP {
                    return Ok((all, is_consistent));
                }
            }
        }
    }

    /// Drops what is left of an answer that was given up. The kernel starts no list before it is through with the last.
    fn forget(&self) {
        for _ in 0..MOST_PARTS {
            let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
            if let Err(Errno::AGAIN) = recv(&self.socket, &mut [0_u8; HEADER][..], flags) {
                return;
            }
        }
    }
}

impl DumpKind {
    const fn request(self) -> u16 {
        match self {
            Self::Addresses => GET_ADDRESS,
            Self::Links => GET_LINK,
        }
    }

    fn body(self) -> Vec<u8> {
        /// struct ifaddrmsg, for all families.
        const ADDRESSES: [u8; 8] = [0; 8];
        /// struct ifinfomsg.
        const LINKS: [u8; 16] = [0; 16];
        /// IFLA_EXT_MASK, with RTEXT_FILTER_SKIP_STATS: counters are most of what is said of a link.
        const EXTENSION_MASK: u16 = 29;
        const WITHOUT_COUNTERS: u32 = 1 << 3;
        const MASK_LENGTH: u16 = 8;
        match self {
            Self::Addresses => ADDRESSES.to_vec(),
            Self::Links => {
                let mask = [&MASK_LENGTH.to_ne_bytes()[..], &EXTENSION_MASK.to_ne_bytes()].concat();
                [&LINKS[..], &mask, &WITHOUT_COUNTERS.to_ne_bytes()].concat()
            }
        }
    }
}

fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes()].concat();
    // The port number may be zero: the kernel knows the socket.
    [&head[..], &sequence.to_ne_bytes(), &[0; 4], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::LOOPBACK;
    use crate::rtnetlink::word;

    #[test]
    fn one_socket_answers_again_after_an_answer_that_was_given_up() {
        let mut requests = RtnetlinkRequests::open().unwrap();
        let name = |message: &RtnetlinkMessage<'_>| word(message.body, 4);
        let first = requests.read_all(DumpKind::Links, name).unwrap();
        assert_eq!(first[0], LOOPBACK);
        // Asked for, and never read.
        let list = request(GET_LINK, DUMP, 99, &DumpKind::Links.body());
        sendto(&requests.socket, &list, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
        assert_eq!(requests.read_all(DumpKind::Links, name).unwrap(), first);
        assert_eq!(requests.find_link("lo", name).unwrap(), Some(LOOPBACK));
        for missing in ["", "no-such-link", "a-name-that-no-link-can-have", "lo\0"] {
            assert_eq!(requests.find_link(missing, name).unwrap(), None, "{missing:?}");
        }
        assert_eq!(requests.read_all(DumpKind::Links, name).unwrap(), first);
    }
}
