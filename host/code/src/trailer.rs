//! Trailer: the last bytes of a file with code, by which damage, a cut and a file of something else are found.
//!
//! The code stands first, so that the file can be mapped as it is. The checksum is a CRC-32: it must be fast, 60 MB are read at each start
//! with large modules, and is meant against accidents. Against people there are the owners and modes of file and folder.

use crc32fast::Hasher;

use crate::key::CodeKey;

/// What a trailer begins with; the last byte is the version of this format.
const MAGIC: [u8; 8] = *b"postern\x01";

/// By which damage is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Bytes of code before it.
    pub(crate) length: u64,
    /// What the code is, by whoever stored it.
    pub(crate) label: u8,
    pub(crate) checksum: u32,
}

impl Trailer {
    /// Its size in bytes: magic, length, checksum, label, and three bytes that are 0.
    pub(crate) const SIZE: usize = 24;

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[20] = self.label;
        bytes
    }

    /// None if it is not one.
    pub(crate) fn of_bytes(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        let [label, 0, 0, 0] = *rest else { return None };
        let (length, checksum) = (u64::from_le_bytes(*length), u32::from_le_bytes(*checksum));
        (*magic == MAGIC).then_some(Self { length, label, checksum })
    }
}

/// A checksum of code that is yet to be fed.
pub(crate) fn checksum_of(key: &CodeKey, label: u8) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(&key.bytes());
    hasher.update(&[label]);
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_as_it_was_written() {
        let trailer = Trailer { length: 0x0102, label: 7, checksum: 0xaabb_ccdd };
        let bytes = trailer.to_bytes();
        assert_eq!(&bytes, b"postern\x01\x02\x01\0\0\0\0\0\0\xdd\xcc\xbb\xaa\x07\0\0\0");
        assert_eq!(Trailer::of_bytes(bytes), Some(trailer));
        for at in [0, 7, 21, 23] {
            let mut other = bytes;
            other[at] ^= 1;
            assert_eq!(Trailer::of_bytes(other), None, "{at}");
        }
    }
}
