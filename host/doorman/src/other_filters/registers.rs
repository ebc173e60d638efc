//! Registers: what the expressions of a rule hand to each other.

use super::bits::Byte;

/// The registers of one rule: four of 16 bytes, which are the same memory as sixteen of 4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers([Byte; Self::BYTES]);

impl Default for Registers {
    /// Nothing is known of what is in them.
    fn default() -> Self {
        Self([Byte::UNKNOWN; Self::BYTES])
    }
}

impl Registers {
    /// Bytes of all of them.
    pub(super) const BYTES: usize = 64;
    /// Bytes of the largest.
    const LARGEST: usize = 16;

    /// Puts a value into a register, if that is one. What is not known is not known there either, in as many bytes as any value has.
    pub(super) fn load(&mut self, register: Option<u32>, value: Option<Vec<Byte>>) {
        let Some(at) = register.and_then(place) else { return };
        let value = value.unwrap_or_else(|| vec![Byte::UNKNOWN; Self::LARGEST]);
        // A value that does not fill its last word is followed by zeros.
        let zeros = std::iter::repeat_n(Byte::of(0), value.len().next_multiple_of(4) - value.len());
        let value = value.into_iter().chain(zeros);
        self.0.iter_mut().skip(at).zip(value).for_each(|(register, byte)| *register = byte);
    }

    /// What is in a register and behind it.
    pub(super) fn held(&self, register: Option<u32>) -> Option<&[Byte]> {
        self.0.get(place(register?)?..)
    }
}

/// Where a register begins.
fn place(register: u32) -> Option<usize> {
    let at = match register {
        1..=4 => 16 * (register - 1),
        8..=23 => 4 * (register - 8),
        _ => return None,
    };
    usize::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::super::bits::known;
    use super::*;

    #[test]
    fn large_and_small_ones_are_the_same_memory() {
        let mut registers = Registers::default();
        registers.load(Some(2), Some(known(&[0, 22])));
        // The first of the four small ones in it, filled up.
        assert_eq!(
            registers.held(Some(12)).unwrap()[..5],
            [&known(&[0, 22, 0, 0])[..], &[Byte::UNKNOWN]].concat()
        );
        registers.load(Some(12), None);
        assert_eq!(registers.held(Some(2)).unwrap()[0], Byte::UNKNOWN);
        assert_eq!(registers.held(Some(0)), None);
        assert_eq!(registers.held(Some(23)).unwrap().len(), 4);
    }
}
