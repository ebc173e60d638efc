//! Settings: checks the rule's settings. Every mistake is found, not only the first.

use std::net::IpAddr;
use std::time::Duration;

use postern_sdk::serde_json::{Map, Value};
use postern_sdk::{Destination, Interest, Prefix, TcpFlags, Transport, Watch};
use postern_text::{DurationError, duration};

use crate::family::ClientFamily;
use crate::step::Step;
use crate::widths::Widths;

const KEYS: [&str; 11] = [
    "sequence",
    "within",
    "gap",
    "cooldown",
    "tcp_flags",
    "duplicates",
    "action",
    "prefix",
    "target",
    "family",
    "strict",
];
/// The contract takes no more.
const MOST_TARGETS: usize = 64;
const MOST_STEPS: usize = 64;
const DEFAULT_WITHIN: Duration = Duration::from_secs(25);
/// The shortest time; a shorter one cannot be told from no time at all.
const SHORTEST: Duration = Duration::from_millis(1);
/// The host remembers no client for longer.
const LONGEST: Duration = Duration::from_secs(3600);
const MANY_STEPS: &str = r#"give 1 to 64 steps such as ["1111/udp", "2222/tcp"]"#;

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// 1 to 64.
    pub(crate) steps: Vec<Step>,
    /// From the first step to the last.
    pub(crate) within: Duration,
    /// From one step to the next.
    pub(crate) gap: Option<Duration>,
    /// From a right knock to the next that is taken of the same client.
    pub(crate) cooldown: Option<Duration>,
    pub(crate) tcp: Flags,
    pub(crate) duplicates: Duplicates,
    pub(crate) action: DoorAction,
    /// For how much around the source.
    pub(crate) widths: Widths,
    /// Where the packets must be going.
    pub(crate) target: Destination,
    /// Whose knocks count; none: everybody's.
    pub(crate) family: Option<ClientFamily>,
    /// Whether any other port is a wrong step, and not only those of some sequence.
    pub(crate) strict: bool,
}

/// What a TCP step must carry, and must not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    pub(crate) set: TcpFlags,
    pub(crate) clear: TcpFlags,
}

/// What a repeat of the step just matched does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duplicates {
    Fail,
    IgnoreLast,
}

/// What a whole sequence does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DoorAction {
    Open,
    Close,
}

