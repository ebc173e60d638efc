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
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use expect_test::{Expect, expect};

    use crate::activity::Activity;
    use crate::config::{Config, ConfigReading};
    use crate::rule_file::LostDoor;
    use crate::trust::Trust;

    use super::*;

    const GOOD: &str =
        "interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\n[doors.web]\nguard = \"tcp/80\"\n";
    const OF_A: &str = "[tenants.a]\nrules = \"a\"\ngrant.doors = [\"web\"]\n";

    /// What a configuration says, and where it is.
    fn read(tenants: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, ConfigReading) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["rules", "a", "b"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("postern.toml"), format!("{GOOD}{tenants}")).unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let reading = Config::read(&dir.path().join("postern.toml"), Trust::Anybody, &Activity::default());
        (dir, reading)
    }

    /// The mistakes of the whole and of each tenant, without the folder.
    fn check(tenants: &str, files: &[(&str, &str)], expected: Expect) {
        let (dir, reading) = read(tenants, files);
        let of_tenants = reading
            .mistakes_of_tenants
            .iter()
            .flat_map(|(tenant, found)| found.iter().map(move |mistake| format!("{tenant}'s: {mistake}\n")));
        let told: String =
            reading.mistakes.iter().map(|mistake| format!("{mistake}\n")).chain(of_tenants).collect();
        expected.assert_eq(&told.replace(&format!("{}/", dir.path().display()), ""));
    }

    fn rule(door: &str) -> String {
        format!("module = \"sequence\"\ndoor = \"{door}\"\n[settings]\nsequence = [\"1/udp\"]\n")
    }

    #[test]
    fn a_tenant_has_rules_and_a_grant_and_nothing_else_yet() {
        check(
            "[tenants.host]\nrules = \"x\"\n[tenants.\"a b\"]\nrules = \"y\"\n[tenants.c]\nuser = \"c\"\n[tenants.c.grant]\ndoors = [\"web\", \"shh\", \"web\"]\nwatch = [\"tcp/1\"]\n[tenants.d]\nrules = \"rules\"\n[tenants.e]\nrules = \"z\"\n[tenants.f]\nrules = \"z\"\n",
            &[],
            expect![[r#"
                postern.toml:8: tenants.a b: a name is 1 to 64 letters, digits, `-` and `_`
                postern.toml:10: tenants.c: no rules; say where they are: rules = "tenants/c"
                postern.toml:13: tenants.c.grant.doors[1]: there is no door `shh`; there are ssh, web
                postern.toml:13: tenants.c.grant.doors[2]: `web` is named twice
                postern.toml:14: tenants.c.grant.watch: no such key; there are doors
                postern.toml:11: tenants.c.user: no such key; there are rules, grant
                postern.toml:6: tenants.host: is the owner of the rules that `rules` names, with every door; call this one something else
                postern.toml:16: tenants.d.rules: is the folder of tenant host already; give each tenant its own
                postern.toml:20: tenants.f.rules: is the folder of tenant e already; give each tenant its own
                e's: z: there is no such folder; make it and put a rule there
            "#]],
        );
    }

    #[test]
    fn each_has_a_folder_of_its_own_however_it_is_written() {
        let (dir, _) = read("", &[]);
        let other_way = dir.path().join("rules");
        let tenants = [
            ("a", "a"),
            ("c", "b/../a/"),
            ("d", "link"),
            ("e", "../DIR/rules"),
            ("f", "."),
            ("g", ""),
            ("h", "b"),
        ];
        let text: String = tenants
            .iter()
            .map(|(name, folder)| format!("[tenants.{name}]\nrules = \"{folder}\"\n"))
            .collect();
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        fs::write(
            dir.path().join("postern.toml"),
            format!("{GOOD}{}[tenants.i]\nrules = {other_way:?}\n", text.replace("DIR", name)),
        )
        .unwrap();
        symlink("a", dir.path().join("link")).unwrap();
        let reading = Config::read(&dir.path().join("postern.toml"), Trust::Anybody, &Activity::default());
        let told: String = reading.all_mistakes().iter().map(|mistake| format!("{mistake}\n")).collect();
        expect![[r#"
            postern.toml:17: tenants.g.rules: is empty; name a folder
            postern.toml:9: tenants.c.rules: is the folder of tenant a already; give each tenant its own
            postern.toml:11: tenants.d.rules: is the folder of tenant a already; give each tenant its own
            postern.toml:13: tenants.e.rules: is the folder of tenant host already; give each tenant its own
            postern.toml:15: tenants.f.rules: is the folder of postern.toml already; give each tenant its own
            postern.toml:21: tenants.i.rules: is the folder of tenant host already; give each tenant its own
        "#]]
        .assert_eq(&told.replace(&format!("{}/", dir.path().display()), ""));
    }

    #[test]
    fn a_rule_outside_its_tenants_grant_is_that_tenants_mistake() {
        let (ssh, web) = (rule("ssh"), rule("web"));
        check(
            &format!("{OF_A}[tenants.b]\nrules = \"b\"\n"),
            &[("rules/r.toml", &ssh), ("a/r.toml", &ssh), ("a/s.toml", &web), ("b/r.toml", &web)],
            expect![[r#"
                a's: a/r.toml:2: door: tenant a is not granted `ssh`; it may open web, as [tenants.a.grant] in postern.toml says
                b's: b/r.toml:2: door: tenant b is not granted `web`; it may open none, as [tenants.b.grant] in postern.toml says
            "#]],
        );
    }

    #[test]
    fn a_tenants_files_are_read_as_the_hosts_are() {
        check(
            "[tenants.a]\nrules = \"a\"\n[tenants.b]\nrules = \"nowhere\"\n",
            &[("a/r.toml", "modul = 1\n")],
            expect![[r#"
                a's: a/r.toml:1: no module; say which one: module = "sequence"
                a's: a/r.toml:1: no door; say which one the rule may open: door = "ssh"
                a's: a/r.toml:1: modul: no such key; there are module, door, doors, for, prefixes, group, interfaces, memory, limits, settings
                b's: nowhere: there is no such folder; make it and put a rule there
            "#]],
        );
        let web = rule("web");
        let (_, reading) = read(OF_A, &[("rules/r.toml", &web), ("a/r.toml", &web)]);
        let ids: Vec<_> = reading.config.unwrap().rules.iter().map(|rule| rule.id.to_string()).collect();
        assert_eq!(ids, ["r", "a/r"]);
    }

    #[test]
    fn rules_that_are_kept_lose_doors_and_never_get_one() {
        let of_both =
            "module = \"sequence\"\ndoors = [\"web\", \"ssh\"]\n[settings]\nsequence = [\"1/udp\"]\n";
        let both = OF_A.replace("[\"web\"]", "[\"web\", \"ssh\"]");
        let (_, before) = read(&both, &[("a/both.toml", of_both), ("a/web.toml", &rule("web"))]);
        let before = before.config.unwrap().rules;
        let host = "r [\"ssh\"]";
        let kept = |tenants: &str, before: &[RuleFile]| {
            let (_, now) = read(tenants, &[("a/both.toml", "garbage"), ("rules/r.toml", &rule("ssh"))]);
            let mut config = now.config.unwrap();
            let lost = config.keep_rules(&TenantId::new("a"), before.iter());
            let lost = lost.iter().map(|LostDoor { rule, door, without }| match without {
                None => format!("{rule} {door}"),
                Some(first) => format!("{rule} {door} without {first}"),
            });
            let lost = lost.collect::<Vec<_>>().join(", ");
            let rules = config.rules.iter().map(|rule| format!("{} {:?}", rule.id, rule.doors));
            (rules.collect::<Vec<_>>().join(", "), lost, config.rules)
        };
        let is = |tenants, rules: &str, lost: &str| {
            let (found, found_lost, now) = kept(tenants, &before);
            assert_eq!((&*found, &*found_lost), (rules, lost), "{tenants}");
            // What is granted again is opened again, however often the rules were kept meanwhile.
            let (_, lost_again, now) = kept(tenants, &now);
            assert_eq!(lost_again, "", "{tenants}");
            let (found, _, _) = kept(&both, &now);
            let all = format!("{host}, a/both [\"web\", \"ssh\"], a/web [\"web\"]");
            assert_eq!(found, if tenants.is_empty() { host.to_owned() } else { all }, "{tenants}");
        };
        is(&both, &format!("{host}, a/both [\"web\", \"ssh\"], a/web [\"web\"]"), "");
        is(OF_A, &format!("{host}, a/both [\"web\"], a/web [\"web\"]"), "a/both ssh");
        // What it opens without naming a door must not become another.
        let only_ssh = OF_A.replace("web", "ssh");
        is(
            &only_ssh,
            &format!("{host}, a/both [], a/web []"),
            "a/both web, a/both ssh without web, a/web web",
        );
        is("", host, "");
    }
}
