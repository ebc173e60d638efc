//! Batch: messages that nf_tables carries out in one transaction, all or none.

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::nftables::NfTablesMessage;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use postern_core::Family;

/// The subsystem that a batch is for (`NFNL_SUBSYS_NFTABLES`).
const NFTABLES: u16 = 10;

/// Where the flags are in a netlink header.
const FLAGS: usize = 6;

/// Where the sequence number is in a netlink header.
const SEQUENCE: usize = 8;

/// A batch being written. Its messages are numbered from 1; 0 is the message that begins the batch.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    first_sequence: u32,
    messages: u32,
    last_at: usize,
}

impl Batch {
    /// Begins a batch whose messages get the sequence numbers from `first_sequence` on; `bytes` is reused.
    pub(crate) fn new(mut bytes: Vec<u8>, first_sequence: u32) -> Self {
        bytes.clear();
        let begin = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
        encode(&mut bytes, begin, ControlMessage::BatchBegin, 0, first_sequence);
        Self { bytes, first_sequence, messages: 0, last_at: 0 }
    }

    /// Adds a message.
    pub(crate) fn push(&mut self, family: Family, flags: u16, message: NfTablesMessage) {
        self.messages += 1;
        self.last_at = self.bytes.len();
        let header = NetfilterHeader::new(netfilter_family(family), 0, 0);
        let sequence = self.first_sequence.wrapping_add(self.messages);
        encode(&mut self.bytes, header, message, flags, sequence);
    }

    /// Adds a message that was encoded before and returns it, to be filled in.
    pub(crate) fn push_encoded(&mut self, message: &[u8]) -> &mut [u8] {
        self.messages += 1;
        self.last_at = self.bytes.len();
        self.bytes.extend_from_slice(message);
        let sequence = self.first_sequence.wrapping_add(self.messages);
        let pushed = &mut self.bytes[self.last_at..];
        pushed[SEQUENCE..SEQUENCE + 4].copy_from_slice(&sequence.to_ne_bytes());
        pushed
    }

    /// As [`Batch::push_encoded`], with an attribute behind it that belongs to what begins at each of `lists`: places in the message of headers
    /// of attributes that all end where the message does.
    pub(crate) fn push_encoded_with(
        &mut self,
        message: &[u8],
        attribute: &[u8],
        lists: [usize; 2],
    ) -> &mut [u8] {
        self.push_encoded(message);
        self.bytes.extend_from_slice(attribute);
        let pushed = &mut self.bytes[self.last_at..];
        // A message has at most some 500 bytes.
        let more = u16::try_from(attribute.len()).unwrap_or_default();
        let length = u32::from_ne_bytes([pushed[0], pushed[1], pushed[2], pushed[3]]);
        pushed[..4].copy_from_slice(&length.saturating_add(more.into()).to_ne_bytes());
        for at in lists {
            let length = u16::from_ne_bytes([pushed[at], pushed[at + 1]]);
            pushed[at..at + 2].copy_from_slice(&length.saturating_add(more).to_ne_bytes());
        }
        pushed
    }

    /// The sequence number of the message that begins the batch.
    pub(crate) fn first_sequence(&self) -> u32 {
        self.first_sequence
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> u32 {
        self.messages
    }

    /// The bytes to send. Only the last message asks for an acknowledgement, so that success is a single answer: the
    /// kernel sends it after the commit, and behind the errors if there are any.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if let Some(flags) = self.bytes.get_mut(self.last_at + FLAGS..self.last_at + FLAGS + 2) {
            flags.copy_from_slice(&(u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK).to_ne_bytes());
        }
        let end = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFTABLES);
        let sequence = self.first_sequence.wrapping_add(self.messages + 1);
        encode(&mut self.bytes, end, ControlMessage::BatchEnd, 0, sequence);
        self.bytes
    }
}

/// Appends one message.
pub(crate) fn encode(
    bytes: &mut Vec<u8>,
    header: NetfilterHeader,
    message: impl Into<NetfilterMessageInner>,
    flags: u16,
    sequence: u32,
) {
    let mut netlink = NetlinkHeader::default();
    netlink.flags = NLM_F_REQUEST | flags;
    netlink.sequence_number = sequence;
    let payload = NetlinkPayload::InnerMessage(NetfilterMessage::new(header, message));
    let mut message = NetlinkMessage::new(netlink, payload);
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    message.serialize(&mut bytes[start..]);
}

/// The family of tables as netfilter numbers it.
pub(crate) const fn netfilter_family(family: Family) -> NetfilterProtoFamily {
    match family {
        Family::Ip => NetfilterProtoFamily::IPv4,
        Family::Ip6 => NetfilterProtoFamily::IPv6,
        Family::Inet => NetfilterProtoFamily::Inet,
    }
}
