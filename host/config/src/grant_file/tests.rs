use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::config::ConfigReading;

const FILE: &str = "/run/postern/tenants/web.toml";
const POSTERN_TOML: &str = r#"
    interfaces = ["eth0", "secret0"]
    strict_modes = false
    [limits]
    for = "12h"
    openings = 131072
    [memory]
    entries = 16777216
    bytes = "4GiB"
    [doors.web]
    guard = ["tcp/8443"]
    always = ["192.0.2.0/24"]
    prefixes = ["ipv6/64", "ipv4/24"]
    [doors.secret]
    open = ["/bin/sh", "-c", "secret"]
    [tenants.web]
    rules = "web"
    trust = ["RWQduMB8KoiXconVcktOO0hqlj/IUQlNTgOWDuiDhfzpkMqhsiwZ9K/5"]
    [tenants.web.grant]
    watch = ["tcp/7000-7999", "icmp/8"]
    interfaces = ["eth0"]
    doors = ["web"]
    for = "1h"
    prefixes = ["ipv6/64"]
    [tenants.web.memory]
    entries = 16777216
    bytes = "3GiB"
    [tenants.secret]
    rules = "secret"
"#;

/// What is written for the tenant `web` of this postern.toml.
#[track_caller]
fn written(postern_toml: &str) -> (GrantFile, String) {
    let ConfigReading { config, mistakes, .. } =
        Config::of_texts(Path::new("/etc/postern/postern.toml"), postern_toml, &[]);
    assert_eq!(mistakes, [], "{postern_toml}");
    let config = config.unwrap();
    let file = GrantFile::of(&config, config.tenant(&web()).unwrap());
    let text = file.text().unwrap();
    (file, text)
}

fn web() -> TenantId {
    TenantId::new("web")
}

/// What a file says, or its mistakes.
fn read(text: &str) -> Result<GrantFile, String> {
    let (read, mistakes) = GrantFile::read(&web(), Path::new(FILE), text);
    let told: String = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
    read.filter(|_| mistakes.is_empty()).ok_or(told)
}

/// All that a file says.
fn parts(file: &GrantFile) -> impl PartialEq + std::fmt::Debug + use<> {
    let GrantFile { tenant, doors, longest, trust } = file.clone();
    let Tenant { id, rules_dir, grant, is_trial, ceilings, limits, user, trusted_keys, .. } = tenant;
    let user = user.map(|user| (user.name, user.uid, user.gid));
    (id, rules_dir, grant, is_trial, ceilings, limits, user, trusted_keys, doors, longest, trust)
}