impl Settings {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All mistakes, with remedies, each in a line of its own that begins with its key, so that the host can name its place.
    pub(crate) fn check(written: &Map<String, Value>) -> Result<Self, String> {
        let mut mistakes = SettingsMistakes::default();
        for key in written.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            mistakes.push(format!("{key}: no such key; there are {}", KEYS.join(", ")));
        }
        let settings = Self {
            steps: steps(written.get("sequence"), &mut mistakes),
            within: time(written, "within", &mut mistakes).unwrap_or(DEFAULT_WITHIN),
            gap: time(written, "gap", &mut mistakes),
            cooldown: time(written, "cooldown", &mut mistakes),
            tcp: flags(written.get("tcp_flags"), &mut mistakes),
            duplicates: choice(
                written,
                "duplicates",
                [("fail", Duplicates::Fail), ("ignore-last", Duplicates::IgnoreLast)],
                &mut mistakes,
            ),
            action: choice(
                written,
                "action",
                [("open", DoorAction::Open), ("close", DoorAction::Close)],
                &mut mistakes,
            ),
            widths: Widths::check(written.get("prefix"), &mut mistakes.0),
            target: target(written.get("target"), &mut mistakes),
            family: written.contains_key("family").then(|| {
                let families = [("ipv4", ClientFamily::Ipv4), ("ipv6", ClientFamily::Ipv6)];
                choice(written, "family", families, &mut mistakes)
            }),
            strict: match written.get("strict") {
                None => false,
                Some(Value::Bool(strict)) => *strict,
                Some(other) => {
                    mistakes.push(format!("strict: {other} is not known; write true or false"));
                    false
                }
            },
        };
        if mistakes.0.is_empty() { Ok(settings) } else { Err(mistakes.0.join("\n")) }
    }

    /// One watch for each port of the sequence, or all ports there are.
    pub(crate) fn interest(&self) -> Interest {
        let tcp = |watch: Watch| watch.with(self.tcp.set).without(self.tcp.clear);
        if self.strict {
            let all = [Watch::udp(0..=u16::MAX), tcp(Watch::tcp(0..=u16::MAX))];
            let interest = Interest::new(all).memory_format(self.memory_format());
            return interest.destination(self.target.clone());
        }
        let mut seen = Vec::new();
        for step in &self.steps {
            if !seen.contains(step) {
                seen.push(*step);
            }
        }
        let watches = seen.into_iter().map(|Step { transport, port }| {
            let watch = Watch::new(transport, port);
            if transport == Transport::Tcp { tcp(watch) } else { watch }
        });
        let interest = Interest::new(watches).memory_format(self.memory_format());
        interest.destination(self.target.clone())
    }

    /// A hash (32-bit FNV-1a) of what gives a stage its meaning. A changed sequence makes clients start over;
    /// changed times do not, since those are applied at each knock.
    fn memory_format(&self) -> u32 {
        let steps = self.steps.iter().flat_map(|step| {
            let [high, low] = step.port.to_be_bytes();
            [high, low, u8::from(step.transport == Transport::Tcp)]
        });
        let flags = [self.tcp.set.bits(), self.tcp.clear.bits()];
        steps.chain(flags).fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }
}

/// What is wrong with the settings.
#[derive(Default)]
struct SettingsMistakes(Vec<String>);

/// Most mistakes that are reported.
const MOST_MISTAKES: usize = 100;
/// Bytes of each.
const LONGEST_MISTAKE: usize = 500;

impl SettingsMistakes {
    /// As many mistakes of such a length as fit into an answer of a rule, which is bounded.
    fn push(&mut self, mut mistake: String) {
        if self.0.len() < MOST_MISTAKES {
            mistake.truncate(mistake.floor_char_boundary(LONGEST_MISTAKE));
            self.0.push(mistake);
        }
    }
}

fn steps(written: Option<&Value>, mistakes: &mut SettingsMistakes) -> Vec<Step> {
    let Some(written) = written else {
        mistakes.push(format!("sequence is missing; {MANY_STEPS}"));
        return Vec::new();
    };
    let Some(list) = written.as_array() else {
        mistakes.push(format!("sequence: {written} is not a list; {MANY_STEPS}"));
        return Vec::new();
    };
    if list.is_empty() || list.len() > MOST_STEPS {
        mistakes.push(format!("sequence: has {} steps; {MANY_STEPS}", list.len()));
        return Vec::new();
    }
    let mut steps = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        match item.as_str().and_then(Step::parse) {
            Some(step) => steps.push(step),
            None => mistakes.push(format!(
                "sequence[{index}]: {item} is not a step; write port/udp or port/tcp with a port from 1 to 65535"
            )),
        }
    }
    steps
}

fn time(written: &Map<String, Value>, key: &str, mistakes: &mut SettingsMistakes) -> Option<Duration> {
    let duration = match written.get(key)? {
        Value::String(text) => duration::parse_within(text, SHORTEST..=LONGEST),
        // Which is a mistake; which one, the grammar knows.
        Value::Number(number) => duration::parse_within(&number.to_string(), SHORTEST..=LONGEST),
        other => Err(DurationError::Malformed(other.to_string())),
    };
    duration.map_err(|mistake| mistakes.push(format!("{key}: {mistake}"))).ok()
}

