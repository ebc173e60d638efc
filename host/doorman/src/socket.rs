//! Socket: one netlink socket to nf_tables. It is kept open, since closing one waits for the kernel's clean-up.
//!
//! The kernel queues its answer before the send returns, so reading never blocks: no answer is an error.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_ALIGNTO, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_packet_netfilter::NetfilterHeader;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_NETFILTER;
use postern_core::Family;
use rustix::io::Errno;
use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force,
};
use rustix::net::{RecvFlags, SendFlags, getsockname, recvfrom, send};

use crate::batch::{Batch, encode, netfilter_family};

/// Bytes of the buffer for one datagram: more than the kernel ever puts in one.
const INBOX: usize = 1 << 16;

/// Room for what the kernel answers to a batch in which everything fails.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Room for the largest batch, with every bound of the configuration reached.
const SEND_BUFFER: usize = 1 << 24;

/// Attempts to read a list that changes while it is read.
const LISTINGS: u32 = 8;

/// Most datagrams that an adopted socket may have left to read: more than its receive buffer holds, and the rest of a long list.
const MOST_LEFT: u32 = 1 << 16;

/// How long the header of nf_tables is that stands before the attributes of a message (`struct nfgenmsg`).
const NFTABLES_HEADER: usize = 4;

/// A socket to nf_tables in the network namespace of the thread that opened it.
pub(crate) struct Socket {
    inner: OwnedFd,
    port: u32,
    sequence: u32,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

/// Why a batch changed nothing.
#[derive(Debug)]
pub(crate) enum BatchError {
    /// The kernel did not take the batch at all, or did not say what became of it.
    Whole(Errno),
    /// Messages that failed, by number.
    Messages(Vec<(u32, Errno)>),
}

impl BatchError {
    /// What is wrong, or the first of it.
    pub(crate) fn first(&self) -> Errno {
        match self {
            Self::Whole(errno) => *errno,
            Self::Messages(failed) => failed.first().map_or(Errno::IO, |(_, errno)| *errno),
        }
    }

    /// The error of these messages, if one is known.
    pub(crate) fn of(&self, messages: &RangeInclusive<u32>) -> Option<Errno> {
        match self {
            // Of the errors of a whole batch only this one holds for each of its messages.
            Self::Whole(errno) => (*errno == Errno::PERM).then_some(*errno),
            Self::Messages(failed) => {
                failed.iter().find(|(number, _)| messages.contains(number)).map(|(_, errno)| *errno)
            }
        }
    }

    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

impl Socket {
    pub(crate) fn open() -> io::Result<Self> {
        let mut inner = netlink_sys::Socket::new(NETLINK_NETFILTER)?;
        inner.bind_auto()?;
        inner.connect(&SocketAddr::new(0, 0))?;
        // Answers to a failed batch need not repeat its messages. Kernels before 4.2 do not know this, and work.
        let _ = inner.set_cap_ack(true);
        set_receive_buffer(&inner, RECEIVE_BUFFER)?;
        set_send_buffer(&inner, SEND_BUFFER)?;
        Self::new(inner.as_fd().try_clone_to_owned()?)
    }

    /// A socket that another process opened here and does not use any more. It may have died between a question and the end of the answer.
    pub(crate) fn adopt(inner: OwnedFd) -> io::Result<Self> {
        let mut socket = Self::new(inner)?;
        // The kernel asks nothing more of a list until what it has queued of it is read.
        for _ in 0..MOST_LEFT {
            match socket.receive() {
                Err(Errno::AGAIN) => return Ok(socket),
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::Error::other("the answers to another process do not end"))
    }

    fn new(inner: OwnedFd) -> io::Result<Self> {
        let port = SocketAddrNetlink::try_from(getsockname(&inner)?)?.pid();
        Ok(Self { inner, port, sequence: 1, inbox: vec![0; INBOX], outbox: Vec::new() })
    }

    /// The socket once more, for another process that keeps it open.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        self.inner.try_clone()
    }

    /// The port id of this socket: the kernel names it as the owner of a table and as the sender of a change.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// The name of an interface by its index, in the network namespace of the socket.
    pub(crate) fn name_of_link(&self, index: u32) -> Option<String> {
        index_to_name(&self.inner, index).ok()
    }

    /// The index of an interface by its name, in the network namespace of the socket.
    pub(crate) fn index_of_link(&self, name: &str) -> Option<u32> {
        name_to_index(&self.inner, name).ok()
    }

    /// Begins a batch, which must be carried out before anything else is asked of the socket.
    pub(crate) fn begin(&mut self) -> Batch {
        Batch::new(std::mem::take(&mut self.outbox), self.sequence)
    }

    /// Carries out a batch: two system calls, if nothing is wrong.
    pub(crate) fn commit(&mut self, batch: Batch) -> Result<(), BatchError> {
        let messages = batch.len();
        let first = batch.first_sequence();
        debug_assert_eq!(
            first, self.sequence,
            "something was asked between the beginning and the end of a batch"
        );
        self.outbox = batch.finish();
        self.sequence = first.wrapping_add(messages).wrapping_add(2);
        if messages == 0 {
            return Ok(());
        }
        self.send_outbox().map_err(BatchError::Whole)?;
        let mut failed = Vec::new();
        loop {
            let length = self.receive().map_err(BatchError::Whole)?;
            for answer in messages_of(&self.inbox[..length]) {
                let number = answer.sequence_number().wrapping_sub(first);
                // Any other number is an answer to an earlier batch that was given up.
                let Some(code) = error_code(&answer).filter(|_| number <= messages) else { continue };
                match code {
                    // An error of the whole batch comes as the answer to the message that begins it.
                    Some(errno) if number == 0 => return Err(BatchError::Whole(errno)),
                    Some(errno) => failed.push((number, errno)),
                    None => {}
                }
                if number == messages {
                    return if failed.is_empty() { Ok(()) } else { Err(BatchError::Messages(failed)) };
                }
            }
        }
    }

