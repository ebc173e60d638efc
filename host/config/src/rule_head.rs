//! RuleHead: what of a rule must be known to try it alone: its module, its settings and what it may use. Doors and tenants are no part of it.

use std::path::{Path, PathBuf};

use postern_core::{Bounds, ModuleSource, RuleLimits, TenantId};
use postern_text::Mistake;

use crate::ceilings::Ceilings;
use crate::memory;
use crate::rule_file::RuleFile;
use crate::settings_places::SettingsPlaces;
use crate::table::{Table, TomlSource};

/// The keys that a rule's file has in common with whatever else says how a rule is tried.
#[derive(Clone, Debug)]
pub struct RuleHead {
    /// The module it runs; none if none is named, or it is wrong.
    pub module: Option<ModuleSource>,
    /// What the host remembers for it.
    pub bounds: Bounds,
    /// What its instances may use.
    pub limits: RuleLimits,
    /// What is under `[settings]`, as a JSON object.
    pub settings: String,
    /// Where they stand; none if no file of TOML says them.
    settings_places: Option<(PathBuf, SettingsPlaces)>,
}

/// What else may stand in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleHeadKeys {
    /// Nothing.
    Own,
    /// Everything that a rule's file may say: it is not looked at.
    OfRuleFile,
}

impl RuleHead {
    /// These settings, a JSON object, and nothing else.
    #[must_use]
    pub fn of_settings(settings: String) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Reads `module`, `[limits]`, `[memory]` and `[settings]` of the TOML `text` of `file`. Paths count from the file's folder.
    #[must_use]
    pub fn read(file: &Path, text: &str, keys: RuleHeadKeys) -> (Self, Vec<Mistake>) {
        let source = TomlSource::new(file, text);
        let document = source.parse();
        let head = document.as_ref().map(|table| Self::from_table(file, Table::root(&source, table), keys));
        drop(document);
        (head.unwrap_or_default(), source.into_mistakes())
    }

    fn from_table(file: &Path, table: Table<'_>, keys: RuleHeadKeys) -> Self {
        let host = TenantId::host();
        let ceilings = Ceilings::UNKNOWN;
        let module = table.text("module").and_then(|at| RuleFile::module(file, &table, &at));
        let bounds = memory::of_a_rule(&table, &host, ceilings.memory);
        let (limits, _) = RuleFile::limits(&host, &table, ceilings.instance);
        let (settings, places) = SettingsPlaces::read(&table);
        if keys == RuleHeadKeys::Own {
            table.finish();
        }
        Self { module, bounds, limits, settings, settings_places: Some((file.to_owned(), places)) }
    }

    /// What the module says is wrong with these settings, each at its place in the file; none if they are of no file that has lines.
    #[must_use]
    pub fn settings_mistakes(&self, refusal: &str) -> Option<Vec<Mistake>> {
        let (file, places) = self.settings_places.as_ref()?;
        let mistakes = places.mistakes(refusal).into_iter();
        Some(mistakes.map(|(place, what)| place.mistake(file, what)).collect())
    }
}

impl Default for RuleHead {
    fn default() -> Self {
        Self {
            module: None,
            bounds: Bounds::OF_A_RULE,
            limits: RuleLimits::default(),
            settings: "{}".to_owned(),
            settings_places: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str, keys: RuleHeadKeys) -> (RuleHead, Vec<String>) {
        let (head, mistakes) = RuleHead::read(Path::new("a/b.scenario"), text, keys);
        (head, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn reads_what_a_rule_runs_with() {
        let text = "module = \"./x.wasm\"\n[limits]\ncpu = \"5ms\"\nmemory = \"32MiB\"\n[memory]\nentries = 2\n\
                    [settings]\nwithin = \"5s\"\n";
        let (head, mistakes) = read(text, RuleHeadKeys::Own);
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(head.module, Some(ModuleSource::File("a/x.wasm".into())));
        assert_eq!(head.limits, RuleLimits { cpu: Duration::from_millis(5), memory: 32 << 20 });
        assert_eq!(head.bounds.entries, 2);
        let refused = head.settings_mistakes("within: too long\nsequence is missing").unwrap();
        let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            refused,
            ["a/b.scenario:8: settings.within: too long", "a/b.scenario:7: settings: sequence is missing"]
        );
        assert!(RuleHead::default().settings_mistakes("within: too long").is_none());
        assert_eq!(head.settings, r#"{"within":"5s"}"#);
        let (empty, mistakes) = read("", RuleHeadKeys::Own);
        assert_eq!((empty.module, empty.settings.as_str(), mistakes.len()), (None, "{}", 0));
    }

    #[test]
    fn says_each_mistake_at_its_place() {
        let (head, mistakes) =
            read("module = \"other\"\ndoor = \"ssh\"\n[limits]\ncpu = 5\n", RuleHeadKeys::Own);
        assert_eq!(head.module, None);
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert!(mistakes[0].starts_with("a/b.scenario:1: module: there is no stock module `other`"));
        assert!(
            mistakes.iter().any(|it| it.starts_with("a/b.scenario:2: door: no such key")),
            "{mistakes:?}"
        );
        let (head, mistakes) = read("module = \"sequence\"\ndoor = \"ssh\"\n", RuleHeadKeys::OfRuleFile);
        assert_eq!((head.module, mistakes.len()), (Some(ModuleSource::Stock("sequence")), 0));
        assert!(read("module", RuleHeadKeys::Own).1[0].starts_with("a/b.scenario:1: not TOML"));
    }
}