#[test]
fn it_has_what_is_the_tenants_own_and_nothing_else() {
    let (_, text) = written(POSTERN_TOML);
    expect![[r##"
        # What tenant web is granted, and what it may use. posternd writes this when a configuration comes into force;
        # `posternd check --tenant web` reads it.
        strict_modes = false

        [limits]
        for = "12h"

        [doors.web]
        for = "10m"
        prefixes = ["ipv6/64"]

        [tenants.web]
        rules = "/etc/postern/web"
        trial = false
        trust = ["RWQduMB8KoiXconVcktOO0hqlj/IUQlNTgOWDuiDhfzpkMqhsiwZ9K/5"]

        [tenants.web.grant]
        watch = ["tcp/7000-7999", "icmp/8"]
        any_port = false
        anywhere = false
        interfaces = ["eth0"]
        payload = 0
        doors = ["web"]
        for = "1h"
        prefixes = ["ipv6/64"]

        [tenants.web.limits]
        rules = 32
        module = "4MiB"
        compile = "30s"
        cpu = "2ms"
        share = "25%"
        memory = "16MiB"
        openings = 1024
        tokens = 65536
        log = 10

        [tenants.web.memory]
        entries = 16777216
        bytes = "3GiB"
    "##]].assert_eq(&text);
}

#[test]
fn a_file_that_a_person_wrote_has_its_mistakes_told() {
    let check = |text: &str, expected: Expect| {
        expected.assert_eq(&read(text).map_or_else(|told| told, |_| "right\n".to_owned()));
    };
    check("[tenants.web]\nrules = \"web\"\n", expect![["right\n"]]);
    check(
        "strict = true\n[limits]\nfor = \"1s\"\nopenings = 1\n[doors.web]\nguard = \"tcp/22\"\nfor = \"2s\"\n[tenants.web]\nrule = \"web\"\n[tenants.web.grant]\ndoors = [\"web\", \"ssh\"]\ninterfaces = [\"eth0\", \"eth0\", \"any\"]\nwatch = \"22\"\n",
        expect![[r#"
            /run/postern/tenants/web.toml:4: limits.openings: no such key; there are for
            /run/postern/tenants/web.toml:7: doors.web.for: 2s is out of range; use 1ms to 1s
            /run/postern/tenants/web.toml:6: doors.web.guard: no such key; there are for, prefixes
            /run/postern/tenants/web.toml:8: tenants.web: no rules; say where they are: rules = "tenants/web"
            /run/postern/tenants/web.toml:13: tenants.web.grant.watch: `22` is neither ports nor a type; write such as "tcp/7000-7999", "udp/62201", "icmp/8" or "icmpv6/128"
            /run/postern/tenants/web.toml:12: tenants.web.grant.interfaces[2]: "any" is all interfaces; leave out the others, or it
            /run/postern/tenants/web.toml:12: tenants.web.grant.interfaces[1]: `eth0` is named twice
            /run/postern/tenants/web.toml:11: tenants.web.grant.doors[1]: there is no door `ssh`; there are web
            /run/postern/tenants/web.toml:9: tenants.web.rule: no such key; there are rules, trial, grant, memory, limits, user, trust
            /run/postern/tenants/web.toml:1: strict: no such key; there are strict_modes, limits, doors, tenants
        "#]],
    );
    check(
        "[tenants.other]\nrules = \"web\"\n",
        expect![[r#"
        /run/postern/tenants/web.toml:1: says nothing of tenant web; it needs a table [tenants.web]
    "#]],
    );
    check(
        "tenants = 1\n",
        expect![[r#"
        /run/postern/tenants/web.toml:1: tenants: is a number; write a table: [tenants]
        /run/postern/tenants/web.toml:1: says nothing of tenant web; it needs a table [tenants.web]
    "#]],
    );
    check(
        "",
        expect![[r#"
        /run/postern/tenants/web.toml:1: says nothing of tenant web; it needs a table [tenants.web]
    "#]],
    );
    check(
        "[tenants.web\n",
        expect![[r#"
        /run/postern/tenants/web.toml:1: not TOML: unclosed table, expected `]`
    "#]],
    );
}

#[test]
fn a_folder_that_no_toml_can_name_is_not_written() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let (file, _) = written(POSTERN_TOML);
    let rules_dir = Path::new("/srv").join(OsStr::from_bytes(b"\xff"));
    let file = GrantFile { tenant: file.tenant.with_rules_dir(rules_dir), ..file };
    assert_eq!(file.text(), None);
}

/// A line with a key and one of these values, or none.
fn key(name: &'static str, values: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    let line = values.prop_map(move |value| format!("{name} = {value}\n"));
    prop_oneof![1 => Just(String::new()), 4 => line].boxed()
}

fn flag() -> impl Strategy<Value = String> {
    prop::bool::ANY.prop_map(|flag| flag.to_string())
}

fn number(range: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = String> {
    range.prop_map(|number| number.to_string())
}

fn time(millis: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = String> {
    // Down to nanoseconds.
    let finest = prop::sample::select(vec!["", ".000001", ".5"]);
    (millis, finest).prop_map(|(millis, finest)| format!("\"{millis}{finest}ms\""))
}

fn size(kib: std::ops::RangeInclusive<u64>) -> impl Strategy<Value = String> {
    kib.prop_map(|kib| format!("\"{kib}KiB\""))
}

fn some_of(items: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::subsequence(items, 1..=items.len()).prop_map(|items| toml::Value::from(items).to_string())
}

fn ranges() -> impl Strategy<Value = String> {
    let range = (prop::sample::select(vec!["tcp", "udp"]), 1..60_000u16, 0..5000u16)
        .prop_map(|(transport, first, more)| format!("\"{transport}/{first}-{}\"", first + more));
    let one = prop::sample::select(vec!["\"tcp/22\"", "\"icmp/8\"", "\"icmpv6/128\""]);
    let item = prop_oneof![range, one.prop_map(str::to_owned)];
    prop::collection::vec(item, 1..5).prop_map(|items| format!("[{}]", items.join(", ")))
}

fn table(name: &'static str, keys: Vec<BoxedStrategy<String>>) -> impl Strategy<Value = String> {
    keys.prop_map(move |keys| format!("[{name}]\n{}", keys.concat()))
}

const DOORS: [&str; 3] = ["a", "b-2", "C_3"];
const PORTED: [(&str, u16); 3] = [("a", 22), ("b-2", 80), ("C_3", 443)];
const INTERFACES: [&str; 4] = ["eth0", "we\"ird\\", "e\u{7f}\u{1}\n", "\u{e9}'''"];

/// A postern.toml with a tenant `web`.
fn postern_toml() -> impl Strategy<Value = String> {
    let interfaces = prop_oneof![Just("[\"any\"]".to_owned()), some_of(&INTERFACES)];
    let grant = vec![
        key("watch", ranges()),
        key("any_port", flag()),
        key("anywhere", flag()),
        key("payload", number(0..=1500)),
        key("doors", some_of(&DOORS)),
        key("for", time(1..=3_599_999)),
        key("prefixes", some_of(&["ipv6/64", "ipv6/48", "ipv4/24"])),
        key("interfaces", interfaces),
    ];
    let limits = vec![
        key("rules", number(1..=65_536)),
        key("module", size(1..=65_536)),
        key("compile", time(1000..=599_999)),
        key("cpu", time(1..=99)),
        key("share", number(1..=100).prop_map(|share| format!("\"{share}%\""))),
        key("memory", size(64..=262_144)),
        key("openings", number(1..=131_072)),
        key("tokens", number(0..=1_048_576)),
        key("log", number(1..=1000)),
    ];
    let memory = vec![key("entries", number(1..=16_777_216)), key("bytes", size(64..=4_194_304))];
    let door = |(name, port): (&'static str, u16)| {
        let widths = some_of(&["ipv6/64", "ipv4/24", "ipv4/16"]);
        (key("for", time(1..=3_599_999)), key("prefixes", widths)).prop_map(move |(lasts, prefixes)| {
            format!("[doors.{name}]\nguard = \"tcp/{port}\"\n{lasts}{prefixes}")
        })
    };
    let folder = prop::sample::select(vec!["web", "/srv/we\"b\\", "../\u{fc} ' \t"]);
    (
        [key("strict_modes", flag()), key("trial", flag()), key("user", Just("\"daemon\"".to_owned()))],
        PORTED.map(door),
        table("tenants.web.grant", grant),
        table("tenants.web.limits", limits),
        table("tenants.web.memory", memory),
        folder,
    )
        .prop_map(|([strict, trial, user], doors, grant, limits, memory, folder)| {
            let interfaces = toml::Value::from(INTERFACES.to_vec());
            let machine =
                "[limits]\nfor = \"1h\"\nopenings = 131072\n[memory]\nentries = 16777216\nbytes = \"4GiB\"\n";
            let (folder, doors) = (toml::Value::from(folder), doors.concat());
            format!(
                "{strict}interfaces = {interfaces}\n{machine}{doors}[tenants.web]\nrules = {folder}\n{trial}{user}{grant}{limits}{memory}"
            )
        })
}

proptest! {
    #[test]
    fn what_was_written_is_read_as_the_same(postern_toml in postern_toml()) {
        let (file, text) = written(&postern_toml);
        let again = read(&text).map_err(|told| TestCaseError::fail(format!("{told}\n{text}")))?;
        prop_assert!(parts(&file) == parts(&again), "{:?}\n{:?}\n{}", file, again, text);
        prop_assert_eq!(again.text(), Some(text));
    }
}
