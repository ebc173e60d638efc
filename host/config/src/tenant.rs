//! Tenant: an owner of rules besides the host, as `[tenants.NAME]` says it.

mod grant;
mod limits;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postern_core::{Bounds, ModuleSource, TenantId, TenantLimits, Width};
use postern_text::Mistake;
use serde::{Deserialize, Serialize};

use crate::ceilings::Ceilings;
use crate::module_signature::{MOST_SIGNATURE, TrustedKey, signature_file};
use crate::name::{NAME_RULE, is_name};
use crate::rule_doors::{check_doors_once, check_prefixes};
use crate::rule_file::RuleFile;
use crate::table::{At, Table, ValuePlace};
use crate::tenant_files::FileBeside;
use crate::tenant_user::{self, TenantUser, UserKey};

pub use grant::{GrantedInterfaces, TenantGrant};
pub use limits::TenantCeilings;

/// What is kept of each is bounded, and so are they.
const MAX_TENANTS: usize = 1024;
/// Most keys of a tenant; each module may be held against all of them.
const MAX_KEYS: usize = 16;

/// An owner of rules, with a folder of rule files and a grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tenant {
    /// Who it is.
    pub id: TenantId,
    /// The folder of its rule files.
    #[serde(with = "postern_core::os_text")]
    pub rules_dir: PathBuf,
    /// What its rules may watch and open.
    pub grant: TenantGrant,
    /// Whether all its rules are on trial.
    pub is_trial: bool,
    /// What it may have.
    pub ceilings: TenantCeilings,
    /// What its rules may use together.
    pub limits: TenantLimits,
    /// As whom its files are read; none: as the host's are.
    pub user: Option<TenantUser>,
    /// Whose signatures its modules need that are files; none: they need none.
    pub trusted_keys: Option<Vec<TrustedKey>>,
    rules_place: ValuePlace,
}

impl Tenant {
    /// A mistake in what `postern.toml` at `file` says of its folder.
    pub(crate) fn rules_mistake(&self, file: &Path, what: String) -> Mistake {
        self.rules_place.mistake(file, what)
    }

    /// The same with another folder.
    pub(crate) fn with_rules_dir(self, rules_dir: PathBuf) -> Self {
        Self { rules_dir, ..self }
    }

    /// What none of its rules can go beyond, where no opening lasts longer than `longest`.
    pub(crate) fn ceilings(&self, longest: Duration) -> Ceilings {
        let TenantCeilings { rules, instance, .. } = self.ceilings;
        Ceilings { longest, memory: self.limits.memory, rules, instance }
    }

    /// The files in its folder that are read for the modules of these rules, each once: the modules, and their signatures if they need any.
    pub(crate) fn files_beside(&self, rules: &[RuleFile]) -> Vec<FileBeside> {
        let mut seen = HashSet::new();
        let modules = rules.iter().filter_map(|rule| match &rule.module {
            ModuleSource::File(path) => Some(path),
            ModuleSource::Stock(_) => None,
        });
        let modules = modules.filter(|path| path.parent() == Some(&*self.rules_dir) && seen.insert(*path));
        let files = modules.flat_map(|path| {
            let signature = self.trusted_keys.as_ref().map(|_| (signature_file(path), MOST_SIGNATURE));
            [(path.clone(), self.ceilings.module)].into_iter().chain(signature)
        });
        let named =
            files.filter_map(|(path, most)| Some(FileBeside { name: path.file_name()?.to_owned(), most }));
        named.collect()
    }

    /// Whether its rules may run a module that was loaded because of the signature of `signer`, if because of any.
    #[must_use]
    pub fn may_run(&self, module: &ModuleSource, signer: Option<&str>) -> bool {
        match (&self.trusted_keys, module) {
            (None, _) | (_, ModuleSource::Stock(_)) => true,
            (Some(keys), ModuleSource::File(_)) => keys.iter().any(|key| signer == Some(key.text())),
        }
    }

