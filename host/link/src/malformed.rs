//! Malformed: why a message of the order link is refused.

/// What is wrong with a message. Both ends are the same program, so the other end is broken or hostile, and the link is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It does not have the size of its kind.
    #[error("a message of {0} bytes is not of the size of its kind")]
    Size(usize),
    /// There is no such kind.
    #[error("there is no kind {0} of message in this direction")]
    Kind(u8),
    /// There is no such act.
    #[error("there is no act {0}")]
    Act(u8),
    /// Neither IPv4 nor IPv6.
    #[error("{0} is not a family of addresses; 4 and 6 are")]
    Family(u8),
    /// The prefix is longer than an address.
    #[error("a prefix of {0} bits is longer than an address of its family")]
    Prefix(u8),
    /// There are bits behind the prefix.
    #[error("an address has bits behind its prefix")]
    HostBits,
    /// A link where it has no meaning.
    #[error("a link is named for an address that is the same on all links")]
    Link,
    /// Too long a time, or one where there must be none, or none where there must be one.
    #[error("{0} ms is not a time for this act")]
    Time(u64),
    /// There is no such outcome.
    #[error("there is no outcome {0}")]
    Outcome(u8),
    /// A text is longer than its place, or not UTF-8.
    #[error("a text is longer than its place, or not UTF-8")]
    Text,
    /// More entries than there is room for.
    #[error("{0} entries have no room in a message")]
    Entries(u16),
    /// Bytes that have no meaning for this kind are not zero.
    #[error("bytes without a meaning are not zero")]
    Unused,
}
