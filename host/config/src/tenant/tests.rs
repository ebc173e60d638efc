use std::fs;
use std::os::unix::fs::symlink;

use expect_test::{Expect, expect};

use crate::activity::Activity;
use crate::config::{Config, ConfigReading, first_of};
use crate::rule_file::LostDoor;
use crate::tenant_files::OwnFiles;
use crate::trust::Trust;

use super::*;

const GOOD: &str =
    "interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\n[doors.web]\nguard = \"tcp/80\"\n";
const OF_A: &str = "[tenants.a]\nrules = \"a\"\ngrant.interfaces = [\"any\"]\ngrant.doors = [\"web\"]\n";

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
    let reading =
        Config::read(&dir.path().join("postern.toml"), Trust::Anybody, &OwnFiles, &Activity::default());
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
fn every_mistake_in_what_is_said_of_a_tenant_is_told() {
    check(
        "[tenants.host]\nrules = \"x\"\n[tenants.\"a b\"]\nrules = \"y\"\n[tenants.c]\nusr = \"c\"\n[tenants.c.grant]\ndoors = [\"web\", \"shh\", \"web\"]\nwatch = [\"tcp/1\", \"22/tcp\"]\ninterfaces = [\"eth1\"]\nfor = \"25h\"\npayload = 1501\nprefixes = [\"ipv6/0\"]\nwatches = 1\n[tenants.c.limits]\nrules = 0\nmodule = \"65MiB\"\ncompile = \"1h\"\ncpu = \"1s\"\nshare = \"101%\"\nmemory = \"1KiB\"\nopenings = 65537\ntokens = -1\nlog = 1001\nlogs = 1\n[tenants.c.memory]\nentries = 2000000\nbytes = \"300MiB\"\n[tenants.d]\nrules = \"rules\"\n[tenants.e]\nrules = \"z\"\n[tenants.f]\nrules = \"z\"\n",
        &[],
        expect![[r#"
            postern.toml:8: tenants.a b: a name is 1 to 64 letters, digits, `-` and `_`
            postern.toml:10: tenants.c: no rules; say where they are: rules = "tenants/c"
            postern.toml:14: tenants.c.grant.watch[1]: `22/tcp` is neither ports nor a type; write such as "tcp/7000-7999", "udp/62201", "icmp/8" or "icmpv6/128"
            postern.toml:17: tenants.c.grant.payload: 1501 is out of range; use 0 to 1500
            postern.toml:15: tenants.c.grant.interfaces[0]: there is no captured interface `eth1`; there are eth0
            postern.toml:13: tenants.c.grant.doors[1]: there is no door `shh`; there are ssh, web
            postern.toml:13: tenants.c.grant.doors[2]: `web` is named twice
            postern.toml:16: tenants.c.grant.for: 25h is out of range; use 1ms to 1d
            postern.toml:18: tenants.c.grant.prefixes[0]: not a width; write one such as "ipv6/64" or "ipv4/24"
            postern.toml:19: tenants.c.grant.watches: no such key; there are watch, any_port, anywhere, payload, interfaces, doors, for, prefixes
            postern.toml:32: tenants.c.memory.entries: 2000000 is more than all rules together may have; use at most 1048576, or raise memory.entries in postern.toml
            postern.toml:33: tenants.c.memory.bytes: 300MiB is more than all rules together may have; use at most 256MiB, or raise memory.bytes in postern.toml
            postern.toml:21: tenants.c.limits.rules: 0 is out of range; use 1 to 65536
            postern.toml:22: tenants.c.limits.module: 65MiB is out of range; use 1KiB to 64MiB
            postern.toml:23: tenants.c.limits.compile: 1h is out of range; use 1s to 10m
            postern.toml:24: tenants.c.limits.cpu: 1s is out of range; use 1ms to 100ms
            postern.toml:26: tenants.c.limits.memory: 1KiB is out of range; use 64KiB to 256MiB
            postern.toml:25: tenants.c.limits.share: `101%` is not a share; write "1%" to "100%"
            postern.toml:27: tenants.c.limits.openings: 65537 is out of range; use 1 to 65536
            postern.toml:28: tenants.c.limits.tokens: -1 is out of range; use 0 to 1048576
            postern.toml:29: tenants.c.limits.log: 1001 is out of range; use 1 to 1000
            postern.toml:30: tenants.c.limits.logs: no such key; there are rules, module, compile, cpu, memory, share, openings, tokens, log
            postern.toml:11: tenants.c.usr: no such key; there are rules, trial, grant, memory, limits, user, trust
            postern.toml:6: tenants.host: is the owner of the rules that `rules` names, with every door; call this one something else
            postern.toml:35: tenants.d.rules: is the folder of tenant host already; give each tenant its own
            postern.toml:39: tenants.f.rules: is the folder of tenant e already; give each tenant its own
            e's: z: there is no such folder; make it and put a rule there
        "#]],
    );
}

#[test]
fn keys_that_are_none_and_too_many_are_mistakes() {
    let key = "RWQduMB8KoiXconVcktOO0hqlj/IUQlNTgOWDuiDhfzpkMqhsiwZ9K/5";
    let many = vec![format!("\"{key}\""); 17].join(", ");
    check(
        &format!(
            "[tenants.a]\nrules = \"a\"\ntrust = []\n[tenants.b]\nrules = \"b\"\ntrust = [\"{key}\", \"{key}\", \"a.pub\"]\n[tenants.c]\nrules = \"c\"\ntrust = 1\n"
        ),
        &[],
        expect![[r#"
            postern.toml:8: tenants.a.trust: is an empty list; name at least one, or leave the key out
            postern.toml:11: tenants.b.trust[1]: the key 7297882A7CC0B81D is named twice
            postern.toml:11: tenants.b.trust[2]: is no public key of minisign; write what `minisign -G` prints behind -P: 56 characters, of which the first are RW
            postern.toml:14: tenants.c.trust: is a number; write a text in quotes or a list of them
            c's: c: there is no such folder; make it and put a rule there
        "#]],
    );
    let (_, reading) = read(&format!("[tenants.a]\nrules = \"a\"\ntrust = [{many}]\n"), &[]);
    assert!(reading.config.is_none());
    let told = reading.mistakes[0].to_string();
    assert!(told.ends_with("postern.toml:8: tenants.a.trust: 17 keys; at most 16"), "{told}");
}

#[test]
fn a_signature_is_watched_where_one_is_needed() {
    let trust = "trust = \"RWQduMB8KoiXconVcktOO0hqlj/IUQlNTgOWDuiDhfzpkMqhsiwZ9K/5\"\n";
    let of_file = "module = \"m.wasm\"\ndoor = \"web\"\n";
    let watched = |tenants: &str| {
        let stock = rule("web");
        let files = [("rules/r.toml", of_file), ("a/r.toml", of_file), ("a/s.toml", &*stock)];
        let (dir, reading) = read(tenants, &files);
        let config = reading.config.unwrap();
        let files = config.rules.iter().flat_map(|rule| config.module_files(rule)).collect::<Vec<_>>();
        let names = files.iter().map(|file| file.strip_prefix(dir.path()).unwrap().display().to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(watched(OF_A), ["rules/m.wasm", "a/m.wasm"]);
    let signed = OF_A.replace("rules = \"a\"\n", &format!("rules = \"a\"\n{trust}"));
    assert_eq!(watched(&signed), ["rules/m.wasm", "a/m.wasm", "a/m.wasm.minisig"]);
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
    let text: String =
        tenants.iter().map(|(name, folder)| format!("[tenants.{name}]\nrules = \"{folder}\"\n")).collect();
    let name = dir.path().file_name().unwrap().to_str().unwrap();
    fs::write(
        dir.path().join("postern.toml"),
        format!("{GOOD}{}[tenants.i]\nrules = {other_way:?}\n", text.replace("DIR", name)),
    )
    .unwrap();
    symlink("a", dir.path().join("link")).unwrap();
    let reading =
        Config::read(&dir.path().join("postern.toml"), Trust::Anybody, &OwnFiles, &Activity::default());
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
        &format!("{OF_A}[tenants.b]\nrules = \"b\"\ngrant.interfaces = [\"eth0\"]\n"),
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
            a's: a/r.toml:1: modul: no such key; there are module, door, doors, for, prefixes, group, interfaces, trial, log, memory, limits, settings
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
    let of_both = "module = \"sequence\"\ndoors = [\"web\", \"ssh\"]\n[settings]\nsequence = [\"1/udp\"]\n";
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
    is(&only_ssh, &format!("{host}, a/both [], a/web []"), "a/both web, a/both ssh without web, a/web web");
    is("", host, "");
}

#[test]
fn a_folder_full_of_mistakes_is_told_in_a_hundred_and_one() {
    let names = |count: usize| (0..count).map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(",");
    let doors = |count| format!("module = \"sequence\"\ndoors = [{}]\n", names(count));
    let (most, more) = (doors(64), doors(65));
    check(
        OF_A,
        &[("a/r.toml", &more)],
        expect![[r#"
            a's: a/r.toml:2: doors: has 65 items; at most 64
        "#]],
    );
    let (_, reading) = read(OF_A, &[("a/r.toml", &most), ("a/s.toml", &most)]);
    let found: Vec<_> = reading.mistakes_of_tenants.into_values().flatten().collect();
    assert_eq!(found.len(), 101);
    let last = found[100].to_string();
    assert!(last.ends_with("and more mistakes of this tenant, from here on"), "{last}");
    // Mistakes of its modules come later.
    let more: Vec<_> = found.iter().chain(&found[..3]).cloned().collect();
    assert_eq!(first_of(more), found);
}
