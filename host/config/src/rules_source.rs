//! RulesSource: a folder of rule files without a postern.toml as a source of configurations, for a look at what the rules do: it has the doors
//! that they name, and those guard nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_core::{
    ANY_INTERFACE, Again, ConfigIdentity, GuardDoor, Likeness, NetDoor, Observer, OnClose, TenantId, Width,
};

use crate::activity::Activity;
use crate::advice::Advice;
use crate::ceilings::{Ceilings, DEFAULT_LONGEST};
use crate::config::{Config, ConfigReading, DEFAULT_OPENINGS};
use crate::door::{DEFAULT_FOR, Door, DoorKind};
use crate::rule_doors::check_doors_once;
use crate::rule_file::{OneTime, RuleFile};
use crate::rule_folder::{FolderReading, Folders};
use crate::source::ConfigSource;
use crate::tenant_files::TenantFiles;
use crate::trust::Trust;

/// A folder of rule files, and which owners' files are accepted.
#[derive(Clone, Debug)]
pub struct RulesSource {
    dir: PathBuf,
    trust: Trust,
}

impl RulesSource {
    /// The rule files in `dir`.
    #[must_use]
    pub const fn new(dir: PathBuf, trust: Trust) -> Self {
        Self { dir, trust }
    }
}

impl ConfigSource for RulesSource {
    fn read(&self, files: &dyn TenantFiles, activity: &Activity, _observer: &dyn Observer) -> ConfigReading {
        let Self { dir, trust } = self;
        let any = vec![ANY_INTERFACE.to_owned()];
        let bare = Config::of_knockd(any, false, DEFAULT_LONGEST, DEFAULT_OPENINGS);
        let mut mistakes = Vec::new();
        let folders = Folders { trust: *trust, activity, files };
        let ceilings = Ceilings::of_host(bare.longest, bare.memory);
        let FolderReading { files, mut rules, .. } =
            folders.read(&TenantId::host(), dir, ceilings, &mut mistakes);
        for rule in &mut rules {
            check_doors_once(rule, &mut mistakes);
            // It is not known which there are.
            rule.interfaces.clear();
        }
        let config = Config { rules_dir: dir.clone(), doors: doors(&rules), rules, trust: *trust, ..bare };
        ConfigReading { config: Some(config), mistakes, files, ..ConfigReading::default() }
    }

    fn guards(&self) -> Vec<GuardDoor> {
        Vec::new()
    }

    fn identity(&self) -> Option<ConfigIdentity> {
        None
    }

    fn file(&self) -> &Path {
        &self.dir
    }

    fn watched(&self) -> Option<&Path> {
        None
    }

    fn journal_stem(&self) -> &'static str {
        "rules"
    }

    fn needs_journal(&self) -> bool {
        false
    }

    fn uses_tokens(&self) -> bool {
        true
    }

    fn likeness(&self) -> Likeness {
        Likeness::Exact
    }

    fn advice(&self, _config: &Config) -> Vec<Advice> {
        Vec::new()
    }

    fn claim(&self, line: &OneTime) -> Result<(), String> {
        // No key of a rule file makes such a rule.
        Err(format!("{}: rule files have no one-time sequences", line.path.display()))
    }
}

/// The doors that these rules name. Each can be opened for the prefixes that any of its rules may have.
fn doors(rules: &[RuleFile]) -> BTreeMap<Arc<str>, Door> {
    let mut widths: BTreeMap<&Arc<str>, Vec<Width>> = BTreeMap::new();
    for rule in rules {
        for door in &rule.doors {
            widths.entry(door).or_default().extend(&rule.prefixes);
        }
    }
    let door = |(name, prefixes): (&Arc<str>, _)| {
        let name = Arc::clone(name);
        let (ports, always, on_close) = (Vec::new(), Vec::new(), OnClose::Keep);
        let guard = GuardDoor { name: Arc::clone(&name), ports, always, prefixes, on_close };
        let kind = DoorKind::Net(NetDoor::Guard(guard));
        (Arc::clone(&name), Door::unplaced(name, DEFAULT_FOR, kind, Again::Extend))
    };
    widths.into_iter().map(door).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tenant_files::OwnFiles;

    fn read(files: &[(&str, &str)]) -> ConfigReading {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        RulesSource::new(dir.path().to_owned(), Trust::Anybody).read(&OwnFiles, &Activity::default(), &())
    }

    #[test]
    fn has_the_doors_that_its_rules_name() {
        let rule = "module = \"sequence\"\ninterfaces = [\"wg0\"]\n";
        let reading = read(&[
            ("a.toml", &format!("{rule}doors = [\"ssh\", \"web\"]\nprefixes = [\"ipv6/64\"]\n")),
            ("b.toml", &format!("{rule}door = \"ssh\"\nprefixes = [\"ipv4/24\"]\n")),
            ("notes.txt", "no rule"),
        ]);
        assert!(reading.mistakes.is_empty(), "{:?}", reading.mistakes);
        let config = reading.config.unwrap();
        let doors: Vec<_> = config.doors.values().map(|door| (&*door.name, door.prefixes().len())).collect();
        assert_eq!(doors, [("ssh", 2), ("web", 1)]);
        let rules: Vec<_> = config.rules.iter().map(|rule| (&*rule.id.name, rule.interfaces.len())).collect();
        assert_eq!(rules, [("a", 0), ("b", 0)]);
    }

    #[test]
    fn says_what_is_wrong() {
        let reading = read(&[("a.toml", "module = \"sequence\"\n")]);
        let mistakes: Vec<_> = reading.mistakes.iter().map(ToString::to_string).collect();
        assert!(matches!(&mistakes[..], [one] if one.contains("a.toml:1: no door; say")), "{mistakes:?}");
        let nowhere = RulesSource::new("/nowhere".into(), Trust::Anybody);
        let reading = nowhere.read(&OwnFiles, &Activity::default(), &());
        assert!(reading.mistakes[0].to_string().contains("/nowhere"), "{:?}", reading.mistakes);
    }
}
