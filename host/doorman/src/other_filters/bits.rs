//! Bits: a value of which not every bit is known, and what comparing it says.

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    Yes,
    No,
    /// That depends on what is not known.
    Maybe,
}

impl Is {
    pub(super) const fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
        }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }
}

impl From<bool> for Is {
    fn from(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

/// Eight bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Byte {
    pub(super) value: u8,
    /// Ones where the bit of `value` is the bit; bits that are not known are zero there.
    pub(super) known: u8,
}

impl Byte {
    pub(super) const UNKNOWN: Self = Self { value: 0, known: 0 };

    pub(super) const fn of(value: u8) -> Self {
        Self { value, known: u8::MAX }
    }
}

/// These bytes, all known.
pub(super) fn known(bytes: &[u8]) -> Vec<Byte> {
    bytes.iter().copied().map(Byte::of).collect()
}

/// The bytes, if all are known.
pub(super) fn whole(bits: &[Byte]) -> Option<Vec<u8>> {
    bits.iter().map(|byte| (byte.known == u8::MAX).then_some(byte.value)).collect()
}

/// Whether they are these bytes.
pub(super) fn equal(bits: &[Byte], bytes: &[u8]) -> Is {
    if bits.len() < bytes.len() {
        return Is::Maybe;
    }
    let pairs = || bits.iter().zip(bytes);
    if pairs().any(|(bits, byte)| (bits.value ^ byte) & bits.known != 0) {
        return Is::No;
    }
    if pairs().all(|(bits, _)| bits.known == u8::MAX) { Is::Yes } else { Is::Maybe }
}

/// Whether they are these bytes or more, the first counting most.
pub(super) fn at_least(bits: &[Byte], bytes: &[u8]) -> Is {
    let Some((lowest, highest)) = bounds(bits, bytes.len()) else { return Is::Maybe };
    match (lowest.as_slice() >= bytes, highest.as_slice() >= bytes) {
        (true, _) => Is::Yes,
        (false, true) => Is::Maybe,
        (false, false) => Is::No,
    }
}

/// Whether they are these bytes or less.
pub(super) fn at_most(bits: &[Byte], bytes: &[u8]) -> Is {
    let Some((lowest, highest)) = bounds(bits, bytes.len()) else { return Is::Maybe };
    match (highest.as_slice() <= bytes, lowest.as_slice() <= bytes) {
        (true, _) => Is::Yes,
        (false, true) => Is::Maybe,
        (false, false) => Is::No,
    }
}

/// What the first so many can be at least and at most.
fn bounds(bits: &[Byte], length: usize) -> Option<(Vec<u8>, Vec<u8>)> {
    let bits = bits.get(..length)?;
    Some(bits.iter().map(|byte| (byte.value & byte.known, byte.value | !byte.known)).unzip())
}

/// `(bits & mask) ^ flips`: a bit that the mask takes away is known.
pub(super) fn masked(bits: &[Byte], mask: &[u8], flips: &[u8]) -> Vec<Byte> {
    let masked = bits.iter().zip(mask.iter().zip(flips)).map(|(bits, (mask, flips))| {
        let known = bits.known | !mask;
        Byte { value: ((bits.value & mask) ^ flips) & known, known }
    });
    masked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_neither_equal_nor_not() {
        let half = [Byte::of(6), Byte { value: 0x20, known: 0x30 }];
        assert_eq!(equal(&half, &[6, 0x2f]), Is::Maybe);
        assert_eq!(equal(&half, &[6, 0x10]), Is::No);
        assert_eq!(equal(&half, &[7, 0x20]), Is::No);
        assert_eq!(equal(&known(&[6, 1]), &[6, 1]), Is::Yes);
        assert_eq!((at_least(&half, &[6]), at_most(&half, &[6])), (Is::Yes, Is::Yes));
        // From 0x20 to 0xef.
        assert_eq!((at_least(&half, &[6, 0]), at_most(&half, &[6, 0x1f])), (Is::Yes, Is::No));
        assert_eq!((at_least(&half, &[6, 0x21]), at_most(&half, &[6, 0xee])), (Is::Maybe, Is::Maybe));
        assert_eq!((at_least(&half, &[6, 0xf0]), at_most(&half, &[6, 0xef])), (Is::No, Is::Yes));
        assert_eq!(at_least(&half, &[6, 0, 0]), Is::Maybe);
    }

    #[test]
    fn a_mask_makes_bits_known() {
        // As the status of a connection, of which only the bit for a redirection is known.
        let status = [Byte { value: 0, known: 0x20 }];
        assert_eq!(masked(&status, &[0x20], &[0]), [Byte::of(0)]);
        assert_eq!(equal(&masked(&status, &[0x30], &[0]), &[0]), Is::Maybe);
        assert_eq!(masked(&[Byte::UNKNOWN], &[0], &[5]), [Byte::of(5)]);
    }
}
