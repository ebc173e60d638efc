//! Configurations that a person may write: each mistake has one clear message, and all of them come at once.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use expect_test::{Expect, expect};
use postern_config::{Activity, Config, Mistakes, OwnFiles, Trust};
use posternd::load_rules;

use crate::world::modules;

const GOOD: &str = "interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\n";
const GOOD_RULE: &str = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"1111/udp\"]\n";

/// What is said of this configuration, with file names but not the folder.
fn mistakes(postern: &str, rules: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("postern.toml"), postern).unwrap();
    fs::create_dir(dir.path().join("rules")).unwrap();
    for (name, text) in rules {
        fs::write(dir.path().join("rules").join(name), text).unwrap();
    }
    let modules = modules();
    let said = match Config::load(&dir.path().join("postern.toml")) {
        Err(mistakes) => format!("{mistakes}\n"),
        Ok(config) => match load_rules(1, &config, &modules, &Activity::default()) {
            Err(mistakes) => format!("{mistakes}\n"),
            Ok(_) => String::new(),
        },
    };
    said.replace(&format!("{}/", dir.path().display()), "").replace(dir.path().to_str().unwrap(), "DIR")
}

fn check(postern: &str, rules: &[(&str, &str)], expected: Expect) {
    expected.assert_eq(&mistakes(postern, rules));
}

#[test]
fn what_is_right_is_taken() {
    check(GOOD, &[("a.toml", GOOD_RULE)], expect![""]);
    check(GOOD, &[("a.toml", GOOD_RULE), (".b.toml", "not read"), ("c.txt", "not read")], expect![""]);
}

