//! TenantGrant: what a tenant's rules may watch and open, as `[tenants.NAME.grant]` says it. What is left out is refused.

use std::sync::Arc;
use std::time::Duration;

use postern_core::{ANY_INTERFACE, MAX_PAYLOAD, WatchGrant, Width};
use postern_text::{Mistake, duration};
use serde::{Deserialize, Serialize};

use super::{KnownInterfaces, Machine};
use crate::ceilings::Ceilings;
use crate::door::prefixes;
use crate::rule_file::RuleFile;
use crate::table::{At, Table};
use crate::values::watched_ports;

/// Most ranges of ports of one grant; each of a module's watches is held to all of them.
const MOST_RANGES: usize = 1024;

/// What a tenant's rules may watch and open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantGrant {
    /// Which packets they may ask to see.
    pub watch: WatchGrant,
    /// Interfaces whose packets they may see.
    pub interfaces: GrantedInterfaces,
    /// The doors that they may open, by name; none that is not here.
    pub doors: Vec<Arc<str>>,
    /// For how long; none: no longer than a door's own `for`.
    pub longest: Option<Duration>,
    /// Widths of prefixes that they may open doors for, where the doors allow it.
    pub prefixes: Vec<Width>,
}

/// Interfaces whose packets a tenant's rules may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantedInterfaces {
    /// All that are captured on.
    All,
    /// Those of these names.
    These(Vec<Arc<str>>),
}

impl Default for GrantedInterfaces {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl TenantGrant {
    /// What a tenant's table says.
    pub(super) fn read(tenant: &Table<'_>, machine: Machine<'_>) -> Self {
        let Some(grant) = tenant.table("grant") else { return Self::default() };
        let watch = watch(&grant);
        let interfaces = interfaces(&grant, machine.interfaces);
        let doors = names(&grant, "doors", Some(machine.doors), "door");
        let longest = grant.duration("for", Ceilings::SHORTEST..=machine.longest).map(|at| at.value);
        let prefixes = prefixes(&grant).unwrap_or_default();
        grant.finish();
        Self { watch, interfaces, doors, longest, prefixes }
    }

    /// Whether a rule may open this door.
    pub(crate) fn has_door(&self, door: &str) -> bool {
        self.doors.iter().any(|granted| **granted == *door)
    }

    /// What a rule's file asks for beyond the grant; `of` says whose grant it is. What there is besides is none of the tenant's business.
    pub(super) fn check(&self, of: &str, rule: &RuleFile, mistakes: &mut Vec<Mistake>) {
        let told = |what: String| format!("{what}, as [tenants.{of}.grant] in postern.toml says");
        for (n, door) in rule.doors.iter().enumerate().filter(|(_, door)| !self.has_door(door)) {
            let granted = listed(&self.doors, "it may open ", "it may open none");
            mistakes
                .push(rule.door_mistake(n, told(format!("tenant {of} is not granted `{door}`; {granted}"))));
        }
        if let (Some(lasts), Some(longest)) = (rule.lasts, self.longest)
            && lasts > longest
        {
            let (lasts, longest) = (duration::show(lasts), duration::show(longest));
            let what = format!("{lasts} is longer than tenant {of} may open a door; use at most {longest}");
            mistakes.push(rule.lasts_mistake(told(what)));
        }
        let widths: Vec<_> = self.prefixes.iter().map(ToString::to_string).collect();
        for width in rule.prefixes.iter().filter(|width| !self.prefixes.contains(width)) {
            let granted = listed(&widths, "it may open for ", "it may open for single addresses only");
            mistakes
                .push(rule.prefixes_mistake(told(format!("tenant {of} is not granted {width}; {granted}"))));
        }
        let GrantedInterfaces::These(interfaces) = &self.interfaces else { return };
        if interfaces.is_empty() {
            let what = format!("tenant {of} is granted no interface, so its rules would see no packet");
            mistakes.push(rule.whole_mistake(told(what)));
            return;
        }
        for (n, name) in rule.interfaces.iter().enumerate().filter(|(_, name)| !interfaces.contains(name)) {
            let granted = listed(interfaces, "it may see packets of ", "");
            mistakes.push(
                rule.interface_mistake(n, told(format!("tenant {of} is not granted `{name}`; {granted}"))),
            );
        }
    }

    /// The interfaces whose packets a rule sees that names these in its file, or none: those that are not granted are left out.
    pub fn interfaces_of(&self, named: &[Arc<str>]) -> Vec<Arc<str>> {
        let granted = match &self.interfaces {
            GrantedInterfaces::All => return named.to_vec(),
            GrantedInterfaces::These(granted) => granted,
        };
        let is_named = |name: &&Arc<str>| named.is_empty() || named.contains(name);
        let both: Vec<_> = granted.iter().filter(is_named).cloned().collect();
        // An empty list is all interfaces; none has an empty name.
        if both.is_empty() { vec!["".into()] } else { both }
    }
}

fn watch(grant: &Table<'_>) -> WatchGrant {
    let mut ports = Vec::new();
    let texts = grant.texts("watch").unwrap_or_default();
    if texts.len() > MOST_RANGES {
        grant.mistake(&grant.place_of("watch"), format!("{} ranges; at most {MOST_RANGES}", texts.len()));
    }
    for At { value, place } in texts.into_iter().take(MOST_RANGES) {
        match watched_ports(value) {
            Ok(range) => ports.push(range),
            Err(what) => grant.mistake(&place, what),
        }
    }
    WatchGrant {
        ports,
        any_port: grant.flag("any_port").unwrap_or(false),
        anywhere: grant.flag("anywhere").unwrap_or(false),
        payload: grant.number("payload", 0..=MAX_PAYLOAD).unwrap_or(0),
    }
}

fn interfaces(grant: &Table<'_>, captured: KnownInterfaces<'_>) -> GrantedInterfaces {
    let texts = grant.texts("interfaces").unwrap_or_default();
    if let [At { value, .. }] = &texts[..]
        && *value == ANY_INTERFACE
    {
        return GrantedInterfaces::All;
    }
    if let Some(any) = texts.iter().find(|at| at.value == ANY_INTERFACE) {
        grant.mistake(&any.place, "\"any\" is all interfaces; leave out the others, or it");
    }
    let there = match captured {
        KnownInterfaces::These(captured) => Some(captured),
        KnownInterfaces::Unknown => None,
    };
    GrantedInterfaces::These(names(grant, "interfaces", there, "captured interface"))
}

/// Names that are among those that are there, if these are known, each once.
fn names(grant: &Table<'_>, key: &'static str, there: Option<&[String]>, kind: &str) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for At { value, place } in grant.texts(key).unwrap_or_default() {
        let is_known = there.is_some_and(|there| there.iter().any(|name| name == value));
        if value == ANY_INTERFACE && !is_known {
            // Said already.
        } else if let Some(there) = there.filter(|_| !is_known) {
            let known = listed(there, "there are ", "there is none");
            grant.mistake(&place, format!("there is no {kind} `{value}`; {known}"));
        } else if names.iter().any(|name| **name == *value) {
            grant.mistake(&place, format!("`{value}` is named twice"));
        } else {
            names.push(value.into());
        }
    }
    names
}

fn listed<T: AsRef<str>>(names: &[T], some: &str, none: &str) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { none.to_owned() } else { format!("{some}{}", names.join(", ")) }
}
