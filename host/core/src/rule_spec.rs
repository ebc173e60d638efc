//! RuleSpec: a rule, as the configuration describes it and the sandbox loads it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bounds::Bounds;
use crate::rule_log_level::RuleLogLevel;
use crate::tenant::RuleId;
use crate::tenant_limits::CpuShare;
use crate::watch_grant::WatchGrant;

/// What must be known of a rule to load and run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Who it is.
    pub id: RuleId,
    /// The module it runs.
    pub module: ModuleSource,
    /// The settings that the module gets at its start, a JSON object.
    pub settings: Arc<str>,
    /// What its instances may use.
    pub limits: RuleLimits,
    /// CPU time that it may use in a second, all workers together, if it is the host's: rules of a tenant have the tenant's together.
    pub share: CpuShare,
    /// What the host remembers for it, all workers together.
    pub bounds: Bounds,
    /// The rules of its tenant that it shares progress with have the same.
    pub group: Arc<str>,
    /// Which packets it may ask to see.
    pub watch: Arc<WatchGrant>,
    /// Interfaces whose packets it sees; empty: all.
    pub interfaces: Vec<Arc<str>>,
    /// Whether it also sees packets that leave this machine.
    pub sees_outgoing: bool,
    /// Whether it is on trial: then it shares no progress with rules that are not, whatever their group.
    pub is_trial: bool,
    /// Which of the lines that its module writes are logged.
    pub log: RuleLogLevel,
    /// Half-finished knocks of a rule with another number are begun anew, even if the module says that they mean the same.
    pub memory_epoch: u32,
}

/// Where a module comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ModuleSource {
    /// Embedded in the daemon: one of [`ModuleSource::STOCK`].
    Stock(&'static str),
    /// A file.
    File(PathBuf),
}

impl ModuleSource {
    /// The names of the modules that the daemon brings along.
    pub const STOCK: [&'static str; 1] = ["sequence"];
}

/// A [`ModuleSource`] on its way to another process.
#[derive(Serialize, Deserialize)]
enum SentSource {
    Stock(String),
    File(#[serde(with = "crate::os_text")] PathBuf),
}

impl Serialize for ModuleSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sent = match self {
            Self::Stock(name) => SentSource::Stock((*name).to_owned()),
            Self::File(path) => SentSource::File(path.clone()),
        };
        sent.serialize(serializer)
    }
}

// Not derived: the name of a stock module is not borrowed from the message.
impl<'de> Deserialize<'de> for ModuleSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match SentSource::deserialize(deserializer)? {
            SentSource::Stock(name) => {
                let known = Self::STOCK.into_iter().find(|known| *known == name);
                let unknown = || D::Error::custom(format_args!("there is no stock module `{name}`"));
                known.map(Self::Stock).ok_or_else(unknown)
            }
            SentSource::File(path) => Ok(Self::File(path)),
        }
    }
}

/// What an instance of a rule may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleLimits {
    /// CPU time of one call, 1 to 100 ms. A call is stopped at the second look that finds it over, so up to 2 ms later.
    pub cpu: Duration,
    /// Bytes of linear memory and tables, all of them together; an element of a table counts as 8.
    pub memory: usize,
}

impl RuleLimits {
    /// The lower of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { cpu: self.cpu.min(other.cpu), memory: self.memory.min(other.memory) }
    }
}

impl Default for RuleLimits {
    fn default() -> Self {
        Self { cpu: Duration::from_millis(2), memory: 16 << 20 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_read_as_it_is_written_and_no_stock_module_is_made_up() {
        for module in [ModuleSource::Stock("sequence"), ModuleSource::File("/a/b.wasm".into())] {
            let written = serde_json::to_string(&module).unwrap();
            assert_eq!(serde_json::from_str::<ModuleSource>(&written).unwrap(), module);
        }
        let error = serde_json::from_str::<ModuleSource>("{\"Stock\":\"other\"}").unwrap_err();
        assert!(error.to_string().starts_with("there is no stock module `other`"), "{error}");
    }
}
