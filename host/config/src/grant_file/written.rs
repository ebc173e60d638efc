//! The text of a grant file.

use std::fmt::{Display, Write as _};

use postern_core::{ANY_INTERFACE, Bounds, RuleLimits, TenantLimits, WatchGrant};
use postern_text::duration;

use super::{GrantFile, GrantedDoor};
use crate::module_signature::TrustedKey;
use crate::tenant::{GrantedInterfaces, TenantCeilings, TenantGrant};
use crate::trust::Trust;
use crate::values::show_size;

impl GrantFile {
    /// The file as it is written: reading it gives the same again. None if the path of the tenant's folder is no UTF-8, which no TOML can hold.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let Self { tenant, doors: granted, longest: longest_of_all, trust } = self;
        // Each by its parts, so that what is added there is not forgotten here.
        let id = &tenant.id;
        let TenantGrant { watch, interfaces, doors, longest, prefixes } = &tenant.grant;
        let WatchGrant { ports, any_port, anywhere, payload } = watch;
        let TenantCeilings { rules, module, compile, instance } = tenant.ceilings;
        let RuleLimits { cpu, memory } = instance;
        let TenantLimits { share, memory: remembered, openings, tokens, log } = tenant.limits;
        let folder = tenant.rules_dir.to_str()?;

        let mut text = Text(format!(
            "# What tenant {id} is granted, and what it may use. posternd writes this when a configuration comes into force;\n# `posternd check --tenant {id}` reads it.\n"
        ));
        text.value("strict_modes", *trust == Trust::Strict);
        text.table("limits");
        text.quoted("for", duration::show(*longest_of_all));
        for (name, GrantedDoor { lasts, prefixes }) in granted {
            text.table(&format!("doors.{name}"));
            text.quoted("for", duration::show(*lasts));
            text.list("prefixes", prefixes);
        }

        text.table(&format!("tenants.{id}"));
        text.quoted("rules", folder);
        if let Some(user) = &tenant.user {
            text.quoted("user", &user.name);
        }
        text.value("trial", tenant.is_trial);
        if let Some(keys) = &tenant.trusted_keys {
            text.list("trust", &keys.iter().map(TrustedKey::text).collect::<Vec<_>>());
        }

        text.table(&format!("tenants.{id}.grant"));
        text.list("watch", ports);
        text.value("any_port", any_port);
        text.value("anywhere", anywhere);
        match interfaces {
            GrantedInterfaces::All => text.list("interfaces", &[ANY_INTERFACE]),
            GrantedInterfaces::These(interfaces) => text.list("interfaces", interfaces),
        }
        text.value("payload", payload);
        text.list("doors", doors);
        if let Some(longest) = longest {
            text.quoted("for", duration::show(*longest));
        }
        text.list("prefixes", prefixes);

        text.table(&format!("tenants.{id}.limits"));
        text.value("rules", rules);
        text.quoted("module", show_size(module));
        text.quoted("compile", duration::show(compile));
        text.quoted("cpu", duration::show(cpu));
        text.quoted("share", share);
        text.quoted("memory", show_size(memory as u64));
        text.value("openings", openings);
        text.value("tokens", tokens);
        text.value("log", log);

        let Bounds { entries, bytes } = remembered;
        text.table(&format!("tenants.{id}.memory"));
        text.value("entries", entries);
        text.quoted("bytes", show_size(bytes as u64));
        Some(text.0)
    }
}

/// TOML as it grows, line by line.
struct Text(String);

impl Text {
    fn table(&mut self, name: &str) {
        self.0.push_str(&format!("\n[{name}]\n"));
    }

    fn value(&mut self, key: &str, value: impl Display) {
        // A String takes everything.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn quoted(&mut self, key: &str, value: impl Display) {
        self.value(key, toml::Value::from(value.to_string()));
    }

    /// An empty list is no list in these files: its key is left out.
    fn list(&mut self, key: &str, items: &[impl Display]) {
        if !items.is_empty() {
            let items: Vec<_> = items.iter().map(ToString::to_string).collect();
            self.value(key, toml::Value::from(items));
        }
    }
}
