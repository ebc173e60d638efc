//! Tenant: an owner of rules besides the host, as `[tenants.NAME]` says it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_core::TenantId;
use postern_text::Mistake;
use serde::{Deserialize, Serialize};

use crate::name::{NAME_RULE, is_name};
use crate::rule_file::RuleFile;
use crate::table::{At, Table, ValuePlace};

/// What is kept of each is bounded, and so are they.
const MAX_TENANTS: usize = 1024;

/// An owner of rules, with a folder of rule files and a grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tenant {
    /// Who it is.
    pub id: TenantId,
    /// The folder of its rule files.
    #[serde(with = "postern_core::os_text")]
    pub rules_dir: PathBuf,
    /// The doors that its rules may open, by name; none that is not here.
    pub doors: Vec<Arc<str>>,
    rules_place: ValuePlace,
}

impl Tenant {
    /// A mistake in what `postern.toml` at `file` says of its folder.
    pub(crate) fn rules_mistake(&self, file: &Path, what: String) -> Mistake {
        let ValuePlace { line, key } = self.rules_place.clone();
        Mistake { file: file.to_owned(), line: Some(line), key, what }
    }

    /// Whether one of its rules may open this door.
    pub(crate) fn may_open(&self, door: &str) -> bool {
        self.doors.iter().any(|granted| **granted == *door)
    }

    /// The rule's doors that are outside the grant. What doors there are besides is none of the tenant's business.
    pub(crate) fn check_doors(&self, rule: &RuleFile, mistakes: &mut Vec<Mistake>) {
        let granted = match self.doors.join(", ") {
            none if none.is_empty() => "it may open none".to_owned(),
            granted => format!("it may open {granted}"),
        };
        for (n, door) in rule.doors.iter().enumerate().filter(|(_, door)| !self.may_open(door)) {
            let id = &self.id;
            let what = format!(
                "tenant {id} is not granted `{door}`; {granted}, as [tenants.{id}.grant] in postern.toml says"
            );
            mistakes.push(rule.door_mistake(n, what));
        }
    }
}

/// Reads all of them from `postern.toml` at `file`, by name. `door_names` are all doors, those with mistakes included.
pub(crate) fn read(file: &Path, root: &Table<'_>, door_names: &[String]) -> Vec<Tenant> {
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
        let doors = grant(&table, door_names);
        table.finish();
        let Some(At { value, place }) = rules.filter(|_| is_fit) else { continue };
        let rules_dir = file.with_file_name(value);
        tenants.push(Tenant { id: TenantId::new(name), rules_dir, doors, rules_place: place });
    }
    tenants.sort_by(|a, b| a.id.cmp(&b.id));
    tenants
}

/// `[tenants.NAME.grant]`. What is left out is refused.
fn grant(tenant: &Table<'_>, door_names: &[String]) -> Vec<Arc<str>> {
    let Some(grant) = tenant.table("grant") else { return Vec::new() };
    let mut doors: Vec<Arc<str>> = Vec::new();
    for At { value, place } in grant.texts("doors").unwrap_or_default() {
        if !door_names.iter().any(|name| name == value) {
            let known = match door_names.join(", ") {
                none if none.is_empty() => "there is none".to_owned(),
                known => format!("there are {known}"),
            };
            grant.mistake(&place, format!("there is no door `{value}`; {known}"));
        } else if doors.iter().any(|door| **door == *value) {
            grant.mistake(&place, format!("`{value}` is named twice"));
        } else {
            doors.push(value.into());
        }
    }
    grant.finish();
    doors
}

#[cfg(test)]
mod tests;
