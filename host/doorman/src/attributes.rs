//! Reads the attributes of netlink messages without copying them. Unknown ones are skipped.

use netlink_packet_core::{NLA_HEADER_SIZE, NlasIterator};

/// Kinds and values; ends at the first thing that is not an attribute.
pub(crate) fn all(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(attributes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        let (kind, length) = (attribute.kind(), attribute.value_length());
        // What the iterator hands out reaches to the end of the message, not only of the attribute.
        Some((kind, attribute.into_inner().get(NLA_HEADER_SIZE..NLA_HEADER_SIZE + length)?))
    })
}

/// The value of the first attribute of this kind.
pub(crate) fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    all(attributes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A text, whose last byte is a zero.
pub(crate) fn find_text(attributes: &[u8], kind: u16) -> Option<String> {
    find(attributes, kind).map(text)
}

/// A text, whose last byte is a zero.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

pub(crate) fn find_u32(attributes: &[u8], kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(find(attributes, kind)?.try_into().ok()?))
}

pub(crate) fn find_u64(attributes: &[u8], kind: u16) -> Option<u64> {
    Some(u64::from_be_bytes(find(attributes, kind)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_among_others() {
        let bytes =
            [5, 0, 9, 0, 0xAA, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 7, 12, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(find(&bytes, 9), Some(&[0xAA][..]));
        assert_eq!(find_u32(&bytes, 1), Some(7));
        assert_eq!(find_u64(&bytes, 2), Some(256));
        assert_eq!(find_u64(&bytes, 1), None);
        assert_eq!(find(&bytes, 3), None);
    }

    #[test]
    fn stops_at_nonsense() {
        for nonsense in [&[1, 2, 3][..], &[3, 0, 1, 0], &[0, 0, 0, 0], &[200, 0, 1, 0, 1, 2, 3, 4]] {
            assert_eq!(all(nonsense).count(), 0);
        }
    }
}
