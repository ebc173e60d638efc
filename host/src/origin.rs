//! Origin: where the engine's configurations come from, with all that goes with their files: it reads no file itself.
//!
//! In one process that is [`LocalOrigin`], which has the files at hand; an engine that can open none asks the supervisor, through
//! [`crate::roles::RemoteOrigin`]. The two are told apart nowhere else.

mod local;
mod presence;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_config::{Config, ConfigReading, ConfigSource, Mistake, OneTime, ProgramAdvice, RuleFile};
use postern_core::{ConfigIdentity, DoorId, GuardDoor, Likeness, ModuleDigest, RuleId, TenantId};
use postern_sandbox::CodeSource;
use serde::{Deserialize, Serialize};

use crate::state;
use crate::watch::Noticed;

pub(crate) use local::{FirstLook, LocalOrigin, LocalPreparation};

/// Takes lines.
pub(crate) type TellLines = Box<dyn FnOnce(&[String]) + Send>;

/// Where configurations come from.
pub(crate) trait Origin: Send + Sync {
    /// What never changes.
    fn facts(&self) -> &OriginFacts;

    /// The notifications about its files.
    fn noticed(&self) -> &Arc<Noticed>;

    /// Begins to prepare a configuration; does not wait. Tickets grow. With `avoids`, files on which others hang are not read.
    fn prepare(&self, ticket: u64, avoids: bool) -> Arc<dyn Preparation>;

    /// Warnings about a configuration that was read with this ticket, a line each. May never return.
    fn advice(&self, ticket: u64, config: &Config) -> Vec<String>;

    /// Of these, those about programs that it has run; none if that cannot be known now. May never return.
    fn program_advice(&self, ticket: u64, config: &Config) -> Option<Vec<ProgramAdvice>>;

    /// The doors of this table are in place, and its configuration, which is `config`, is in force: its rules run these modules. Of refused
    /// tenants it has the rules with the numbers `kept`.
    fn in_force(&self, config: &Config, modules: &[(TenantId, ModuleDigest)], table: u32, kept: &[u32]);

    /// Which of these rules, which are in force, have lost their files; none if that cannot be known now. May never return.
    fn gone(&self, rules: &[RuleFile]) -> Option<HashSet<RuleId>>;

    /// Uses a one-time sequence up, which is that of the rule with this number in the configuration of a table. May never return.
    ///
    /// # Errors
    /// If that cannot be done, in words.
    fn claim(&self, table: u32, rule: u32, line: &OneTime) -> Result<(), String>;
}

/// One configuration that is being prepared.
pub(crate) trait Preparation: Send + Sync {
    /// The guard doors as far as they can be read, whatever else is wrong. May never return. Not asked for if [`OriginFacts::guarded`] says
    /// that they are in place.
    fn guards(&self) -> Vec<GuardDoor>;

    /// Reads it, as it is now. May never return.
    fn read(&self) -> NumberedReading;

    /// The code of the modules of what was read.
    fn code<'a>(&'a self, config: &'a Config) -> Box<dyn CodeSource + 'a>;

    /// Opens the journal, if `config` needs one or an earlier run left one. May never return.
    fn open_journal(&self, config: &Config) -> state::Opened;

    /// Hands over what has begun and not ended, a line each, the oldest first; perhaps later, and on another thread.
    fn doing(&self, tell: TellLines);

    /// Notes that a newer one has begun: this one may be of no use any more.
    fn overtake(&self);

    /// Whether a newer one has begun.
    fn is_overtaken(&self) -> bool;
}

/// What follows from where a configuration comes from, whatever it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OriginFacts {
    /// Its main file.
    #[serde(with = "postern_core::os_text")]
    pub(crate) file: PathBuf,
    /// As [`ConfigSource::identity`].
    pub(crate) identity: Option<ConfigIdentity>,
    /// As [`ConfigSource::needs_journal`].
    pub(crate) needs_journal: bool,
    /// As [`ConfigSource::uses_tokens`].
    pub(crate) uses_tokens: bool,
    /// As [`ConfigSource::likeness`].
    pub(crate) likeness: Likeness,
    /// Whether there were guard doors, if they have been put in place already.
    pub(crate) guarded: Option<bool>,
}

impl OriginFacts {
    /// Those of a source whose guard doors are not in place yet.
    pub(crate) fn of(source: &dyn ConfigSource) -> Self {
        Self {
            file: source.file().to_owned(),
            identity: source.identity(),
            needs_journal: source.needs_journal(),
            uses_tokens: source.uses_tokens(),
            likeness: source.likeness(),
            guarded: None,
        }
    }
}

/// The mistake of a configuration that wants every barrier, if some are missing.
pub(crate) fn mistake_of_strict(file: &Path, missing: &[String]) -> Option<Mistake> {
    let (first, rest) = missing.split_first()?;
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    let what = format!("\"strict\" is not possible here, for want of {first}{more}");
    Some(Mistake { file: file.to_owned(), line: None, key: "sandbox".to_owned(), what })
}

/// A configuration as it was read, and its numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NumberedReading {
    pub(crate) reading: ConfigReading,
    /// Only if other processes know the doors by number, and if the whole of it can be put in place.
    pub(crate) numbers: Option<Numbers>,
}

/// The numbers by which processes that keep doors know those of one configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    /// The doors table that the other processes have of it. A newer one has a higher number.
    pub(crate) table: u32,
    /// Each door's number.
    pub(crate) doors: BTreeMap<Arc<str>, DoorId>,
}
