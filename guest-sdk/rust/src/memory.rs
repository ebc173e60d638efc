//! Memory: how what a rule remembers becomes the bytes that the host keeps, and back.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The most bytes that the host keeps of one client. More is a fault of the rule.
pub const MAX_MEMORY: usize = 1024;

/// Something that can be remembered of a client.
///
/// There are implementations for unsigned numbers, arrays of bytes and `Vec<u8>`; [`Json`] takes any serde type. Writing one by
/// hand is a few lines and gives the smallest and fastest module.
pub trait Memory: Sized {
    /// The bytes to keep, at most [`MAX_MEMORY`].
    fn to_bytes(&self) -> Vec<u8>;

    /// What these bytes mean. `None` if they mean nothing, which is as if there were no memory of the client.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// Nothing but that the client was here.
impl Memory for () {
    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}

impl Memory for Vec<u8> {
    fn to_bytes(&self) -> Vec<u8> {
        self.clone()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

impl<const N: usize> Memory for [u8; N] {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

macro_rules! number_is_memory {
    ($($number:ty),*) => {$(
        /// Little-endian.
        impl Memory for $number {
            fn to_bytes(&self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(<$number>::from_le_bytes)
            }
        }
    )*};
}

number_is_memory!(u8, u16, u32, u64);

/// Any serde type as memory, kept as JSON: every rule carries a JSON reader for its settings already, so a denser format would
/// make the module larger, not smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize + DeserializeOwned> Memory for Json<T> {
    /// A value that JSON cannot hold, such as a map with keys that are no texts, is remembered as nothing.
    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_and_foreign_bytes_do_not() {
        assert_eq!(u32::from_bytes(&0xDEAD_BEEF_u32.to_bytes()), Some(0xDEAD_BEEF));
        assert_eq!(u32::from_bytes(&[1, 2, 3]), None);
        assert_eq!(<[u8; 2]>::from_bytes(&[1, 2]), Some([1, 2]));
        assert_eq!(<[u8; 2]>::from_bytes(&[1, 2, 3]), None);
        assert_eq!(<()>::from_bytes(&[0]), None);
        let names = Json(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(Json::from_bytes(&names.to_bytes()), Some(names));
        assert_eq!(Json::<Vec<String>>::from_bytes(b"[1]"), None);
    }
}
