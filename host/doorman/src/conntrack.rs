//! Conntrack: adds connections to the kernel's connection tracking that it did not see begin.

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::DefaultNla;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol, Status,
    Tuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use netlink_sys::SocketAddr as NetlinkAddr;
use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;

use crate::connection::Connection;
use crate::socket::{error_code, messages_of, receive};

/// Conntrack's default timeout of an idle connection, in seconds (nf_conntrack_tcp_timeout_established).
const ESTABLISHED_TIMEOUT: u32 = 5 * 24 * 3600;

// include/uapi/linux/netfilter/nf_conntrack_tcp.h and nfnetlink_conntrack.h
const TCP_CONNTRACK_ESTABLISHED: u8 = 3;
const IP_CT_TCP_FLAG_SACK_PERM: u8 = 0x02;
/// The TCP windows are not known, so they are not checked. Conntrack sets the same flag for connections that it picks up midway.
const IP_CT_TCP_FLAG_BE_LIBERAL: u8 = 0x08;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
const CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;

/// Bytes that one datagram may have.
const INBOX: usize = 1 << 13;

/// A socket to the tracker in the network namespace of the thread that opened it.
pub(crate) struct Conntrack {
    socket: netlink_sys::Socket,
    sequence: u32,
    inbox: Vec<u8>,
}

impl Conntrack {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, inbox: vec![0; INBOX] })
    }

    /// Adds a connection as established, opened from its remote end; false if it is tracked already.
    pub(crate) fn add(&mut self, connection: &Connection) -> io::Result<bool> {
        let flags = IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL;
        let flags = |kind| ProtoInfoTCP::Other(DefaultNla::new(kind, vec![flags, flags]));
        let tcp = vec![
            ProtoInfoTCP::State(TCP_CONNTRACK_ESTABLISHED),
            flags(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL),
            flags(CTA_PROTOINFO_TCP_FLAGS_REPLY),
        ];
        let message = ConntrackMessage::New(vec![
            ConntrackAttribute::CtaTupleOrig(tuple(connection.remote, connection.local)),
            ConntrackAttribute::CtaTupleReply(tuple(connection.local, connection.remote)),
            ConntrackAttribute::CtaStatus(Status::SeenReply | Status::Assured | Status::Confirmed),
            ConntrackAttribute::CtaTimeout(ESTABLISHED_TIMEOUT),
            ConntrackAttribute::CtaProtoInfo(vec![ProtoInfo::TCP(tcp)]),
        ]);
        match self.ask(connection, message, NLM_F_CREATE | NLM_F_EXCL) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a connection; it is no error if it is not tracked.
    pub(crate) fn remove(&mut self, connection: &Connection) -> io::Result<()> {
        let orig = ConntrackAttribute::CtaTupleOrig(tuple(connection.remote, connection.local));
        match self.ask(connection, ConntrackMessage::Delete(vec![orig]), 0) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn ask(&mut self, connection: &Connection, message: ConntrackMessage, flags: u16) -> Result<(), Errno> {
        let family = match connection.local {
            SocketAddr::V4(_) => NetfilterProtoFamily::IPv4,
            SocketAddr::V6(_) => NetfilterProtoFamily::IPv6,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let inner = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(inner));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        loop {
            let length = receive(&self.socket, &mut self.inbox)?;
            for answer in messages_of(&self.inbox[..length]) {
                if answer.sequence_number() == self.sequence
                    && let Some(code) = error_code(&answer)
                {
                    return code.map_or(Ok(()), Err);
                }
            }
        }
    }
}

fn tuple(from: SocketAddr, to: SocketAddr) -> Vec<Tuple> {
    vec![
        Tuple::Ip(vec![IPTuple::SourceAddress(from.ip()), IPTuple::DestinationAddress(to.ip())]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(Protocol::Tcp),
            ProtoTuple::SourcePort(from.port()),
            ProtoTuple::DestinationPort(to.port()),
        ]),
    ]
}
