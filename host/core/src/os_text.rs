//! OsText: paths and arguments in messages between processes. What is UTF-8 is a text, and anything else a list of its bytes, so that every
//! path arrives as it was.
//!
//! For `#[serde(with = "...")]`, since serde itself refuses to write a path that is not UTF-8.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::marker::PhantomData;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use serde::de::{SeqAccess, Visitor};
use serde::{Deserializer, Serializer};

/// Writes a path or an argument.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(
    text: &(impl AsRef<OsStr> + ?Sized),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = text.as_ref();
    match text.to_str() {
        Some(text) => serializer.serialize_str(text),
        None => serializer.collect_seq(text.as_bytes()),
    }
}

/// Reads a path or an argument.
///
/// # Errors
/// If it is neither a text nor a list of bytes.
pub fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextOrBytes(PhantomData))
}

struct TextOrBytes<T>(PhantomData<T>);

impl<'de, T: From<OsString>> Visitor<'de> for TextOrBytes<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of bytes")
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(OsString::from(text).into())
    }

    fn visit_string<E>(self, text: String) -> Result<T, E> {
        Ok(OsString::from(text).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(OsString::from_vec(bytes).into())
    }
}

/// One of them, by itself.
struct Item<T>(T);

impl<T: AsRef<OsStr>> serde::Serialize for Item<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, serializer)
    }
}

impl<'de, T: From<OsString>> serde::Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

/// The same for one that may be missing.
pub mod optional {
    use std::ffi::{OsStr, OsString};

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Item;

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        text: &Option<impl AsRef<OsStr>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_ref().map(Item).serialize(serializer)
    }

    /// Reads it.
    ///
    /// # Errors
    /// If it is there, and neither a text nor a list of bytes.
    pub fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(Option::<Item<T>>::deserialize(deserializer)?.map(|Item(text)| text))
    }
}

/// The same for a list of them.
pub mod list {
    use std::ffi::{OsStr, OsString};

    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Item;

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(texts: &[impl AsRef<OsStr>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(texts.iter().map(Item))
    }

    /// Reads it.
    ///
    /// # Errors
    /// If an item is neither a text nor a list of bytes.
    pub fn deserialize<'de, T: From<OsString>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let items = Vec::<Item<T>>::deserialize(deserializer)?;
        Ok(items.into_iter().map(|Item(text)| text).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Texts {
        #[serde(with = "super")]
        path: PathBuf,
        #[serde(with = "super::optional")]
        argument: Option<OsString>,
        #[serde(with = "super::list")]
        files: Vec<PathBuf>,
    }

    fn text() -> impl Strategy<Value = OsString> {
        prop::collection::vec(any::<u8>(), 0..8).prop_map(OsString::from_vec)
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(
            path in text(), argument in prop::option::of(text()), files in prop::collection::vec(text(), 0..3),
        ) {
            let files = files.into_iter().map(PathBuf::from).collect();
            let texts = Texts { path: path.into(), argument, files };
            let written = serde_json::to_string(&texts).unwrap();
            prop_assert_eq!(serde_json::from_str::<Texts>(&written).unwrap(), texts);
        }
    }

    #[test]
    fn what_is_utf8_is_a_text_and_anything_else_is_bytes() {
        let texts = Texts {
            path: "/etc/\u{e9}".into(),
            argument: None,
            files: vec![OsString::from_vec(b"a\xff".to_vec()).into()],
        };
        let written = "{\"path\":\"/etc/\u{e9}\",\"argument\":null,\"files\":[[97,255]]}";
        assert_eq!(serde_json::to_string(&texts).unwrap(), written);
        for wrong in
            ["{\"path\":5,\"argument\":null,\"files\":[]}", "{\"path\":[256],\"argument\":null,\"files\":[]}"]
        {
            assert!(serde_json::from_str::<Texts>(wrong).is_err(), "{wrong}");
        }
    }
}
