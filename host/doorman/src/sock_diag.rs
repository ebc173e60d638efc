//! SockDiag: lists the TCP connections of this machine, and resets them (sock_diag(7)).

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::SocketAddr as NetlinkAddr;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use rustix::io::Errno;

use crate::connection::{Connection, on_the_wire};

/// Bytes that one datagram may have.
const INBOX: usize = 1 << 16;

/// The states of connections that both ends know of. A connection whose handshake is not finished is not among them.
const CONNECTED: StateFlags = StateFlags::ESTABLISHED
    .union(StateFlags::FIN_WAIT1)
    .union(StateFlags::FIN_WAIT2)
    .union(StateFlags::CLOSE_WAIT)
    .union(StateFlags::LAST_ACK)
    .union(StateFlags::CLOSING);

/// A socket to sock_diag in the network namespace of the thread that opened it.
pub(crate) struct SockDiag {
    socket: netlink_sys::Socket,
    sequence: u32,
    inbox: Vec<u8>,
}

impl SockDiag {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, inbox: vec![0; INBOX] })
    }

    /// The connections that are asked for, by local end, remote end, and the index of the interface that their socket is bound to.
    pub(crate) fn connections(
        &mut self,
        wanted: impl FnMut(SocketAddr, SocketAddr, u32) -> bool,
    ) -> io::Result<Vec<Connection>> {
        let sockets = self.list(wanted)?;
        Ok(sockets.into_iter().map(|(_, connection, _)| connection).collect())
    }

    /// Resets the connections that are asked for, see [`Self::connections`]: both ends know at once. Returns how many there were.
    pub(crate) fn reset(
        &mut self,
        wanted: impl FnMut(SocketAddr, SocketAddr, u32) -> bool,
    ) -> io::Result<usize> {
        let sockets = self.list(wanted)?;
        let mut count = 0;
        for (family, _, socket_id) in sockets {
            let request = request(family, socket_id);
            let sequence =
                self.send(SockDiagDestroy::new(SockDiagMessage::InetRequest(request)), NLM_F_ACK)?;
            match self.acknowledged(sequence) {
                Ok(()) => count += 1,
                // It ended by itself.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(count)
    }

    fn list(
        &mut self,
        mut wanted: impl FnMut(SocketAddr, SocketAddr, u32) -> bool,
    ) -> io::Result<Vec<(u8, Connection, SocketId)>> {
        let mut found = Vec::new();
        for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            let request = request(family, any);
            let sequence = self.send(SockDiagMessage::InetRequest(request), NLM_F_DUMP)?;
            'list: loop {
                for message in self.receive()? {
                    if message.header.sequence_number != sequence {
                        continue;
                    }
                    match message.payload {
                        NetlinkPayload::Done(_) => break 'list,
                        NetlinkPayload::Error(error) => return Err(error.to_io()),
                        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                            let id = socket.header.socket_id;
                            let end = |address, port| SocketAddr::new(on_the_wire(address), port);
                            let local = end(id.source_address, id.source_port);
                            let remote = end(id.destination_address, id.destination_port);
                            if wanted(local, remote, id.interface_id) {
                                found.push((family, Connection { local, remote }, id));
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(found)
    }

    fn send<T>(&mut self, message: T, flags: u16) -> io::Result<u32>
    where
        T: NetlinkSerializable + Into<NetlinkPayload<T>>,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(self.sequence)
    }

    fn acknowledged(&mut self, sequence: u32) -> Result<(), Errno> {
        loop {
            let length = crate::socket::receive(&self.socket, &mut self.inbox)?;
            for answer in crate::socket::messages_of(&self.inbox[..length]) {
                if answer.sequence_number() == sequence
                    && let Some(code) = crate::socket::error_code(&answer)
                {
                    return code.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// The messages of the next datagram.
    fn receive(&mut self) -> io::Result<Vec<NetlinkMessage<SockDiagMessage>>> {
        let length = crate::socket::receive(&self.socket, &mut self.inbox)?;
        let mut rest = &self.inbox[..length];
        let mut messages = Vec::new();
        while let Ok(message) = NetlinkMessage::<SockDiagMessage>::deserialize(rest) {
            let length = (message.header.length as usize).next_multiple_of(4);
            messages.push(message);
            rest = rest.get(length..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
        }
        Ok(messages)
    }
}

fn request(family: u8, socket_id: SocketId) -> InetRequest {
    InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: CONNECTED,
        socket_id,
    }
}
