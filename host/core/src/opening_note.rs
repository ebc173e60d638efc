//! OpeningNote: whose an opening is, in a few bytes that are kept where the opening itself is kept: they come with it, and go with it.
//!
//! All times are counted back from the end of the opening, so they are by the clock that ends it, and a note needs no other.

use std::time::Duration;

use crate::owner_marks::OwnerMark;

/// The most bytes of a note: of as many parts as there is room for. The kernel keeps no more than 254 bytes with an element of a set, of which two say
/// that this is a note; it refuses the element if there is one more.
pub const MOST_NOTE: usize = 1 + MOST_PARTS * PART;

/// The layout that this version writes; a note of another one says nothing.
const VERSION: u8 = 1;
/// Bytes of a part: the marks of its tenant and of its rule in eight each, and two times of milliseconds in six each, all little-endian.
const PART: usize = 28;
const TIME: usize = 6;
/// A time that is not known; also the longest, some 8,900 years.
const UNKNOWN: u64 = (1 << (8 * TIME)) - 1;
/// Parts that there is room for. If there are more, the last place stands for all the others, and says only when the last of them ends.
const MOST_PARTS: usize = 8;

/// Whose an opening is, and when what each of them has of it ends. Without meaning to any but an engine; empty if nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpeningNote(Box<[u8]>);

/// What a note says of one owner's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotedPart {
    /// Whose.
    pub(crate) mark: OwnerMark,
    /// How long before the opening's end this ends.
    pub(crate) ends_before: Duration,
    /// How long before the opening's end it began; none if that is not known.
    pub(crate) began_before: Option<Duration>,
}

impl OpeningNote {
    /// These bytes; none if there are too many.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MOST_NOTE).then(|| Self(bytes.into()))
    }

    /// At most [`MOST_NOTE`] bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it says nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether another one says the same, but for times that differ by no more than this.
    #[must_use]
    pub fn is_like(&self, other: &Self, most: Duration) -> bool {
        if self == other {
            return true;
        }
        let (own, others) = (self.parts(), other.parts());
        let is_near = |one: Option<Duration>, other: Option<Duration>| match (one, other) {
            (Some(one), Some(other)) => one.abs_diff(other) <= most,
            (one, other) => one == other,
        };
        let is_like = |(own, other): (&NotedPart, &NotedPart)| {
            own.mark == other.mark
                && is_near(Some(own.ends_before), Some(other.ends_before))
                && is_near(own.began_before, other.began_before)
        };
        !own.is_empty() && own.len() == others.len() && own.iter().zip(&others).all(is_like)
    }

    /// What is to be noted of these parts.
    pub(crate) fn of(parts: impl ExactSizeIterator<Item = NotedPart>) -> Self {
        let count = parts.len().min(MOST_PARTS);
        let named = if parts.len() > MOST_PARTS { MOST_PARTS - 1 } else { count };
        let mut bytes = Vec::with_capacity(1 + count * PART);
        bytes.push(VERSION);
        let mut last = None;
        for (place, part) in parts.enumerate() {
            if place < named {
                part.write(&mut bytes);
            } else {
                let before = last.map_or(part.ends_before, |last: NotedPart| last.ends_before);
                let ends_before = before.min(part.ends_before);
                last = Some(NotedPart { mark: OwnerMark::default(), ends_before, began_before: None });
            }
        }
        if let Some(last) = last {
            last.write(&mut bytes);
        }
        Self(bytes.into_boxed_slice())
    }

    /// What it says; nothing if it was cut off, or is of another version.
    pub(crate) fn parts(&self) -> Vec<NotedPart> {
        let Some((&VERSION, parts)) = self.0.split_first() else { return Vec::new() };
        let parts = parts.chunks(PART).map(|part| part.try_into().ok().map(NotedPart::read));
        parts.collect::<Option<_>>().unwrap_or_default()
    }
}

impl NotedPart {
    fn write(self, bytes: &mut Vec<u8>) {
        let OwnerMark { tenant, rule } = self.mark;
        bytes.extend_from_slice(&tenant.to_le_bytes());
        bytes.extend_from_slice(&rule.to_le_bytes());
        // No part lasts longer than it may because of how it is written.
        let ends = self.ends_before.as_nanos().div_ceil(1_000_000);
        let ends = u64::try_from(ends).unwrap_or(UNKNOWN).min(UNKNOWN - 1);
        let began = self
            .began_before
            .map_or(UNKNOWN, |began| u64::try_from(began.as_millis()).unwrap_or(UNKNOWN).min(UNKNOWN - 1));
        bytes.extend_from_slice(&ends.to_le_bytes()[..TIME]);
        bytes.extend_from_slice(&began.to_le_bytes()[..TIME]);
    }