    /// Asks for one object and reads its attributes; none if there is no such thing.
    pub(crate) fn ask<T>(
        &mut self,
        family: Family,
        question: NfTablesMessage,
        read: impl Fn(&[u8]) -> T,
    ) -> Result<Option<T>, Errno> {
        let sequence = self.send(family, 0, question)?;
        loop {
            let length = self.receive()?;
            for answer in messages_of(&self.inbox[..length]) {
                if answer.sequence_number() != sequence {
                    continue;
                }
                match error_code(&answer) {
                    Some(Some(Errno::NOENT)) => return Ok(None),
                    Some(Some(errno)) => return Err(errno),
                    Some(None) => {}
                    None => return Ok(Some(read(attributes_of(&answer)))),
                }
            }
        }
    }

    /// Asks for a list and reads it; empty if that of which it is a list does not exist.
    pub(crate) fn list<T>(
        &mut self,
        family: Family,
        question: &NfTablesMessage,
        read: impl Fn(&[u8], &mut Vec<T>),
    ) -> Result<Vec<T>, Errno> {
        for _ in 0..LISTINGS {
            match self.list_once(family, question.clone(), &read) {
                Ok(Some(list)) => return Ok(list),
                Ok(None) => {}
                Err(Errno::NOENT) => return Ok(Vec::new()),
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::AGAIN)
    }

    /// One try at a list; none if the ruleset changed in between.
    fn list_once<T>(
        &mut self,
        family: Family,
        question: NfTablesMessage,
        read: impl Fn(&[u8], &mut Vec<T>),
    ) -> Result<Option<Vec<T>>, Errno> {
        let sequence = self.send(family, NLM_F_DUMP, question)?;
        let mut list = Vec::new();
        let mut disturbed = false;
        loop {
            let length = self.receive()?;
            for answer in messages_of(&self.inbox[..length]) {
                if answer.sequence_number() != sequence {
                    continue;
                }
                disturbed |= answer.flags() & NLM_F_DUMP_INTR != 0;
                match (answer.message_type(), error_code(&answer)) {
                    (NLMSG_DONE, _) => return Ok((!disturbed).then_some(list)),
                    (_, Some(Some(errno))) => return Err(errno),
                    (_, Some(None)) => {}
                    (_, None) => read(attributes_of(&answer), &mut list),
                }
            }
        }
    }

    /// The next datagram. If some were lost (ENOBUFS), the others are discarded: the kernel queues nothing more until the queue is empty.
    fn receive(&mut self) -> Result<usize, Errno> {
        let received = receive(&self.inner, &mut self.inbox);
        if received == Err(Errno::NOBUFS) {
            while !matches!(receive(&self.inner, &mut self.inbox), Err(errno) if errno != Errno::NOBUFS) {}
        }
        received
    }

    fn send(&mut self, family: Family, flags: u16, question: NfTablesMessage) -> Result<u32, Errno> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.outbox.clear();
        encode(
            &mut self.outbox,
            NetfilterHeader::new(netfilter_family(family), 0, 0),
            question,
            flags,
            sequence,
        );
        self.send_outbox()?;
        Ok(sequence)
    }

    fn send_outbox(&self) -> Result<(), Errno> {
        send(&self.inner, &self.outbox, SendFlags::empty()).map(drop)
    }
}

/// The next datagram, if one is there, without waiting; only from the kernel.
pub(crate) fn receive(socket: &impl AsFd, inbox: &mut [u8]) -> Result<usize, Errno> {
    loop {
        let (_, length, sender) = recvfrom(socket, &mut *inbox, RecvFlags::DONTWAIT)?;
        let sender = sender.map(SocketAddrNetlink::try_from).transpose()?;
        if sender.is_some_and(|sender| sender.pid() == 0) {
            return Ok(length);
        }
    }
}

/// The messages of a datagram; ends at the first that is cut off.
pub(crate) fn messages_of(mut datagram: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(datagram).ok()?;
        let length = usize::try_from(message.length()).ok()?.next_multiple_of(usize::from(NLMSG_ALIGNTO));
        datagram = datagram.get(length..).unwrap_or_default();
        Some(message)
    })
}

/// As large as the kernel allows, up to `size` bytes.
pub(crate) fn set_receive_buffer(socket: &netlink_sys::Socket, size: usize) -> io::Result<()> {
    // Only CAP_NET_ADMIN outside of user namespaces may go over the system's limit.
    if set_socket_recv_buffer_size_force(socket, size).is_err() {
        set_socket_recv_buffer_size(socket, size)?;
    }
    Ok(())
}

/// As large as the kernel allows, up to `size` bytes.
fn set_send_buffer(socket: &netlink_sys::Socket, size: usize) -> io::Result<()> {
    if set_socket_send_buffer_size_force(socket, size).is_err() {
        set_socket_send_buffer_size(socket, size)?;
    }
    Ok(())
}

/// What an acknowledgement says; none if the message is something else.
pub(crate) fn error_code(answer: &NetlinkBuffer<&[u8]>) -> Option<Option<Errno>> {
    if answer.message_type() != NLMSG_ERROR {
        return None;
    }
    let code = answer.payload().first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    Some((code != 0).then(|| Errno::from_raw_os_error(code.wrapping_neg())))
}

fn attributes_of<'a>(answer: &NetlinkBuffer<&'a [u8]>) -> &'a [u8] {
    answer.payload().get(NFTABLES_HEADER..).unwrap_or_default()
}
