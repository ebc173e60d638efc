//! DropReason: why a packet or a verdict came to nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a packet or a verdict came to nothing. One name each for the counter, the log field and the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DropReason {
    /// The frame ended before its headers did.
    Truncated,
    /// A header contradicts itself or another header.
    Malformed,
    /// Not IPv4 or IPv6.
    NotIp,
    /// Not TCP, UDP, ICMP or ICMPv6.
    OtherTransport,
    /// A fragment that is not the first one and so has no transport header.
    LaterFragment,
    /// A link type that we do not read.
    LinkType,
    /// No other machine can send from this address: unspecified, loopback, broadcast, multicast, or one of this machine's own.
    ImpossibleSource,
    /// No packet from another machine can go to this address: unspecified or loopback.
    ImpossibleDestination,
    /// The same packet was seen on another interface before, and counted there.
    SamePacket,
    /// No rule asked for it.
    NotWatched,
    /// A worker's queue was full.
    QueueFull,
    /// The rule trapped, overran a limit or returned nonsense.
    Fault,
    /// The rule is not called for a while after repeated faults.
    BackingOff,
    /// The tenant's rules have used up their share of a processor.
    OverShare,
    /// No more clients could be remembered, and this one had come less far than all that are.
    MemoryFull,
    /// A client was evicted from memory before its time, to make room for another. It counts for the tenant that has lost it.
    Evicted,
    /// The door is not one that the rule was granted.
    DoorNotGranted,
    /// The client is not the source of the knock, nor a prefix around it that was granted.
    ClientNotGranted,
    /// The client's address has a meaning on one link only, and the door cannot tell links apart or the link is not known.
    LinkLocal,
    /// The rule is on trial, and its doors stay as they are.
    Trial,
    /// What should be closed was found open at the start, and may be another owner's.
    NotItsOwn,
    /// The one-time token or counter was used before.
    AlreadyUsed,
    /// No more one-time tokens and counters can be kept.
    TokensFull,
    /// Too many openings wait for their one-time token, or one has waited too long.
    LedgerBusy,
    /// The table of openings is full, or too many orders have no receipt yet.
    OpeningsFull,
    /// The door could not be opened.
    DoorFailed,
    /// The link to the process that keeps the door was full: it does not keep up.
    LinkFull,
    /// The process that keeps the door has ended, and is not back.
    Restarting,
    /// The process that keeps the door does not allow it: not this door, this client or so long, by its own table.
    BeyondTable,
    /// More orders in a second than the process that keeps the door allows.
    OrdersTooFast,
    /// How to close the door, or that a token is used, could not be written to the disk first, so nothing was done.
    NotRecorded,
    /// The rule was changed since it judged.
    Outdated,
    /// The rule's file is gone, and what takes the rule away is still being prepared.
    Withdrawn,
    /// The daemon is stopping.
    Stopping,
}

impl DropReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 34] = [
        Self::Truncated,
        Self::Malformed,
        Self::NotIp,
        Self::OtherTransport,
        Self::LaterFragment,
        Self::LinkType,
        Self::ImpossibleSource,
        Self::ImpossibleDestination,
        Self::SamePacket,
        Self::NotWatched,
        Self::QueueFull,
        Self::Fault,
        Self::BackingOff,
        Self::OverShare,
        Self::MemoryFull,
        Self::Evicted,
        Self::DoorNotGranted,
        Self::ClientNotGranted,
        Self::LinkLocal,
        Self::Trial,
        Self::NotItsOwn,
        Self::AlreadyUsed,
        Self::TokensFull,
        Self::LedgerBusy,
        Self::OpeningsFull,
        Self::DoorFailed,
        Self::LinkFull,
        Self::Restarting,
        Self::BeyondTable,
        Self::OrdersTooFast,
        Self::NotRecorded,
        Self::Outdated,
        Self::Withdrawn,
        Self::Stopping,
    ];

    /// The name in logs and counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::NotIp => "not-ip",
            Self::OtherTransport => "other-transport",
            Self::LaterFragment => "later-fragment",
            Self::LinkType => "link-type",
            Self::ImpossibleSource => "impossible-source",
            Self::ImpossibleDestination => "impossible-destination",
            Self::SamePacket => "same-packet",
            Self::NotWatched => "not-watched",
            Self::QueueFull => "queue-full",
            Self::Fault => "fault",
            Self::BackingOff => "backing-off",
            Self::OverShare => "over-share",
            Self::MemoryFull => "memory-full",
            Self::Evicted => "evicted",
            Self::DoorNotGranted => "door-not-granted",
            Self::ClientNotGranted => "client-not-granted",
            Self::LinkLocal => "link-local",
            Self::Trial => "trial",
            Self::NotItsOwn => "not-its-own",
            Self::AlreadyUsed => "already-used",
            Self::TokensFull => "tokens-full",
            Self::LedgerBusy => "ledger-busy",
            Self::OpeningsFull => "openings-full",
            Self::DoorFailed => "door-failed",
            Self::LinkFull => "link-full",
            Self::Restarting => "restarting",
            Self::BeyondTable => "beyond-table",
            Self::OrdersTooFast => "orders-too-fast",
            Self::NotRecorded => "not-recorded",
            Self::Outdated => "outdated",
            Self::Withdrawn => "withdrawn",
            Self::Stopping => "stopping",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_listed_in_its_place_under_a_name_of_its_own() {
        for (n, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
            assert!(DropReason::ALL[..n].iter().all(|other| other.name() != reason.name()));
        }
    }
}
