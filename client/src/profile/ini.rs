//! Ini: the file of python_port_knocker's profiles, read as Python's `configparser` reads it with its defaults.
//!
//! What that client takes is taken here, in the same sense. Besides, hosts may be names or IPv6 addresses.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use postern_text::Mistake;

use super::{Profile, ProfileEntry, check_host};
use crate::duration::{LONGEST, parse_float_millis};
use crate::step::{KnockStep, check_one};
use crate::transport::StepTransport;

/// The section whose keys are defaults of every profile; it is no profile itself.
const DEFAULT: &str = "DEFAULT";
/// How deep a value may refer to values; Python's limit too.
const DEEPEST: usize = 10;

pub(super) fn parse(path: &Path, text: &str) -> (Vec<ProfileEntry>, Vec<Mistake>) {
    let mut lines = IniLines { path, sections: Vec::new(), mistakes: Vec::new() };
    lines.read(text);
    let IniLines { sections, mistakes, .. } = lines;
    let (defaults, profiles): (Vec<_>, Vec<_>) =
        sections.into_iter().partition(|section| section.name == DEFAULT);
    let defaults: Vec<IniKey> = defaults.into_iter().flat_map(|section| section.keys).collect();
    let entries = profiles.into_iter().map(|section| {
        let mut reader = IniReader { path, section: &section, defaults: &defaults, mistakes: Vec::new() };
        let profile = reader.profile().ok_or(reader.mistakes);
        ProfileEntry { name: section.name, profile }
    });
    (entries.collect(), mistakes)
}

struct IniSection {
    name: String,
    line: usize,
    keys: Vec<IniKey>,
}

struct IniKey {
    /// In lower case.
    name: String,
    line: usize,
    value: String,
}

/// The file as sections, keys and values, and what is wrong with its lines.
struct IniLines<'a> {
    path: &'a Path,
    sections: Vec<IniSection>,
    mistakes: Vec<Mistake>,
}

impl IniLines<'_> {
    fn read(&mut self, text: &str) {
        // A line that is indented more than the key above it continues the key's value.
        let (mut indent, mut is_in_value) = (0, false);
        for (n, line) in text.lines().enumerate() {
            let (line_number, content) = (n + 1, line.trim());
            if content.is_empty() || content.starts_with(['#', ';']) {
                continue;
            }
            let this_indent = line.chars().take_while(|c| c.is_whitespace()).count();
            if is_in_value && this_indent > indent {
                if let Some(key) = self.sections.last_mut().and_then(|section| section.keys.last_mut()) {
                    key.value.push('\n');
                    key.value.push_str(content);
                }
                continue;
            }
            indent = this_indent;
            if let Some(name) = section_name(content) {
                self.section(line_number, name);
                is_in_value = false;
            } else {
                is_in_value = self.key(line_number, content);
            }
        }
    }

    fn section(&mut self, line: usize, name: &str) {
        if name != DEFAULT && self.sections.iter().any(|section| section.name == name) {
            self.mistake(line, name, "is here twice; give each profile a name of its own");
        }
        self.sections.push(IniSection { name: name.to_owned(), line, keys: Vec::new() });
    }

    /// Whether it is one.
    fn key(&mut self, line: usize, content: &str) -> bool {
        let Some(section) = self.sections.last_mut() else {
            self.mistake(line, "", "stands before the first profile; write [NAME] above it");
            return false;
        };
        let Some((name, value)) = content.split_once(['=', ':']).filter(|(name, _)| !name.trim().is_empty())
        else {
            self.mistake(line, "", "is neither [NAME] nor KEY = VALUE");
            return false;
        };
        let (name, value) = (name.trim().to_lowercase(), value.trim().to_owned());
        let is_twice = section.keys.iter().any(|key| key.name == name);
        let place = format!("{}.{name}", section.name);
        section.keys.push(IniKey { name, line, value });
        if is_twice {
            self.mistake(line, place, "is here twice; leave one out");
        }
        true
    }

    fn mistake(&mut self, line: usize, key: impl Display, what: &str) {
        let file = self.path.to_owned();
        self.mistakes.push(Mistake { file, line: Some(line), key: key.to_string(), what: what.to_owned() });
    }
}

fn section_name(content: &str) -> Option<&str> {
    // Whatever follows the last bracket is not looked at.
    let name = content.strip_prefix('[')?.rsplit_once(']')?.0;
    (!name.is_empty()).then_some(name)
}

/// One profile's section, and the mistakes found in it.
struct IniReader<'a> {
    path: &'a Path,
    section: &'a IniSection,
    defaults: &'a [IniKey],
    mistakes: Vec<Mistake>,
}

