//! Counter: what the kernel counts at an element of a set: how a set is made that counts, and how what was counted is read and written.
//!
//! An element of a set that is declared with a counter has one, whoever adds it. That an element brings its own would do as well; but nft cannot
//! read such a set back, so that a ruleset which somebody has saved while a door was open could not be loaded any more.

use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED};
use netlink_packet_netfilter::nftables::{
    ExpressionAttribute, Expressions, SetAttribute, SetElementAttribute,
};

use crate::attributes::{find, find_text, find_u64};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_SET_EXPR: u16 = 17;
const NFTA_SET_ELEM_EXPR: u16 = 7;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_COUNTER_BYTES: u16 = 1;
const NFTA_COUNTER_PACKETS: u16 = 2;

/// The name of the instruction.
const NAME: &str = "counter";

/// Bytes of a number, the last ones of an instruction, and of the header of the attribute that it is.
const NUMBER: usize = 8;
const HEADER: usize = 4;

/// Bytes of the instruction as an attribute.
pub(crate) const ENCODED: usize = HEADER + HEADER + NAME.len() + 1 + HEADER + 2 * (HEADER + NUMBER);

/// What was counted at an element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Counter {
    /// An attribute of an element that counts on from here; of [`ENCODED`] bytes.
    pub(crate) fn attribute(self) -> SetElementAttribute {
        SetElementAttribute::Other(self.encoded(NFTA_SET_ELEM_EXPR))
    }

    /// Fills the numbers in, at the end of a message that ends with [`Counter::attribute`].
    pub(crate) fn fill_in(self, message: &mut [u8]) {
        let packets_at = message.len() - NUMBER;
        let bytes_at = packets_at - HEADER - NUMBER;
        message[packets_at..].copy_from_slice(&self.packets.to_be_bytes());
        message[bytes_at..bytes_at + NUMBER].copy_from_slice(&self.bytes.to_be_bytes());
    }

    /// That of an element, given its attributes; none if it does not count, or does other things as well.
    pub(crate) fn of_element(element: &[u8]) -> Option<Self> {
        let data = find(counter(element, NFTA_SET_ELEM_EXPR)?, NFTA_EXPR_DATA)?;
        let packets = find_u64(data, NFTA_COUNTER_PACKETS)?;
        Some(Self { packets, bytes: find_u64(data, NFTA_COUNTER_BYTES).unwrap_or_default() })
    }

    fn encoded(self, kind: u16) -> DefaultNla {
        let number = |kind, number: u64| DefaultNla::new(kind, number.to_be_bytes().to_vec());
        let attributes =
            vec![number(NFTA_COUNTER_BYTES, self.bytes), number(NFTA_COUNTER_PACKETS, self.packets)];
        let counter = Expressions::Other { expression_type: NAME.to_owned(), attributes };
        let expression = [ExpressionAttribute::Name(NAME.to_owned()), ExpressionAttribute::Data(counter)];
        let mut bytes = vec![0; expression.as_slice().buffer_len()];
        expression.as_slice().emit(&mut bytes);
        DefaultNla::new(kind | NLA_F_NESTED, bytes)
    }
}

/// An attribute of a set whose elements count. A kernel before 5.7 does not look at it.
pub(crate) fn declaration() -> SetAttribute {
    SetAttribute::Other(Counter::default().encoded(NFTA_SET_EXPR))
}

/// Whether a set with these attributes is declared so.
pub(crate) fn is_declared(set: &[u8]) -> bool {
    counter(set, NFTA_SET_EXPR).is_some()
}

/// The attribute of this kind, if it is a counter.
fn counter(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    find(attributes, kind).filter(|found| find_text(found, NFTA_EXPR_NAME).as_deref() == Some(NAME))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Nla;

    use super::*;

    fn bytes_of(attribute: &impl Nla) -> Vec<u8> {
        let mut bytes = vec![0; attribute.buffer_len()];
        attribute.emit(&mut bytes);
        bytes
    }

    // As nft 1.0.6 sends `{ 10.0.0.1 counter packets 3 bytes 258 }` on a little-endian machine.
    #[cfg(target_endian = "little")]
    #[test]
    fn a_counter_has_these_bytes() {
        let bytes = bytes_of(&Counter { packets: 3, bytes: 258 }.attribute());
        let bytes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = "2c0007800c000100636f756e74657200\
                        1c0002800c00010000000000000001020c0002000000000000000003";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_was_written_or_filled_in_is_read() {
        let counter = Counter { packets: 1 << 40, bytes: u64::MAX };
        let encoded = bytes_of(&counter.attribute());
        assert_eq!(Counter::of_element(&encoded), Some(counter));
        assert_eq!(encoded.len(), ENCODED);
        let mut message = [&[0xAA; 7][..], &bytes_of(&Counter::default().attribute())].concat();
        counter.fill_in(&mut message);
        assert_eq!(message[7..], encoded);
        for end in 0..encoded.len() {
            assert_eq!(Counter::of_element(&encoded[..end]), None);
        }
    }

    #[test]
    fn nothing_else_is_taken_for_a_counter() {
        let mut declared = bytes_of(&declaration());
        assert!(is_declared(&declared));
        assert_eq!(Counter::of_element(&declared), None);
        let name_at = 2 * HEADER;
        declared[name_at..name_at + NAME.len()].copy_from_slice(b"connect");
        assert!(!is_declared(&declared));
        assert!(!is_declared(&[]));
    }
}
