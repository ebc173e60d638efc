//! How a client stands in a record: as people write it, which for one address is what it was before there were others.

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
