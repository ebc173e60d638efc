//! Settings: the texts of `postern.toml` and of rule files.

use std::path::{Path, PathBuf};

use postern_config::{Config, ConfigReading};

/// What the rule file of [`rule_file`] stands beside.
const BESIDE: &str = r#"
interfaces = ["eth0"]
[doors.ssh]
guard = "tcp/22"
prefixes = ["ipv6/64"]
[doors.web]
set = "inet filter web"
[doors.lamp]
open = ["/bin/true", "{ip}"]
close = ["/bin/false", "{ip}"]
"#;

/// A `postern.toml`, with no rules beside it.
///
/// # Panics
/// If a message about it is not one line, or there is neither a configuration nor a message.
pub fn postern_toml(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    check(&Config::of_texts(Path::new("/etc/postern/postern.toml"), text, &[]));
}

/// A rule file, beside a `postern.toml` without mistakes.
///
/// # Panics
/// As [`postern_toml`]; and if it changes what the doors are.
pub fn rule_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let file = Path::new("/etc/postern/postern.toml");
    let rules = [(PathBuf::from("/etc/postern/rules/knock.toml"), text.to_owned())];
    let reading = Config::of_texts(file, BESIDE, &rules);
    check(&reading);
    let alone = Config::of_texts(file, BESIDE, &[]);
    assert!(alone.mistakes.is_empty(), "{:?}", alone.mistakes);
    let doors =
        |reading: &ConfigReading| format!("{:?}", reading.config.as_ref().map(|config| &config.doors));
    assert_eq!(doors(&reading), doors(&alone));
}

fn check(reading: &ConfigReading) {
    let mistakes = reading.all_mistakes();
    assert!(reading.config.is_some() || !mistakes.is_empty(), "nothing was said");
    for mistake in &mistakes {
        let line = mistake.to_string();
        assert!(!line.contains(['\n', '\r']), "{line:?}");
    }
}
