//! PortRange: ports of one protocol that a guard door closes and opens together. It knows nothing of the kernel.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One port, or several that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// What carries them.
    pub protocol: GuardProtocol,
    /// The first, from 1 on.
    pub first: u16,
    /// The last, itself included; not below `first`.
    pub last: u16,
}

impl PortRange {
    /// A single port.
    #[must_use]
    pub const fn single(protocol: GuardProtocol, port: u16) -> Self {
        Self { protocol, first: port, last: port }
    }

    /// Whether a port is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }

    /// Whether this port is in it.
    #[must_use]
    pub fn contains(&self, protocol: GuardProtocol, port: u16) -> bool {
        self.protocol == protocol && (self.first..=self.last).contains(&port)
    }

    /// The same ports in as few ranges as there can be, in order.
    #[must_use]
    pub fn join(mut ranges: Vec<Self>) -> Vec<Self> {
        ranges.sort_unstable();
        let mut joined: Vec<Self> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last)
                    if last.protocol == range.protocol
                        && u32::from(range.first) <= u32::from(last.last) + 1 =>
                {
                    last.last = last.last.max(range.last);
                }
                _ => joined.push(range),
            }
        }
        joined
    }

    /// What is left of it without those of `others`.
    #[must_use]
    pub fn without<'a>(self, others: impl IntoIterator<Item = &'a Self>) -> Vec<Self> {
        let mut left = vec![self];
        for other in others {
            let cut = |range: Self| {
                if !range.overlaps(other) {
                    return [Some(range), None];
                }
                let below = (range.first < other.first).then(|| Self { last: other.first - 1, ..range });
                let above = (range.last > other.last).then(|| Self { first: other.last + 1, ..range });
                [below, above]
            };
            left = left.into_iter().flat_map(cut).flatten().collect();
        }
        left
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.first)?;
        if self.last != self.first { write!(f, "-{}", self.last) } else { Ok(()) }
    }
}

/// What carries a guarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GuardProtocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl GuardProtocol {
    /// The protocol number in an IP header (IANA "Assigned Internet Protocol Numbers").
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The protocol of this number; none if no port of it can be guarded.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for GuardProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange { protocol: GuardProtocol::Udp, first, last }
    }

    #[test]
    fn what_others_have_is_cut_out() {
        let check = |others: &[PortRange], expected: &[PortRange]| {
            assert_eq!(range(10, 20).without(others), expected);
        };
        check(&[], &[range(10, 20)]);
        check(&[range(1, 9), range(21, 65535)], &[range(10, 20)]);
        check(&[range(10, 20)], &[]);
        check(&[range(1, 65535)], &[]);
        check(&[range(12, 13)], &[range(10, 11), range(14, 20)]);
        check(&[range(10, 10), range(20, 20)], &[range(11, 19)]);
        check(&[PortRange { protocol: GuardProtocol::Tcp, ..range(10, 20) }], &[range(10, 20)]);
        assert_eq!(range(65535, 65535).without(&[range(65535, 65535)]), []);
        assert_eq!(range(1, 65535).without(&[range(65535, 65535)]), [range(1, 65534)]);
    }

    #[test]
    fn ranges_that_meet_or_overlap_are_joined() {
        let joined = PortRange::join(vec![
            range(30, 40),
            range(1, 5),
            range(6, 9),
            range(35, 36),
            range(65535, 65535),
            range(65534, 65535),
        ]);
        assert_eq!(joined, [range(1, 9), range(30, 40), range(65534, 65535)]);
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        assert_eq!(range(22, 22).to_string(), "udp/22");
        assert_eq!(range(60000, 61000).to_string(), "udp/60000-61000");
    }
}