impl IniReader<'_> {
    /// The profile, if there is no mistake.
    fn profile(&mut self) -> Option<Profile> {
        let host = self.checked("ipaddr", check_host);
        let interval = self.checked("interval", |text| parse_float_millis(text, Duration::ZERO..=LONGEST));
        let steps = self.steps();
        self.mistakes.is_empty().then_some(())?;
        Some(Profile { interval: interval?, ..Profile::new(&host?, steps?) })
    }

    fn steps(&mut self) -> Option<Vec<KnockStep>> {
        let (line, text) = self.value("ports")?;
        let mut steps = Vec::new();
        for (n, item) in text.split_whitespace().enumerate() {
            match step(item) {
                Ok(step) => steps.push(step),
                Err(what) => self.mistake(line, &format!("ports[{n}]"), what),
            }
        }
        if text.trim().is_empty() {
            self.mistake(line, "ports", "names no port; write such as 1111:UDP 2222:TCP");
        }
        Some(steps)
    }

    fn checked<T>(&mut self, key: &str, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let (line, text) = self.value(key)?;
        check(&text).map_err(|what| self.mistake(line, key, what)).ok()
    }

    /// A required value, with its references replaced.
    fn value(&mut self, key: &str) -> Option<(usize, String)> {
        let Some(found) = self.find(key) else {
            self.mistake(self.section.line, key, "is missing");
            return None;
        };
        let line = found.line;
        match self.fill_in(&found.value, DEEPEST) {
            Ok(text) => Some((line, text)),
            Err(what) => {
                self.mistake(line, key, what);
                None
            }
        }
    }

    fn find(&self, name: &str) -> Option<&IniKey> {
        self.section.keys.iter().chain(self.defaults).find(|key| key.name == name)
    }

    /// Puts other keys' values in the place of `%(key)s`, and `%` in that of `%%`.
    fn fill_in(&self, value: &str, depth: usize) -> Result<String, String> {
        let mut pieces = value.split('%');
        let mut filled = pieces.next().unwrap_or_default().to_owned();
        while let Some(piece) = pieces.next() {
            if piece.is_empty() {
                let after = pieces.next().ok_or("% stands for itself only as %%")?;
                filled.push('%');
                filled.push_str(after);
                continue;
            }
            let reference = piece.strip_prefix('(').and_then(|rest| rest.split_once(")s"));
            let (key, after) = reference.ok_or("% stands for itself only as %%")?;
            let found = self
                .find(&key.to_lowercase())
                .ok_or_else(|| format!("%({key})s is no key of this profile"))?;
            let depth = depth.checked_sub(1).ok_or_else(|| format!("%({key})s goes round in circles"))?;
            filled.push_str(&self.fill_in(&found.value, depth)?);
            filled.push_str(after);
        }
        Ok(filled)
    }

    fn mistake(&mut self, line: usize, key: &str, what: impl Display) {
        let key = format!("{}.{key}", self.section.name);
        self.mistakes.push(Mistake {
            file: self.path.to_owned(),
            line: Some(line),
            key,
            what: what.to_string(),
        });
    }
}

/// `PORT:PROTOCOL`; what follows a second colon is not looked at.
fn step(item: &str) -> Result<KnockStep, String> {
    check_one(item)?;
    let mut parts = item.split(':');
    match (parts.next(), parts.next()) {
        (Some(port), Some(word)) => KnockStep::new(port, StepTransport::parse(word, item)?),
        _ => Err(format!("`{item}` says no protocol; write {item}:TCP or {item}:UDP")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::ProfileFile;
    use super::*;

    #[test]
    fn as_the_python_client_takes_it() {
        check(
            "# comment\n[myserver]\nipaddr = 192.168.1.1\ninterval = 500\nports = 111:TCP 222:tcp 333:UDP\n",
            expect!["myserver: 192.168.1.1 500ms 111:tcp 222:tcp 333:udp\n"],
        );
    }

    #[test]
    fn configparsers_odd_corners() {
        check(
            "[DEFAULT]\nInterval: 1e2\nnet = 10.0.0\nmore : 99%%\n\
             [a b] ; ignored\n  IPADDR : %(net)s.1\n  Ports=1:udp:ignored\n     \n     ; comment\n    2:TCP\n\n\
             [b]\nipaddr=[::1]\ninterval=0.5\nports=3:UDP\nunknown = x\n",
            expect![[r#"
                a b: 10.0.0.1 100ms 1:udp 2:tcp
                b: [::1] 500µs 3:udp
            "#]],
        );
    }

    #[test]
    fn all_mistakes_at_once_with_their_lines() {
        check(
            "before = 1\n\
             [a]\nipaddr = x y\ninterval = soon\nports = 111 70000:TCP 222:SCTP\nnonsense\n= x\n\
             [b]\ninterval = -1\nports =\ninterval = 2\n\
             [a]\nipaddr = %(nothing)s\ninterval = %(interval)s\nports = 1%:TCP\n",
            expect![[r#"
                p.ini:1: stands before the first profile; write [NAME] above it
                p.ini:3: a.ipaddr: `x y` is not a host; write a name or an address
                p.ini:4: a.interval: `soon` is not a number; write milliseconds, such as 500
                p.ini:5: a.ports[0]: `111` says no protocol; write 111:TCP or 111:UDP
                p.ini:5: a.ports[1]: 70000 is not a port; use 1 to 65535
                p.ini:5: a.ports[2]: `222:SCTP` is not a step; after the port comes :tcp, :udp or nothing
                p.ini:6: is neither [NAME] nor KEY = VALUE
                p.ini:7: is neither [NAME] nor KEY = VALUE
                p.ini:8: b.ipaddr: is missing
                p.ini:9: b.interval: -1 is out of range; use 0s to 1h
                p.ini:10: b.ports: names no port; write such as 1111:UDP 2222:TCP
                p.ini:11: b.interval: is here twice; leave one out
                p.ini:12: a: is here twice; give each profile a name of its own
                p.ini:13: a.ipaddr: %(nothing)s is no key of this profile
                p.ini:14: a.interval: %(interval)s goes round in circles
                p.ini:15: a.ports: % stands for itself only as %%
            "#]],
        );
    }

    #[track_caller]
    fn check(text: &str, expect: Expect) {
        let file = ProfileFile::parse(Path::new("p.ini"), text);
        let mut shown = String::new();
        for (name, profile) in file.profiles() {
            let steps: Vec<_> = profile.steps.iter().map(ToString::to_string).collect();
            shown += &format!("{name}: {} {:?} {}\n", profile.host, profile.interval, steps.join(" "));
        }
        let mut mistakes = file.mistakes();
        mistakes.sort();
        for mistake in mistakes {
            shown += &format!("{mistake}\n");
        }
        expect.assert_eq(&shown);
    }
}
