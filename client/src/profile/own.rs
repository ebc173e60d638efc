//! Own: Postern's file of profiles, a TOML table each. Reading goes on after a mistake, so that all are reported at once.

use std::fmt::Display;
use std::ops::Range;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use postern_text::Mistake;
use postern_text::duration::parse_within;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Profile, ProfileEntry, check_host, check_source};
use crate::duration::LONGEST;
use crate::payload::Payload;
use crate::resolve::AddressFamily;
use crate::step::KnockStep;
use crate::tcp_door::TcpDoor;
use crate::then::Then;

pub(super) fn parse(path: &Path, text: &str) -> (Vec<ProfileEntry>, Vec<Mistake>) {
    let line_feeds: Vec<_> =
        text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    let file = File { path, line_feeds: &line_feeds };
    let (table, errors) = DeTable::parse_recoverable(text);
    let table = table.into_inner();
    let mut mistakes = Vec::new();
    for error in &errors {
        let line = file.line(&error.span().unwrap_or(0..0));
        // The parser may report one mistake several times.
        if mistakes.last().is_none_or(|last: &Mistake| last.line != Some(line)) {
            mistakes.push(file.mistake(line, "", format!("not TOML: {}", error.message())));
        }
    }
    let mut tables: Vec<_> = table.iter().collect();
    tables.sort_by_key(|(name, _)| name.span().start);
    let entries = tables.into_iter().map(|(name, value)| entry(file, name, value.get_ref())).collect();
    (entries, mistakes)
}

fn entry(file: File<'_>, name: &Spanned<impl AsRef<str>>, value: &DeValue<'_>) -> ProfileEntry {
    let (line, name) = (file.line(&name.span()), name.get_ref().as_ref());
    let profile = match value {
        DeValue::Table(table) => {
            let mut reader = TomlReader { file, name, line, table, known: Vec::new(), mistakes: Vec::new() };
            reader.profile().ok_or(reader.mistakes)
        }
        _ => Err(vec![file.mistake(line, name, format!("is not a profile; write a table: [{name}]"))]),
    };
    ProfileEntry { name: name.to_owned(), profile }
}

#[derive(Clone, Copy)]
struct File<'a> {
    path: &'a Path,
    /// Where lines end: it is asked for each step.
    line_feeds: &'a [usize],
}

impl File<'_> {
    fn line(self, span: &Range<usize>) -> usize {
        1 + self.line_feeds.partition_point(|at| *at < span.start)
    }

    fn mistake(self, line: usize, key: impl Display, what: impl Display) -> Mistake {
        Mistake { file: self.path.to_owned(), line: Some(line), key: key.to_string(), what: what.to_string() }
    }
}

/// One profile's table, the keys it was asked for, and the mistakes found in it.
struct TomlReader<'a> {
    file: File<'a>,
    name: &'a str,
    line: usize,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
    mistakes: Vec<Mistake>,
}

impl<'a> TomlReader<'a> {
    /// The profile, if there is no mistake.
    fn profile(&mut self) -> Option<Profile> {
        let host = self.required("host", check_host);
        let steps = self.steps();
        let interval = self.duration("interval", Duration::ZERO..=LONGEST);
        let family = self.checked("family", |text| match text {
            "both" => Ok(AddressFamily::Both),
            "ipv4" => Ok(AddressFamily::V4),
            "ipv6" => Ok(AddressFamily::V6),
            _ => Err(format!("`{text}` is not a family; write \"ipv4\", \"ipv6\" or \"both\"")),
        });
        let source = self.checked("source", check_source);
        let payload = self.payload();
        let wait = self.checked("wait", TcpDoor::parse);
        let timeout = self.duration("timeout", Duration::from_millis(1)..=LONGEST);
        let then = self.checked("then", Then::parse);
        self.unknown_keys();
        if !self.mistakes.is_empty() {
            return None;
        }
        let profile = Profile {
            interval: interval.unwrap_or_default(),
            family: family.unwrap_or_default(),
            source,
            payload: payload.unwrap_or_default(),
            wait,
            timeout,
            then,
            ..Profile::new(&host?, steps?)
        };
        for (key, what) in profile.contradictions() {
            let place = self.table.keys().find(|name| name.get_ref().starts_with(key));
            let line = place.map_or(self.line, |name| self.file.line(&name.span()));
            self.report(line, key, what);
        }
        self.mistakes.is_empty().then_some(profile)
    }