#[test]
fn a_number_alone_is_told_what_it_lacks_and_an_empty_path_that_it_is_one() {
    check(
        "interfaces = [\"eth0\"]\nrules = \"\"\n[doors.ssh]\nguard = \"tcp/22\"\nfor = 5\n[limits]\nfor = -5\n[memory]\nbytes = 64\n",
        &[(
            "a.toml",
            "module = \"sequence\"\ndoor = \"ssh\"\nfor = 1.5\n[limits]\ncpu = 20\n[settings]\nsequence = [\"1/udp\"]\n",
        )],
        expect![[r#"
            postern.toml:2: rules: is empty; name a folder
            postern.toml:5: doors.ssh.for: `5` has no unit; write ms, s, m, h or d behind it: "5s" are 5 seconds
            postern.toml:7: limits.for: `-5`: a duration cannot be negative; write a number and a unit (ms, s, m, h or d), such as "90s"
            postern.toml:9: memory.bytes: `64` is not a size; write a number and KiB, MiB or GiB, such as "16MiB"
            rules/a.toml:3: for: `1.5` has no unit; write ms, s, m, h or d behind it: "1.5s" are 1.5 seconds
            rules/a.toml:5: limits.cpu: `20` has no unit; write ms, s, m, h or d behind it: "20ms" are 20 milliseconds
        "#]],
    );
}

#[test]
fn all_mistakes_of_all_files_come_at_once() {
    check(
        "interfaces = []\npromiscous = true\n[doors.ssh]\nguard = [\"tcp/22\", \"tcp/70000\"]\nfor = \"10\"\n[doors.web]\nset = \"web\"\n[limits]\nfor = \"1d\"\nopenings = 0\n",
        &[
            ("a.toml", "module = \"sequence\"\ndoor = \"shh\"\nfor = \"2d\"\n[settings]\nsequence = []\n"),
            ("b.toml", "modul = \"sequence\"\n"),
            (
                "c d.toml",
                "module = \"nothing\"\ndoors = [\"web\", 7]\nlog = \"loud\"\n[memory]\nbytes = \"16MB\"\n[limits]\ncpu = \"1h\"\n",
            ),
        ],
        expect![[r#"
            postern.toml:1: interfaces: is an empty list; name at least one, or leave the key out
            postern.toml:2: promiscous: no such key; there are interfaces, promiscuous, workers, rules, strict_modes, user, sandbox, control, metrics, hooks, limits, memory, doors, tenants
            postern.toml:4: doors.ssh.guard[1]: 70000 is not a port; use 1 to 65535
            postern.toml:5: doors.ssh.for: `10` has no unit; write ms, s, m, h or d behind it: "10s" are 10 seconds
            postern.toml:7: doors.web.set: `web` does not name a set; write family, table and set, such as `inet filter web_allowed`
            postern.toml:10: limits.openings: 0 is out of range; use 1 to 131072
            rules/a.toml:2: door: postern.toml has no door `shh`; there are ssh, web
            rules/a.toml:3: for: 2d is out of range; use 1ms to 1d
            rules/b.toml:1: no door; say which one the rule may open: door = "ssh"
            rules/b.toml:1: no module; say which one: module = "sequence"
            rules/b.toml:1: modul: no such key; there are module, door, doors, for, prefixes, group, interfaces, trial, log, memory, limits, settings
            rules/c d.toml:1: the file's name is the rule's name: a name is 1 to 64 letters, digits, `-` and `_`
            rules/c d.toml:1: module: there is no stock module `nothing`; the stock modules are: sequence; a file of your own is named with its path, such as ./nothing.wasm
            rules/c d.toml:2: doors[1]: is a number; write a text in quotes
            rules/c d.toml:3: log: `loud` is no level of a log; use "error", "warn", "info", "debug" or "off"
            rules/c d.toml:5: memory.bytes: `16MB` is not a size; write a number and KiB, MiB or GiB, such as "16MiB"
            rules/c d.toml:7: limits.cpu: 1h is out of range; use 1ms to 100ms
        "#]],
    );
}

#[test]
fn a_rule_remembers_no_more_than_all_may_together() {
    let all = |memory: &str| format!("{GOOD}[memory]\n{memory}");
    let rule = |memory: &str| format!("{}[memory]\n{memory}", GOOD_RULE);
    check(&all("entries = 1000\nbytes = \"1MiB\"\n"), &[("a.toml", GOOD_RULE)], expect![""]);
    check(&all("entries = 1000\n"), &[("a.toml", &rule("entries = 1000\n"))], expect![""]);
    check(
        &all("entries = 1000\nbytes = \"1MiB\"\n"),
        &[("a.toml", &rule("entries = 1001\nbytes = \"2MiB\"\n"))],
        expect![[r#"
            rules/a.toml:6: memory.entries: 1001 is more than all rules together may have; use at most 1000, or raise memory.entries in postern.toml
            rules/a.toml:7: memory.bytes: 2MiB is more than all rules together may have; use at most 1MiB, or raise memory.bytes in postern.toml
        "#]],
    );
    check(
        &all("entries = 0\nbytes = \"8GiB\"\nclients = 7\n"),
        &[("a.toml", &rule("entries = 16777217\n"))],
        expect![[r#"
            postern.toml:5: memory.entries: 0 is out of range; use 1 to 16777216
            postern.toml:6: memory.bytes: 8GiB is out of range; use 64KiB to 4GiB
            postern.toml:7: memory.clients: no such key; there are bytes, entries
            rules/a.toml:6: memory.entries: 16777217 is out of range; use 1 to 16777216
        "#]],
    );
}

#[test]
fn doors() {
    check(
        "interfaces = [\"eth0\"]\n[doors.none]\nfor = \"5m\"\n[doors.two]\nguard = \"tcp/1\"\nset = \"inet a b\"\n[doors.twice]\nguard = [\"tcp/5\", \"tcp/5\"]\n[doors.same]\nguard = \"tcp/5\"\n[doors.c]\nopen = [\"lamp\", \"{ip}\"]\nclose = [\"/bin/true\", \"{port}\"]\non_close = \"cut\"\n[doors.d]\nguard = \"tcp/9\"\non_close = \"slam\"\ntimeout = \"5s\"\n[doors.\"a b\"]\nguard = \"udp/9\"\n[doors.e]\nset = [\"inet a\", \"netdev a b\"]\n",
        &[("a.toml", GOOD_RULE)],
        expect![[r#"
            postern.toml:2: doors.none: is not a door yet; give it one of guard, set or open
            postern.toml:4: doors.two: a door is one of guard, set or open; make two doors of it
            postern.toml:7: doors.twice: tcp/5 is guarded twice: by `same` already, with tcp/5; name each port once, in one door
            postern.toml:11: doors.c: on_close is for guard doors only; leave it out
            postern.toml:12: doors.c.open[0]: `lamp`: name the program by its full path
            postern.toml:13: doors.c.close[1]: nothing is called {port}; there are {ip}, {door}, {rule}, {seconds}
            postern.toml:15: doors.d: close, timeout and user are for command doors only; leave them out
            postern.toml:17: doors.d.on_close: `slam` is none of "keep", "cut" and "reset"
            postern.toml:19: doors.a b: a name is 1 to 64 letters, digits, `-` and `_`
            postern.toml:22: doors.e.set[0]: `inet a` does not name a set; write family, table and set, such as `inet filter web_allowed`
            postern.toml:22: doors.e.set[1]: sets of the family netdev cannot be used; declare the set in a table of family inet, ip or ip6
            rules/a.toml:2: door: postern.toml has no door `ssh`; there are a b, c, d, e, none, same, twice, two
        "#]],
    );
}

/// The list of those that are there is this machine's.
#[test]
fn interfaces_are_named_one_by_one() {
    for pattern in ["eth*", "*", "eth?", "en[ps]0"] {
        let said = mistakes(&GOOD.replace("eth0", pattern), &[("a.toml", GOOD_RULE)]);
        let begin = format!(
            "postern.toml:1: interfaces[0]: `{pattern}` is a pattern, and patterns are not taken; write each name, or \"any\" alone; there are "
        );
        assert!(said.starts_with(&begin) && said.contains("lo") && said.lines().count() == 1, "{said}");
    }
    check(
        &GOOD.replace("eth0", "eth0:1"),
        &[("a.toml", GOOD_RULE)],
        expect![[r#"
            postern.toml:1: interfaces[0]: `eth0:1` is an address with a name, not an interface; write "eth0"
        "#]],
    );
}

#[test]
fn files_that_others_can_write_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        fs::write(dir.path().join(name), text).unwrap();
        set_mode(&dir.path().join(name), mode);
    };
    set_mode(dir.path(), 0o755);
    fs::create_dir(dir.path().join("rules")).unwrap();
    fs::create_dir(dir.path().join("modules")).unwrap();
    set_mode(&dir.path().join("modules"), 0o777);
    write("postern.toml", GOOD, 0o644);
    write("rules/a.toml", "modul = 7\n", 0o666);
    for name in ["b", "c"] {
        write(&format!("rules/{name}.toml"), "module = \"../modules/a.wasm\"\ndoor = \"ssh\"\n", 0o644);
    }
    let file = dir.path().join("postern.toml");
    let said = |trust| {
        let postern_config::ConfigReading { config, mistakes, .. } =
            Config::read(&file, trust, &OwnFiles, &Activity::default());
        let built = config
            .filter(|_| mistakes.is_empty())
            .map(|config| load_rules(1, &config, &modules(), &Activity::default()).map(drop));
        let mistakes = match built {
            Some(Err(mistakes)) => mistakes,
            _ => Mistakes::new(mistakes),
        };
        format!("{mistakes}\n").replace(&format!("{}/", dir.path().display()), "")
    };
    expect![[r#"
        rules/a.toml: everybody may write it, and could change who gets in; chmod go-w rules/a.toml
    "#]]
    .assert_eq(&said(Trust::Strict));
    // One mistake for the folder, however many files are in it.
    fs::remove_file(dir.path().join("rules/a.toml")).unwrap();
    expect![[r#"
        modules: everybody may write it, and could put other files there; chmod go-w modules
    "#]]
    .assert_eq(&said(Trust::Strict));
    set_mode(&dir.path().join("rules"), 0o777);
    expect![[r#"
        rules: everybody may write it, and could put other files there; chmod go-w rules
    "#]]
    .assert_eq(&said(Trust::Strict));
    // Both ways to waive it come as far as to what is really wrong.
    let missing = "rules/b.toml:1: module: the module rules/../modules/a.wasm cannot be read";
    assert!(said(Trust::Anybody).starts_with(missing));
    write("postern.toml", &format!("strict_modes = false\n{GOOD}"), 0o644);
    assert!(said(Trust::Strict).starts_with(missing));
    // A setting in a file that everybody can write does not count, least of all this one.
    set_mode(&file, 0o666);
    let refused = said(Trust::Strict);
    assert!(refused.starts_with("postern.toml: everybody may write it"), "{refused}");
    assert!(said(Trust::Anybody).starts_with(missing));
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn not_toml() {
    check(
        "interfaces = [\"eth0\"\n[doors.ssh\nguard = \n",
        &[("a.toml", "module = \nsequence")],
        expect![[r#"
            postern.toml:2: not TOML: missing comma between array elements, expected `,`
            postern.toml:3: not TOML: missing comma between array elements, expected `,`
            rules/a.toml:1: not TOML: string values must be quoted, expected literal string
            rules/a.toml:2: not TOML: key with no value, expected `=`
        "#]],
    );
}

#[test]
fn what_is_not_there() {
    check(
        "",
        &[],
        expect![[r#"
            postern.toml:1: interfaces: which interfaces should be listened to? interfaces = ["any"], or their names, as `ip -br link` shows them
        "#]],
    );
    check(
        "interfaces = [\"eth0\", \"any\", \"eth0\", \"\"]\nrules = \"elsewhere\"\n",
        &[],
        expect![[r#"
            elsewhere: there is no such folder; make it and put a rule there
            postern.toml:1: interfaces[1]: "any" is all interfaces; leave out the others, or it
            postern.toml:1: interfaces[2]: `eth0` is named twice
            postern.toml:1: interfaces[3]: `` is not the name of an interface
        "#]],
    );
    let said = Config::load(Path::new("/nowhere/postern.toml")).unwrap_err().to_string() + "\n";
    expect![[r#"
        /nowhere/postern.toml: cannot be read: No such file or directory (os error 2); write it, or name another
        /nowhere/rules: there is no such folder; make it and put a rule there
    "#]]
    .assert_eq(&said);
}

#[test]
fn settings_are_refused_at_their_place_in_the_modules_own_words() {
    check(
        GOOD,
        &[
            (
                "a.toml",
                "module = \"sequence\"\ndoor = \"ssh\"\n\n[settings]\nsequence = [\"1111\",\n\"0/udp\",\n\"22/icmp\"\n]\nwithin = \"5 parsecs\"\nspeed = 1\n",
            ),
            ("b.toml", "module = \"sequence\"\ndoor = \"ssh\"\n"),
            ("c.toml", "module = \"./gone.wasm\"\ndoor = \"ssh\"\n"),
        ],
        expect![[r#"
            rules/a.toml:5: settings.sequence[0]: "1111" is not a step; write port/udp or port/tcp with a port from 1 to 65535
            rules/a.toml:6: settings.sequence[1]: "0/udp" is not a step; write port/udp or port/tcp with a port from 1 to 65535
            rules/a.toml:7: settings.sequence[2]: "22/icmp" is not a step; write port/udp or port/tcp with a port from 1 to 65535
            rules/a.toml:9: settings.within: `5 parsecs` is not a duration; write a number and a unit (ms, s, m, h or d), or several, such as "90s" or "1h30m"
            rules/a.toml:10: settings.speed: no such key; there are sequence, within, gap, min_gap, reorder, cooldown, tcp_flags, duplicates, action, prefix, target, family, strict
            rules/b.toml:1: sequence is missing; give 1 to 64 steps such as ["1111/udp", "2222/tcp"]
            rules/c.toml:1: module: the module rules/gone.wasm cannot be read: No such file or directory (os error 2); check the path and its permissions
        "#]],
    );
}

#[test]
fn a_megabyte_of_noise_is_refused_and_not_more() {
    let mut seed = 99_u32;
    let noise: String = (0..1 << 20)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b" \n=[]\"'#.{},azAZ09\\"[usize::try_from(seed >> 24).unwrap() % 19])
        })
        .collect();
    assert!(mistakes(&noise[..200_000], &[]).contains("postern.toml:1: "));
    assert!(mistakes(&format!("{noise}#"), &[]).contains("postern.toml: is longer than 1 MiB"));
}

#[test]
fn of_very_many_mistakes_enough_are_told_and_soon() {
    let told = mistakes(GOOD, &[("a.toml", &"= nonsense\n".repeat(90_000))]);
    assert_eq!(told.lines().count(), 101);
    assert!(told.trim_end().ends_with("rules/a.toml:101: and more mistakes, from here on"), "{told}");
    let ports: Vec<_> = (0..80_000).map(|n| format!("\"tcp/{}\"", 1 + n % 65_535)).collect();
    let told = mistakes(
        &format!("interfaces = [\"eth0\"]\n[doors.ssh]\nguard = [{}]\n", ports.join(",")),
        &[("a.toml", GOOD_RULE)],
    );
    assert!(told.contains("guard has 80000 items; at most 64"), "{told}");
}
