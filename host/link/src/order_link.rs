//! OrderLink: a socket for whole messages of bounded size between the engine and a process that keeps doors. Nothing here waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use crate::answer::LARGEST_ANSWER;

/// Bytes that may be on their way in one direction: some two thousand orders. The kernel counts its own overhead, too.
const SEND_BUFFER: usize = 1 << 20;

/// One end of a link. Sends and receives whole messages, in order; the other end may be gone at any time.
#[derive(Debug)]
pub struct OrderLink {
    socket: OwnedFd,
}

/// What became of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Sent,
    /// It is not: the other end does not keep up.
    Full,
    /// It is not: the other end is gone.
    Ended,
}

/// What there was to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of so many bytes; more than [`LARGEST_ANSWER`] if it was cut off.
    Message(usize),
    /// Nothing so far.
    Nothing,
    /// The other end is gone, and everything that it sent was received.
    Ended,
}

impl OrderLink {
    /// Both ends of a new link; close-on-exec.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        for socket in [&one, &other] {
            // Only CAP_NET_ADMIN may go over the system's limit; a smaller buffer is full earlier.
            if set_socket_send_buffer_size_force(socket, SEND_BUFFER).is_err() {
                let _ = set_socket_send_buffer_size(socket, SEND_BUFFER);
            }
        }
        Ok((Self { socket: one }, Self { socket: other }))
    }

    /// Sends a message, without waiting.
    #[must_use]
    pub fn send(&self, message: &[u8]) -> Sent {
        loop {
            match send(&self.socket, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => return Sent::Sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => return Sent::Full,
                Err(_) => return Sent::Ended,
            }
        }
    }

    /// Receives the next message, without waiting.
    #[must_use]
    pub fn receive(&self, into: &mut [u8; LARGEST_ANSWER]) -> Received {
        loop {
            match recv(&self.socket, &mut into[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, 0)) => return Received::Ended,
                Ok((_, length)) => return Received::Message(length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(_) => return Received::Ended,
            }
        }
    }
}

impl AsFd for OrderLink {
    /// Readable when there is something to receive, or the other end is gone; writable when there is room.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<OwnedFd> for OrderLink {
    /// The end that another process made with [`OrderLink::pair`].
    fn from(socket: OwnedFd) -> Self {
        Self { socket }
    }
}

impl From<OrderLink> for OwnedFd {
    fn from(link: OrderLink) -> Self {
        link.socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::REQUEST_SIZE;

    #[test]
    fn messages_stay_whole_and_in_order_until_the_end() {
        let (one, other) = OrderLink::pair().unwrap();
        let mut inbox = [0; LARGEST_ANSWER];
        assert_eq!(other.receive(&mut inbox), Received::Nothing);
        assert_eq!((one.send(b"first"), one.send(b"second")), (Sent::Sent, Sent::Sent));
        drop(one);
        assert_eq!(other.receive(&mut inbox), Received::Message(5));
        assert_eq!(&inbox[..5], b"first");
        assert_eq!(other.receive(&mut inbox), Received::Message(6));
        assert_eq!(other.receive(&mut inbox), Received::Ended);
        assert_eq!(other.send(b"late"), Sent::Ended);
    }

    #[test]
    fn what_is_too_large_is_seen_to_be() {
        let (one, other) = OrderLink::pair().unwrap();
        assert_eq!(one.send(&[1; LARGEST_ANSWER + 1]), Sent::Sent);
        assert_eq!(other.receive(&mut [0; LARGEST_ANSWER]), Received::Message(LARGEST_ANSWER + 1));
    }

    #[test]
    fn a_full_link_says_so_and_has_room_for_a_few_hundred_orders() {
        let (one, other) = OrderLink::pair().unwrap();
        let mut sent = 0;
        while one.send(&[7; REQUEST_SIZE]) == Sent::Sent {
            sent += 1;
            assert!(sent < 1 << 20, "nothing bounds the link");
        }
        assert!(sent >= 200, "only {sent} orders");
        assert_eq!(one.send(&[7; REQUEST_SIZE]), Sent::Full);
        assert_eq!(other.receive(&mut [0; LARGEST_ANSWER]), Received::Message(REQUEST_SIZE));
    }
}