fn flags(written: Option<&Value>, mistakes: &mut SettingsMistakes) -> Flags {
    // The first packet of a connection. If a step's port happens to be open, the client's other packets to it would be wrong
    // steps, and no knock would ever be right.
    let Some(written) = written else { return Flags { set: TcpFlags::SYN, clear: TcpFlags::ACK } };
    let mut flags = Flags::default();
    let Some(list) = written.as_array() else {
        mistakes.push(format!(r#"tcp_flags: {written} is not a list; write one such as ["syn", "!ack"]"#));
        return flags;
    };
    for (index, item) in list.iter().enumerate() {
        let name = item.as_str().unwrap_or_default();
        let (side, name) = match name.strip_prefix('!') {
            Some(name) => (&mut flags.clear, name),
            None => (&mut flags.set, name),
        };
        match TcpFlags::named(name) {
            Some(flag) => *side = *side | flag,
            None => {
                let names: Vec<_> = TcpFlags::NAMES.iter().map(|(name, _)| *name).collect();
                mistakes.push(format!(
                    "tcp_flags[{index}]: {item} is not a flag; write one of {}, with ! in front if it must be clear",
                    names.join(" ")
                ));
            }
        }
    }
    for (name, _) in TcpFlags::NAMES
        .iter()
        .filter(|(_, flag)| flags.set.intersects(*flag) && flags.clear.intersects(*flag))
    {
        mistakes
            .push(format!("tcp_flags: {name} must be both set and clear; remove one of {name} and !{name}"));
    }
    flags
}

fn target(written: Option<&Value>, mistakes: &mut SettingsMistakes) -> Destination {
    let list = match written {
        None => return Destination::ThisHost,
        Some(Value::String(name)) if name == "any" => return Destination::Anywhere,
        Some(Value::Array(list)) => list.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    if list.is_empty() || list.len() > MOST_TARGETS {
        mistakes.push(format!("target: has {} addresses; give 1 to {MOST_TARGETS}, or \"any\"", list.len()));
    }
    let mut prefixes = Vec::with_capacity(list.len());
    for item in list {
        match item.as_str().and_then(prefix) {
            Some(prefix) => prefixes.push(prefix),
            None => mistakes.push(format!(
                r#"target: {item} is not an address; write one such as "192.0.2.1", a network such as "2001:db8::/32", or "any""#
            )),
        }
    }
    Destination::Within(prefixes)
}

/// An address, or a network by its first address and length.
fn prefix(text: &str) -> Option<Prefix> {
    let Some((address, length)) = text.split_once('/') else {
        return text.parse().ok().map(|address: IpAddr| Prefix::from(address));
    };
    let address: IpAddr = address.parse().ok()?;
    let length: u8 =
        length.parse().ok().filter(|length| *length <= if address.is_ipv4() { 32 } else { 128 })?;
    let prefix = Prefix::new(address, length);
    (prefix.first() == address).then_some(prefix)
}

/// The value of the chosen name; the first if none was chosen.
fn choice<T: Copy>(
    written: &Map<String, Value>,
    key: &str,
    choices: [(&str, T); 2],
    mistakes: &mut SettingsMistakes,
) -> T {
    let [first, second] = choices;
    match written.get(key) {
        Some(Value::String(name)) if name == second.0 => return second.1,
        None => {}
        Some(Value::String(name)) if name == first.0 => {}
        Some(other) => {
            mistakes.push(format!(r#"{key}: {other} is not known; write "{}" or "{}""#, first.0, second.0))
        }
    }
    first.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Settings, String> {
        Settings::check(&postern_sdk::serde_json::from_str(json).unwrap())
    }

    #[track_caller]
    fn check(json: &str, mistakes: &[&str]) {
        assert_eq!(parse(json).err().unwrap_or_default(), mistakes.join("\n"));
    }

    #[test]
    fn everything_has_a_default_but_the_sequence() {
        let settings = parse(r#"{"sequence": ["1111/udp"]}"#).unwrap();
        assert_eq!((settings.within, settings.gap, settings.cooldown), (DEFAULT_WITHIN, None, None));
        assert_eq!((settings.duplicates, settings.action), (Duplicates::Fail, DoorAction::Open));
        check("{}", &[r#"sequence is missing; give 1 to 64 steps such as ["1111/udp", "2222/tcp"]"#]);
    }

    #[test]
    fn families() {
        let family = |json: &str| parse(&format!(r#"{{"sequence": ["7/udp"], "family": {json}}}"#));
        assert_eq!(parse(r#"{"sequence": ["7/udp"]}"#).unwrap().family, None);
        assert_eq!(family(r#""ipv4""#).unwrap().family, Some(ClientFamily::Ipv4));
        assert_eq!(family(r#""ipv6""#).unwrap().family, Some(ClientFamily::Ipv6));
        let words = r#"family: "inet" is not known; write "ipv4" or "ipv6""#;
        assert_eq!(family(r#""inet""#).unwrap_err(), words);
    }

    #[test]
    fn targets() {
        let target =
            |json: &str| parse(&format!(r#"{{"sequence": ["7/udp"], "target": {json}}}"#)).map(|s| s.target);
        assert_eq!(parse(r#"{"sequence": ["7/udp"]}"#).unwrap().target, Destination::ThisHost);
        assert_eq!(target(r#""any""#), Ok(Destination::Anywhere));
        let one = Prefix::from("10.9.0.255".parse::<IpAddr>().unwrap());
        assert_eq!(target(r#""10.9.0.255""#), Ok(Destination::Within(vec![one])));
        let net = Prefix::new("2001:db8::".parse().unwrap(), 32);
        assert_eq!(target(r#"["10.9.0.255", "2001:db8::/32"]"#), Ok(Destination::Within(vec![one, net])));
        for wrong in ["[]", "7", r#""gate""#, r#""10.0.0.1/8""#, r#""10.0.0.0/33""#, r#""10.0.0.0/""#] {
            assert!(target(wrong).unwrap_err().starts_with("target"), "{wrong}");
        }
    }

    #[test]
    fn every_mistake_is_said_at_once() {
        check(
            r#"{
                "sequenc": [],
                "sequence": ["1111/udp", "70000/udp", 7, "0/tcp"],
                "within": "2h",
                "gap": "soon",
                "cooldown": "61m",
                "tcp_flags": ["sin", "syn", "!syn", "!"],
                "duplicates": "maybe",
                "action": true
            }"#,
            &[
                "sequenc: no such key; there are sequence, within, gap, cooldown, tcp_flags, duplicates, action, prefix, target, family, strict",
                r#"sequence[1]: "70000/udp" is not a step; write port/udp or port/tcp with a port from 1 to 65535"#,
                "sequence[2]: 7 is not a step; write port/udp or port/tcp with a port from 1 to 65535",
                r#"sequence[3]: "0/tcp" is not a step; write port/udp or port/tcp with a port from 1 to 65535"#,
                "within: 2h is out of range; use 1ms to 1h",
                r#"gap: `soon` is not a duration; write a number and a unit (ms, s, m, h or d), or several, such as "90s" or "1h30m""#,
                "cooldown: 61m is out of range; use 1ms to 1h",
                r#"tcp_flags[0]: "sin" is not a flag; write one of fin syn rst psh ack urg ece cwr, with ! in front if it must be clear"#,
                r#"tcp_flags[3]: "!" is not a flag; write one of fin syn rst psh ack urg ece cwr, with ! in front if it must be clear"#,
                "tcp_flags: syn must be both set and clear; remove one of syn and !syn",
                r#"duplicates: "maybe" is not known; write "fail" or "ignore-last""#,
                r#"action: true is not known; write "open" or "close""#,
            ],
        );
    }

    #[test]
    fn durations() {
        let gap = |json: &str| parse(&format!(r#"{{"sequence": ["7/udp"], "gap": {json}}}"#)).map(|s| s.gap);
        for (json, millis) in
            [(r#""5s""#, 5_000), (r#""500ms""#, 500), (r#""1m 30s""#, 90_000), (r#""1h""#, 3_600_000)]
        {
            assert_eq!(gap(json), Ok(Some(Duration::from_millis(millis))), "{json}");
        }
        for (json, mistake) in [
            ("25", r#"gap: `25` has no unit; write ms, s, m, h or d behind it: "25s" are 25 seconds"#),
            (r#""25""#, r#"gap: `25` has no unit; write ms, s, m, h or d behind it: "25s" are 25 seconds"#),
            (
                "5000",
                r#"gap: `5000` has no unit; write ms, s, m, h or d behind it: "5000ms" are 5000 milliseconds"#,
            ),
            (
                "-5",
                r#"gap: `-5`: a duration cannot be negative; write a number and a unit (ms, s, m, h or d), such as "90s""#,
            ),
            (
                r#""-5s""#,
                r#"gap: `-5s`: a duration cannot be negative; write a number and a unit (ms, s, m, h or d), such as "90s""#,
            ),
            (r#""0s""#, "gap: 0s is out of range; use 1ms to 1h"),
            (r#""1h1ms""#, "gap: 3600001ms is out of range; use 1ms to 1h"),
            (
                "null",
                r#"gap: `null` is not a duration; write a number and a unit (ms, s, m, h or d), or several, such as "90s" or "1h30m""#,
            ),
        ] {
            assert_eq!(gap(json), Err(mistake.to_owned()), "{json}");
        }
    }

    #[test]
    fn a_sequence_has_1_to_64_steps() {
        let sequence = |steps: usize| format!(r#"{{"sequence": {:?}}}"#, vec!["7/udp"; steps]);
        check(&sequence(1), &[]);
        check(&sequence(64), &[]);
        check(&sequence(0), &[&format!("sequence: has 0 steps; {MANY_STEPS}")]);
        check(&sequence(65), &[&format!("sequence: has 65 steps; {MANY_STEPS}")]);
        check(r#"{"sequence": "7/udp"}"#, &[&format!(r#"sequence: "7/udp" is not a list; {MANY_STEPS}"#)]);
        check(
            r#"{"sequence": ["7/udp"], "tcp_flags": "syn"}"#,
            &[r#"tcp_flags: "syn" is not a list; write one such as ["syn", "!ack"]"#],
        );
    }

    #[test]
    fn each_port_is_watched_once_with_the_flags_for_tcp() {
        let settings = parse(r#"{"sequence": ["7/udp", "7/tcp", "7/udp"], "tcp_flags": ["syn", "!ack"]}"#);
        let interest = settings.unwrap().interest();
        let expected =
            Interest::new([Watch::udp(7), Watch::tcp(7).with(TcpFlags::SYN).without(TcpFlags::ACK)]);
        assert_eq!(interest.memory_format(0), expected);
    }

    #[test]
    fn only_what_gives_memory_its_meaning_changes_its_format() {
        let format = |json: &str| parse(json).unwrap().memory_format();
        let base = format(r#"{"sequence": ["7/udp", "8/tcp"]}"#);
        assert_eq!(
            base,
            format(
                r#"{"sequence": ["7/udp", "8/tcp"], "within": "1s", "gap": "1s", "cooldown": "1s", "action": "close", "duplicates": "ignore-last"}"#
            )
        );
        for other in [
            r#"{"sequence": ["7/udp", "8/udp"]}"#,
            r#"{"sequence": ["8/tcp", "7/udp"]}"#,
            r#"{"sequence": ["7/udp", "8/tcp", "9/tcp"]}"#,
            r#"{"sequence": ["7/udp", "8/tcp"], "tcp_flags": ["syn"]}"#,
            r#"{"sequence": ["7/udp", "8/tcp"], "tcp_flags": ["!syn"]}"#,
        ] {
            assert_ne!(base, format(other), "{other}");
        }
    }
}
