//! Whether a reading that was sent to another process is the same there.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use postern_core::TenantId;

use super::*;

const WHOLE: &str = r#"interfaces = ["eth0", "wg0"]
promiscuous = true
workers = 3
[doors.ssh]
guard = ["tcp/22", "udp/60000-61000"]
for = "10m"
always = ["10.0.0.0/8", "2001:db8::/32", "wg0"]
on_close = "reset"
prefixes = ["ipv6/64", "ipv4/24"]
[doors.web]
set = ["inet filter web", "ip6 filter web6"]
[doors.lamp]
open = ["/bin/sh", "on", "{ip}"]
close = ["/bin/sh", "off"]
timeout = "3s"
again = "run"
[limits]
for = "366d"
openings = 131072
[memory]
entries = 5000
bytes = "4GiB"
[metrics]
listen = "0.0.0.0:9617"
remote = true
[[hooks]]
on = ["open", "refuse"]
run = ["/bin/sh", "tell"]
rate = 7
timeout = "3s"
[tenants.a]
rules = "a"
[tenants.a.grant]
watch = ["tcp/7000-7999", "icmpv6/128"]
any_port = true
anywhere = true
interfaces = ["wg0"]
payload = 512
doors = ["web", "lamp"]
for = "1h"
prefixes = ["ipv6/64"]
[tenants.a.limits]
rules = 40
module = "8MiB"
compile = "1m"
cpu = "5ms"
share = "10%"
memory = "32MiB"
openings = 7
tokens = 0
log = 3
[tenants.a.memory]
entries = 10
bytes = "64KiB"
[tenants.b]
rules = "b"
grant.interfaces = ["any"]
"#;

const RULE: &str = r#"module = "sequence"
doors = ["web", "lamp"]
for = "1500ms"
group = "all"
interfaces = ["wg0"]
log = "off"
[memory]
entries = 7
[limits]
cpu = "5ms"
memory = "1MiB"
[settings]
sequence = ["1/udp", "2/tcp"]
[settings.more]
text = "a \"quoted\" \u0000 text"
number = 1.5e300
"#;

/// What it is after it was sent.
#[track_caller]
fn sent(reading: &ConfigReading) -> ConfigReading {
    let written = serde_json::to_vec(reading).unwrap();
    let read = serde_json::from_slice(&written).unwrap();
    assert_eq!(format!("{read:#?}"), format!("{reading:#?}"));
    read
}

fn read(dir: &Path, text: &str, files: &[(&OsStr, &str)]) -> ConfigReading {
    for folder in ["rules", "a", "b"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    fs::write(dir.join("postern.toml"), text).unwrap();
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
    Config::read(&dir.join("postern.toml"), Trust::Anybody, &OwnFiles, &Activity::default())
}

#[test]
fn everything_that_can_be_said_arrives() {
    let dir = tempfile::tempdir().unwrap();
    // Neither the folder nor a file must be UTF-8.
    let dir = dir.path().join(OsStr::from_bytes(b"not\xffutf8"));
    let host = RULE.replace("[\"web\", \"lamp\"]", "\"ssh\"\nprefixes = [\"ipv6/64\"]");
    let file = RULE.replace("\"sequence\"\n", "\"./x.wasm\"\n");
    let files: [(&OsStr, &str); 4] = [
        ("rules/host.toml".as_ref(), &host),
        ("a/one.toml".as_ref(), RULE),
        ("a/two.toml".as_ref(), &file),
        ("b/none.toml".as_ref(), RULE),
    ];
    let reading = read(&dir, WHOLE, &files);
    assert_eq!(reading.mistakes, []);
    let refused: Vec<_> = reading.mistakes_of_tenants.keys().map(ToString::to_string).collect();
    assert_eq!((refused, reading.files.len()), (vec!["b".to_owned()], 4));
    let config = sent(&reading).config.unwrap();
    assert_eq!((config.doors.len(), config.rules.len(), config.tenants.len()), (3, 4, 2));
    // Places in files are part of it, since mistakes are found there later.
    let two = config.rules.iter().find(|rule| *rule.id.name == *"two").unwrap();
    let mistakes = two.settings_mistakes("sequence[1]: is wrong");
    let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert!(told[0].ends_with("two.toml:13: settings.sequence[1]: is wrong"), "{told:?}");
    assert!(mistakes[0].file.as_os_str().as_bytes().contains(&0xff));
    // And so is what a tenant is granted.
    let mut config = config;
    let before = config.rules.clone();
    let lost = config.keep_rules(&TenantId::new("b"), before.iter());
    assert_eq!(lost.len(), 2);
}

#[test]
fn every_mistake_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let odd = OsStr::from_bytes(b"rules/o\xffdd.toml");
    let files: [(&OsStr, &str); 3] =
        [(odd, "garbage"), ("rules/r.toml".as_ref(), "modul = 1\n"), ("a/r.toml".as_ref(), "[x\n")];
    for text in [WHOLE.to_owned(), WHOLE.replace("workers = 3", "workers = 0"), "garbage".to_owned()] {
        let reading = read(dir.path(), &text, &files);
        let read = sent(&reading);
        assert!(read.mistakes.len() > 2, "{:?}", read.mistakes);
        assert_eq!(
            (read.mistakes, read.mistakes_of_tenants),
            (reading.mistakes, reading.mistakes_of_tenants)
        );
    }
}