    /// A list of steps, or a text with spaces between them.
    fn steps(&mut self) -> Option<Vec<KnockStep>> {
        let Some((value, line)) = self.value("steps") else {
            self.report(self.line, "steps", "is missing; write a list, such as [\"7000/udp\", \"8000/tcp\"]");
            return None;
        };
        let mut texts = Vec::new();
        match value {
            DeValue::String(text) => {
                texts.extend(text.split_whitespace().enumerate().map(|(n, step)| (n, line, step)))
            }
            DeValue::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    let line = self.file.line(&item.span());
                    match item.get_ref() {
                        DeValue::String(text) => texts.push((n, line, text)),
                        other => self.wrong_type(line, &format!("steps[{n}]"), other),
                    }
                }
            }
            other => self.wrong_type(line, "steps", other),
        }
        if texts.is_empty() && self.mistakes.iter().all(|mistake| !mistake.key.contains(".steps")) {
            self.report(line, "steps", "names no port; write at least one");
        }
        let mut steps = Vec::with_capacity(texts.len());
        for (n, line, text) in texts {
            match KnockStep::parse(text) {
                Ok(step) => steps.push(step),
                Err(what) => self.report(line, &format!("steps[{n}]"), what),
            }
        }
        Some(steps)
    }

    /// The payload itself, or what a file holds that is named relative to this one.
    fn payload(&mut self) -> Option<Payload> {
        let payload = self.checked("payload", Payload::new);
        let folder = self.file.path.parent().unwrap_or_else(|| Path::new(""));
        let from_file = self.checked("payload_file", |text| Payload::read(&folder.join(text)));
        if payload.is_some() && from_file.is_some() {
            self.report(self.line, "payload_file", "there is a payload already; leave one of the two out");
        }
        payload.or(from_file)
    }

    fn required<T>(&mut self, key: &'static str, check: impl Fn(&'a str) -> Result<T, String>) -> Option<T> {
        if self.value(key).is_none() {
            self.report(self.line, key, "is missing");
        }
        self.checked(key, check)
    }

    fn checked<T, E: Display>(
        &mut self,
        key: &'static str,
        check: impl Fn(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let (value, line) = self.value(key)?;
        let DeValue::String(text) = value else {
            self.wrong_type(line, key, value);
            return None;
        };
        check(text).map_err(|what| self.report(line, key, what)).ok()
    }

    /// What a number alone lacks is a unit, and not only the quotes.
    fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let (text, line) = match self.value(key)? {
            (DeValue::Integer(number), line) => (number.as_str(), line),
            (DeValue::Float(number), line) => (number.as_str(), line),
            _ => return self.checked(key, |text| parse_within(text, range.clone())),
        };
        parse_within(text, range).map_err(|what| self.report(line, key, what)).ok()
    }

    fn value(&mut self, key: &'static str) -> Option<(&'a DeValue<'a>, usize)> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((value.get_ref(), self.file.line(&name.span())))
    }

    fn unknown_keys(&mut self) {
        for name in self.table.keys().filter(|name| !self.known.iter().any(|known| known == name.get_ref())) {
            let what = format!("no such key; there are {}", self.known.join(", "));
            self.mistakes.push(self.file.mistake(
                self.file.line(&name.span()),
                format!("{}.{}", self.name, name.get_ref()),
                what,
            ));
        }
    }

    fn wrong_type(&mut self, line: usize, key: &str, value: &DeValue<'_>) {
        let found = match value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.report(line, key, format!("is {found}; write a text in quotes"));
    }

    fn report(&mut self, line: usize, key: &str, what: impl Display) {
        self.mistakes.push(self.file.mistake(line, format!("{}.{key}", self.name), what));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::super::ProfileFile;
    use super::*;

    #[test]
    fn every_key() {
        check(
            r#"
            [home]
            host     = "gate.example.org"
            steps    = ["7000/udp", "8000", "9000:tcp"]
            interval = "200ms"
            family   = "ipv6"
            source   = "2001:db8::2"
            payload  = "secret"
            wait     = "tcp/22"
            timeout  = "3s"
            then     = "ssh -p {port} ann@{host}"
            [work]
            host  = "10.0.0.1"
            steps = "1111:udp 2222"
            "#,
            expect![[r#"
                home: Profile { host: "gate.example.org", steps: [KnockStep { written: "7000", port: 7000, transport: Udp }, KnockStep { written: "8000", port: 8000, transport: Tcp }, KnockStep { written: "9000", port: 9000, transport: Tcp }], interval: 200ms, family: V6, source: Some(2001:db8::2), payload: Payload(6 bytes), wait: Some(TcpDoor { port: 22 }), timeout: Some(3s), then: Some(Then { written: "ssh -p {port} ann@{host}", words: ["ssh", "-p", "{port}", "ann@{host}"] }) }
                work: Profile { host: "10.0.0.1", steps: [KnockStep { written: "1111", port: 1111, transport: Udp }, KnockStep { written: "2222", port: 2222, transport: Tcp }], interval: 0ns, family: Both, source: None, payload: Payload(0 bytes), wait: None, timeout: None, then: None }
            "#]],
        );
    }

    #[test]
    fn all_mistakes_at_once_with_their_lines() {
        check(
            r#"
            stray = 1
            [a]
            host     = "two words"
            steps    = ["70000/udp", 8000,
                        "9000:foo"]
            interval = "200"
            family   = "v6"
            source   = "here"
            payload  = 1
            wait     = "22"
            timeout  = "5 weeks"
            then     = "ssh {hots}"
            colour   = "red"
            [b]
            [c]
            host  = "x"
            steps = []
            interval = 200
            timeout = -1.5
            "#,
            expect![[r#"
                p.toml:2: stray: is not a profile; write a table: [stray]
                p.toml:4: a.host: `two words` is not a host; write a name or an address
                p.toml:5: a.steps[0]: 70000 is not a port; use 1 to 65535
                p.toml:5: a.steps[1]: is a number; write a text in quotes
                p.toml:6: a.steps[2]: `9000:foo` is not a step; after the port comes :tcp, :udp or nothing
                p.toml:7: a.interval: `200` has no unit; write ms, s, m, h or d behind it: "200s" are 200 seconds
                p.toml:8: a.family: `v6` is not a family; write "ipv4", "ipv6" or "both"
                p.toml:9: a.source: `here` is not an address of this machine, such as 192.0.2.1
                p.toml:10: a.payload: is a number; write a text in quotes
                p.toml:11: a.wait: `22` is not a door; write tcp/PORT, such as tcp/22
                p.toml:12: a.timeout: `5 weeks` is not a duration; write a number and a unit (ms, s, m, h or d), or several, such as "90s" or "1h30m"
                p.toml:13: a.then: {hots} stands for nothing; there are {host} and {port}
                p.toml:14: a.colour: no such key; there are host, steps, interval, family, source, payload, payload_file, wait, timeout, then
                p.toml:15: b.host: is missing
                p.toml:15: b.steps: is missing; write a list, such as ["7000/udp", "8000/tcp"]
                p.toml:18: c.steps: names no port; write at least one
                p.toml:19: c.interval: `200` has no unit; write ms, s, m, h or d behind it: "200s" are 200 seconds
                p.toml:20: c.timeout: `-1.5`: a duration cannot be negative; write a number and a unit (ms, s, m, h or d), such as "90s"
            "#]],
        );
    }

    #[test]
    fn what_does_not_go_together() {
        check(
            r#"
            [a]
            host = "x"
            steps = ["1"]
            family = "ipv4"
            source = "::1"
            payload = "p"
            timeout = "1s"
            then = "ssh -p {port} x"
            "#,
            expect![[r#"
                p.toml:6: a.source: is not of the family that was asked for
                p.toml:7: a.payload: no step carries it; only UDP steps do
                p.toml:8: a.timeout: is for a door, and none is waited for; add wait
                p.toml:9: a.then: {port} is the port waited for, and none is; add wait
            "#]],
        );
    }

    #[test]
    fn a_payload_may_be_in_a_file_beside_the_profiles() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), b"\xff\x00").expect("a file");
        std::fs::write(folder.path().join("long"), vec![b'x'; 1201]).expect("a file");
        let profile = |payload: &str| {
            let text = format!("[a]\nhost = \"x\"\nsteps = [\"1/udp\"]\n{payload}");
            ProfileFile::parse(&folder.path().join("p.toml"), &text)
        };
        let file = profile("payload_file = \"secret\"");
        assert_eq!(file.profile("a").expect("a file beside it").payload.bytes(), b"\xff\x00");
        for (payload, what) in [
            ("payload_file = \"none\"", "cannot read the payload from "),
            ("payload_file = \"long\"", "the payload in "),
            ("payload = \"x\"\npayload_file = \"secret\"", "there is a payload already"),
        ] {
            let mistakes = profile(payload).mistakes();
            assert_eq!(mistakes.len(), 1, "{payload}");
            assert!(mistakes[0].what.starts_with(what), "{}", mistakes[0]);
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_file_without_an_end_is_given_up_and_a_long_one_is_read_soon() {
        let error = ProfileFile::read(Path::new("/dev/zero")).expect_err("it has no end");
        assert_eq!(postern_text::chain(&error).to_string(), "cannot read /dev/zero: it is longer than 1 MiB");
        let (steps, begun) = (vec!["\"7\""; 150_000].join(",\n"), std::time::Instant::now());
        let text = format!("[a]\nhost = \"x\"\nsteps = [\n{steps},\n\"no\"]\n");
        let mistakes = ProfileFile::parse(Path::new("p.toml"), &text).mistakes();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let [mistake] = &mistakes[..] else { panic!("{mistakes:?}") };
        assert_eq!((mistake.line, mistake.key.as_str()), (Some(150_004), "a.steps[150000]"));
    }

    #[test]
    fn what_is_no_toml_spoils_the_file() {
        let text = "[good]\nhost = \"x\"\nsteps = [\"1\"]\n[bad\nhost = \"y\n";
        let file = ProfileFile::parse(Path::new("p.toml"), text);
        assert!(file.profile("good").is_err());
        assert_eq!(file.mistakes().iter().map(|mistake| mistake.line).min(), Some(Some(4)));
    }

    #[test]
    fn a_mistake_elsewhere_does_not_matter() {
        let file = ProfileFile::parse(Path::new("p.toml"), "[bad]\n[good]\nhost = \"x\"\nsteps = [\"1\"]\n");
        assert!(file.profile("good").is_ok());
        assert!(file.profile("bad").is_err());
        let error = file.profile("best").expect_err("no such profile").to_string();
        assert_eq!(error, "p.toml has no profile `best`; it has bad, good");
    }

    #[track_caller]
    fn check(text: &str, expect: Expect) {
        let file = ProfileFile::parse(Path::new("p.toml"), text);
        let profiles = file.profiles().map(|(name, profile)| format!("{name}: {profile:?}\n"));
        let mut mistakes = file.mistakes();
        mistakes.sort();
        let mistakes = mistakes.into_iter().map(|mistake| format!("{mistake}\n"));
        expect.assert_eq(&profiles.chain(mistakes).collect::<String>());
    }
}
