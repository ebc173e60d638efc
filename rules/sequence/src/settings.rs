//! Settings: checks the rule's settings. Every mistake is found, not only the first.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use postern_sdk::serde_json::{Map, Value};
use postern_sdk::{Destination, Interest, Prefix, TcpFlags, Transport, Watch};
use postern_text::{DurationError, duration};

use crate::family::ClientFamily;
use crate::step::Step;
use crate::widths::Widths;

const KEYS: [&str; 13] = [
    "sequence",
    "within",
    "gap",
    "min_gap",
    "reorder",
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
/// Packets that overtake each other on a network do so by milliseconds.
const LONGEST_REORDER: Duration = Duration::from_secs(1);
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
    /// From one step to the next, at least.
    pub(crate) min_gap: Option<Duration>,
    /// How long a step may come before one that should have come before it.
    pub(crate) reorder: Option<Duration>,
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
            within: time(written, "within", SHORTEST..=LONGEST, &mut mistakes).unwrap_or(DEFAULT_WITHIN),
            gap: time(written, "gap", SHORTEST..=LONGEST, &mut mistakes),
            min_gap: time(written, "min_gap", SHORTEST..=LONGEST, &mut mistakes),
            reorder: time(written, "reorder", SHORTEST..=LONGEST_REORDER, &mut mistakes),
            cooldown: time(written, "cooldown", SHORTEST..=LONGEST, &mut mistakes),
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
        settings.check_distance(&mut mistakes);
        if mistakes.0.is_empty() { Ok(settings) } else { Err(mistakes.0.join("\n")) }
    }

    /// Whether a client that keeps its distance can knock right at all.
    fn check_distance(&self, mistakes: &mut SettingsMistakes) {
        let Some(least) = self.min_gap else { return };
        if let Some(gap) = self.gap.filter(|gap| *gap <= least) {
            mistakes.push(format!(
                "min_gap: {} leaves no time before the gap of {}; write less than that",
                duration::show(least),
                duration::show(gap)
            ));
        }
        let distances = u32::try_from(self.steps.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = least.saturating_mul(distances);
        if whole >= self.within {
            mistakes.push(format!(
                "min_gap: {} for each of {} steps but the first makes {}, and all must come within {}; shorten it, or raise within",
                duration::show(least),
                self.steps.len(),
                duration::show(whole),
                duration::show(self.within)
            ));
        }
        if self.reorder.is_some() {
            mistakes.push(
                "reorder: steps that keep a min_gap do not overtake each other; leave one of the two out"
                    .to_owned(),
            );
        }
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
            None => mistakes.push(match item.as_str().and_then(Step::meant) {
                Some(meant) => format!("sequence[{index}]: {item} is not a step; write \"{meant}\""),
                None => format!(
                    "sequence[{index}]: {item} is not a step; write port/udp or port/tcp with a port from 1 to 65535"
                ),
            }),
        }
    }
    steps
}

fn time(
    written: &Map<String, Value>,
    key: &str,
    range: RangeInclusive<Duration>,
    mistakes: &mut SettingsMistakes,
) -> Option<Duration> {
    let duration = match written.get(key)? {
        Value::String(text) => duration::parse_within(text, range),
        // Which is a mistake; which one, the grammar knows.
        Value::Number(number) => duration::parse_within(&number.to_string(), range),
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
mod tests;
