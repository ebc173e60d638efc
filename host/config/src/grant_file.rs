//! GrantFile: what a tenant may know of the configuration, as a file that the daemon writes and the tenant's own check reads.
//!
//! It looks as `postern.toml` does, and has of it what is granted to the tenant and what bounds that. It never says what a door guards or runs,
//! nor anything of the host's rules and of other tenants.

mod written;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;
use std::time::Duration;

use postern_core::{Bounds, TenantId, Width};
use postern_text::Mistake;

use crate::ceilings::Ceilings;
use crate::config::{CEILING_OPENINGS, Config};
use crate::door::{DEFAULT_FOR, prefixes};
use crate::table::{Table, TomlSource};
use crate::tenant::{self, KnownInterfaces, Machine, Tenant};
use crate::trust::Trust;

/// What a tenant may know of the configuration.
#[derive(Clone, Debug)]
pub struct GrantFile {
    /// The tenant, with the path of its folder as it is from everywhere.
    pub tenant: Tenant,
    /// The doors that it is granted, by name.
    pub doors: BTreeMap<Arc<str>, GrantedDoor>,
    /// No opening of anybody lasts longer.
    pub longest: Duration,
    /// Which owners' files are accepted.
    pub trust: Trust,
}

/// What a tenant may know of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedDoor {
    /// How long it stays open, if the rule does not say.
    pub lasts: Duration,
    /// Widths of prefixes that it may be opened for and that the tenant is granted.
    pub prefixes: Vec<Width>,
}

impl GrantFile {
    /// What `tenant` may know of `config`, which is its configuration.
    #[must_use]
    pub fn of(config: &Config, tenant: &Tenant) -> Self {
        let granted = |name: &Arc<str>| {
            let door = config.doors.get(name)?;
            let is_granted = |width: &&Width| tenant.grant.prefixes.contains(width);
            let prefixes = door.prefixes().iter().filter(is_granted).copied().collect();
            Some((Arc::clone(name), GrantedDoor { lasts: door.lasts, prefixes }))
        };
        Self {
            tenant: tenant.clone().with_rules_dir(from_everywhere(&tenant.rules_dir)),
            doors: tenant.grant.doors.iter().filter_map(granted).collect(),
            longest: config.longest,
            trust: config.trust,
        }
    }

    /// Reads the text of `file`, which is that of the tenant named `id`; nothing if too little of it is right.
    pub(crate) fn read(id: &TenantId, file: &Path, text: &str) -> (Option<Self>, Vec<Mistake>) {
        let source = TomlSource::new(file, text);
        let document = source.parse();
        let read =
            document.as_ref().and_then(|table| Self::from_table(id, file, Table::root(&source, table)));
        drop(document);
        (read, source.into_mistakes())
    }

    fn from_table(id: &TenantId, file: &Path, table: Table<'_>) -> Option<Self> {
        let is_strict = table.flag("strict_modes").unwrap_or(true);
        let limits = table.table("limits");
        let longest = Ceilings::read_longest(limits.as_ref());
        if let Some(limits) = limits {
            limits.finish();
        }
        let doors: BTreeMap<_, _> = table
            .tables("doors")
            .into_iter()
            .map(|(name, door)| (name.into(), GrantedDoor::read(door, longest)))
            .collect();
        let names: Vec<_> = doors.keys().map(|name: &Arc<str>| name.to_string()).collect();
        // What all have together is nothing that a tenant knows.
        let machine = Machine {
            doors: &names,
            interfaces: KnownInterfaces::Unknown,
            longest,
            openings: CEILING_OPENINGS,
            memory: Bounds { entries: usize::MAX, bytes: usize::MAX },
        };
        let tenants = tenant::read(file, &table, machine);
        if !table.has_within("tenants", &id.to_string()) {
            let what = format!("says nothing of tenant {id}; it needs a table [tenants.{id}]");
            table.mistake(&table.place(), what);
        }
        table.finish();
        let tenant = tenants.into_iter().find(|tenant| tenant.id == *id)?;
        let trust = if is_strict { Trust::Strict } else { Trust::Anybody };
        Some(Self { tenant, doors, longest, trust })
    }

    /// The widths of prefixes that a door may be opened for; none if it is not granted.
    pub(crate) fn widths_of(&self, door: &str) -> &[Width] {
        self.doors.get(door).map_or(&[], |door| &door.prefixes)
    }
}

impl GrantedDoor {
    fn read(table: Table<'_>, longest: Duration) -> Self {
        let lasts = table.duration("for", Ceilings::SHORTEST..=longest).map_or(DEFAULT_FOR, |at| at.value);
        let prefixes = prefixes(&table).unwrap_or_default();
        table.finish();
        Self { lasts: lasts.min(longest), prefixes }
    }
}

/// A path that is the same for a process in another folder.
fn from_everywhere(path: &Path) -> PathBuf {
    absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
