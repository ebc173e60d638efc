//! Event: something that the daemon reports.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Something that the daemon reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since 1970 by the machine's clock.
    pub time_ms: u64,
    /// Its kind, as the log calls it.
    pub kind: String,
    /// `error`, `warn`, `info` or `debug`.
    pub severity: String,
    /// Whose it is; none if it is the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The name of the rule that it is about, among its tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The client that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The door that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// What happened, in words.
    pub text: String,
    /// What else is in it, as in the log of JSON.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}
