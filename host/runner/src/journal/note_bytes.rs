//! A note as numbers of a record, which can be closed whatever became of them.

use postern_core::OpeningNote;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(note: &OpeningNote, serializer: S) -> Result<S::Ok, S::Error> {
    note.as_bytes().serialize(serializer)
}

/// What is no note of this version's costs the owners, and never the record.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OpeningNote, D::Error> {
    let written = serde_json::Value::deserialize(deserializer)?;
    let bytes = serde_json::from_value::<Vec<u8>>(written).ok();
    Ok(bytes.and_then(|bytes| OpeningNote::from_bytes(&bytes)).unwrap_or_default())
}
