//! How a client is written in a record: as its text, which for a single address is the same as in older journals.

use postern_core::Client;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(client: &Client, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(client)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Client, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|wrong| D::Error::custom(format!("{text:?} is {wrong}")))
}