    /// What the files of its rules say that does not fit to its grant, and to the widths that each door allows.
    pub(crate) fn check<'a>(
        &self,
        rules: &[RuleFile],
        widths_of: impl Fn(&str) -> &'a [Width],
        mistakes: &mut Vec<Mistake>,
    ) {
        let name = self.id.to_string();
        for rule in rules {
            self.grant.check(&name, rule, mistakes);
            check_doors_once(rule, mistakes);
            let may_open = |door: &Arc<str>| self.grant.has_door(door);
            let may_widen = |width| self.grant.prefixes.contains(width);
            if rule.doors.iter().all(may_open) && rule.prefixes.iter().all(may_widen) {
                check_prefixes(rule, &widths_of, mistakes);
            }
        }
    }
}

/// The interfaces that are captured on, as far as they are known where a tenant's table is read.
#[derive(Clone, Copy)]
pub(crate) enum KnownInterfaces<'a> {
    These(&'a [String]),
    /// What is granted is taken as it is written.
    Unknown,
}

/// What of the machine tenants get a part of.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    /// The names of all doors, those with mistakes included.
    pub(crate) doors: &'a [String],
    pub(crate) interfaces: KnownInterfaces<'a>,
    /// No opening lasts longer.
    pub(crate) longest: Duration,
    /// Openings at once.
    pub(crate) openings: usize,
    /// What is remembered for all rules together.
    pub(crate) memory: Bounds,
}

/// Reads all of them from `postern.toml` at `file`, by name.
pub(crate) fn read(file: &Path, root: &Table<'_>, machine: Machine<'_>) -> Vec<Tenant> {
    let mut tenants: Vec<Tenant> = Vec::new();
    let tables = root.tables("tenants");
    if tables.len() > MAX_TENANTS {
        root.mistake(&root.place_of("tenants"), format!("{} tenants; at most {MAX_TENANTS}", tables.len()));
        return tenants;
    }
    for (name, table) in tables {
        let is_fit = name != TenantId::HOST && is_name(name);
        if name == TenantId::HOST {
            let what =
                "is the owner of the rules that `rules` names, with every door; call this one something else";
            table.mistake(&table.place(), what);
        } else if !is_fit {
            table.mistake(&table.place(), NAME_RULE);
        }
        let rules = table.folder("rules");
        if rules.is_none() && !table.has("rules") {
            table
                .mistake(&table.place(), format!("no rules; say where they are: rules = \"tenants/{name}\""));
        }
        let is_trial = table.flag("trial").unwrap_or(false);
        let grant = TenantGrant::read(&table, machine);
        let (ceilings, limits) = limits::read(&table, machine);
        let user = tenant_user::read(&table);
        let trusted_keys = trusted_keys(&table);
        table.finish();
        let Some(At { value, place }) = rules.filter(|_| is_fit) else { continue };
        let user = match user {
            UserKey::Unsaid => None,
            UserKey::Is(user) => Some(user),
            UserKey::Wrong => continue,
        };
        let rules_dir = file.with_file_name(value);
        let id = TenantId::new(name);
        tenants.push(Tenant {
            id,
            rules_dir,
            grant,
            is_trial,
            ceilings,
            limits,
            trusted_keys,
            user,
            rules_place: place,
        });
    }
    tenants.sort_by(|a, b| a.id.cmp(&b.id));
    tenants
}

/// What `trust` says.
fn trusted_keys(tenant: &Table<'_>) -> Option<Vec<TrustedKey>> {
    let texts = tenant.texts("trust")?;
    if texts.len() > MAX_KEYS {
        tenant.mistake(&tenant.place_of("trust"), format!("{} keys; at most {MAX_KEYS}", texts.len()));
    }
    let mut keys: Vec<TrustedKey> = Vec::new();
    for At { value, place } in texts.into_iter().take(MAX_KEYS) {
        match value.parse() {
            Ok(key) if keys.contains(&key) => {
                tenant.mistake(&place, format!("the key {} is named twice", key.id));
            }
            Ok(key) => keys.push(key),
            Err(no_key) => tenant.mistake(&place, no_key),
        }
    }
    Some(keys)
}

#[cfg(test)]
mod tests;