    fn read(bytes: &[u8; PART]) -> Self {
        let number = |at: usize, length: usize| {
            let mut number = [0; 8];
            number[..length].copy_from_slice(&bytes[at..at + length]);
            u64::from_le_bytes(number)
        };
        let mark = OwnerMark { tenant: number(0, 8), rule: number(8, 8) };
        let (ends, began) = (number(16, TIME), number(16 + TIME, TIME));
        Self {
            mark,
            ends_before: Duration::from_millis(ends),
            began_before: (began != UNKNOWN).then(|| Duration::from_millis(began)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(tenant: u64, ends: u64, began: Option<u64>) -> NotedPart {
        NotedPart {
            mark: OwnerMark { tenant, rule: 0x0102_0304_0506_0708 },
            ends_before: Duration::from_millis(ends),
            began_before: began.map(Duration::from_millis),
        }
    }

    fn note(parts: &[NotedPart]) -> OpeningNote {
        OpeningNote::of(parts.iter().copied())
    }

    #[test]
    fn every_field_has_its_place() {
        let note = note(&[part(0x11, 5, Some(0x0102_0304)), part(0x22, 0, None)]);
        let said: String = note.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let rule = "0807060504030201";
        assert_eq!(
            said,
            format!(
                "01\
                 1100000000000000{rule}050000000000040302010000\
                 2200000000000000{rule}000000000000ffffffffffff"
            )
        );
        assert_eq!(note.parts(), [part(0x11, 5, Some(0x0102_0304)), part(0x22, 0, None)]);
    }

    #[test]
    fn times_are_rounded_so_that_no_part_lasts_longer() {
        let odd = Duration::from_nanos(1_500_001);
        let long =
            NotedPart { ends_before: Duration::MAX, began_before: Some(Duration::MAX), ..part(1, 0, None) };
        let read = note(&[NotedPart { ends_before: odd, began_before: Some(odd), ..long }, long]).parts();
        assert_eq!(read[0], part(1, 2, Some(1)));
        assert_eq!(read[1], part(1, UNKNOWN - 1, Some(UNKNOWN - 1)));
    }

    #[test]
    fn the_last_place_stands_for_all_that_have_none_until_the_last_of_them_ends() {
        let eight: Vec<_> = (1..=8).map(|n| part(n, 100 * n, Some(1))).collect();
        assert_eq!(note(&eight).as_bytes().len(), MOST_NOTE);
        assert_eq!(note(&eight).parts(), eight);
        let twenty: Vec<_> = (1..=20).map(|n| part(n, 100 * (20 - n), Some(1))).collect();
        let read = note(&twenty).parts();
        assert_eq!((read.len(), &read[..7]), (8, &twenty[..7]));
        assert_eq!(read[7], NotedPart { mark: OwnerMark::default(), ..part(0, 0, None) });
    }

    #[test]
    fn what_is_cut_off_or_of_another_version_says_nothing() {
        let whole = note(&[part(1, 5, Some(9)), part(2, 0, None)]);
        for end in 0..whole.as_bytes().len() {
            let cut = OpeningNote::from_bytes(&whole.as_bytes()[..end]).unwrap();
            let expected = usize::from(end == 1 + PART);
            assert_eq!(cut.parts().len(), expected, "{end}");
        }
        let mut other = whole.as_bytes().to_vec();
        other[0] = 2;
        assert_eq!(OpeningNote::from_bytes(&other).unwrap().parts(), []);
        assert!(OpeningNote::from_bytes(&[1; MOST_NOTE]).is_some());
        assert!(OpeningNote::from_bytes(&[1; MOST_NOTE + 1]).is_none());
    }

    #[test]
    fn a_little_time_makes_no_difference() {
        let second = Duration::from_secs(1);
        let one = note(&[part(1, 0, Some(5000))]);
        for (other, is_like) in [
            (part(1, 1000, Some(4000)), true),
            (part(1, 1001, Some(5000)), false),
            (part(1, 0, Some(6001)), false),
            (part(1, 0, None), false),
            (part(2, 0, Some(5000)), false),
        ] {
            assert_eq!(one.is_like(&note(&[other]), second), is_like, "{other:?}");
        }
        let two = note(&[part(1, 0, Some(5000)), part(2, 0, Some(5000))]);
        let odd = [OpeningNote::default(), OpeningNote::from_bytes(&[9]).unwrap()];
        assert!(!one.is_like(&two, second) && !odd[0].is_like(&odd[1], second));
        assert!(odd.iter().all(|odd| odd.is_like(&odd.clone(), second)));
    }
}
