//! The text of a knock and of a verdict.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ORIGIN;
use crate::{Closing, Knock, Once, Opening, Prefix, Progress, TcpFlags, Timestamp, Transport, Verdict};

const THIS_HOST_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THIS_HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The most doors of one verdict.
const MAX_DOORS: usize = 8;
/// The most bytes of a reason to forget.
const MAX_REASON: usize = 200;
/// The most bytes of a token, or of a counter's key.
const MAX_KEY: usize = 64;
/// The most that a counter may be.
const MAX_COUNTER: u64 = (1 << 53) - 1;

/// Whether this is an address of the pretended host.
pub(super) fn is_this_host(address: IpAddr) -> bool {
    address == THIS_HOST_V4 || address == THIS_HOST_V6
}

/// Reads a knock: see the module [`crate::testing`].
pub(super) fn parse(text: &str) -> Result<Knock, String> {
    let mut words = text.split_whitespace();
    let mut next = |what: &str| words.next().ok_or_else(|| format!("{what} is missing"));
    let time = parse_time(next("the time")?)?;
    let source: IpAddr = parse_word(next("the source address")?, "an address")?;
    let (transport, port) = parse_target(next("transport/port")?)?;
    let mut knock = Knock {
        time,
        source,
        source_port: if matches!(transport, Transport::Tcp | Transport::Udp) { 40_000 } else { 0 },
        destination: if source.is_ipv4() { THIS_HOST_V4.into() } else { THIS_HOST_V6.into() },
        destination_port: port,
        transport,
        tcp_flags: if transport == Transport::Tcp { TcpFlags::SYN } else { TcpFlags::NONE },
        hop_limit: 64,
        length: 0,
        interface: "eth0".to_owned(),
        payload: Vec::new(),
    };
    let mut length = None;
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not key=value"))?;
        match key {
            "flags" => knock.tcp_flags = parse_flags(value)?,
            "from" => knock.source_port = parse_word(value, "a port")?,
            "to" => knock.destination = parse_word(value, "an address")?,
            "hops" => knock.hop_limit = parse_word(value, "a hop limit")?,
            "length" => length = Some(parse_word(value, "a length")?),
            "on" => value.clone_into(&mut knock.interface),
            "payload" => knock.payload = parse_payload(value)?,
            _ => {
                return Err(format!(
                    "`{key}` is not known; use flags, from, to, hops, length, on or payload"
                ));
            }
        }
    }
    let headers = if source.is_ipv4() { 20 } else { 40 } + if transport == Transport::Tcp { 20 } else { 8 };
    let whole = u32::try_from(headers + knock.payload.len()).unwrap_or(u32::MAX);
    knock.length = length.unwrap_or(whole);
    Ok(knock)
}

fn parse_word<T: std::str::FromStr>(word: &str, what: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is not {what}"))
}

/// `+1.5s`, exact to the microsecond.
fn parse_time(word: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{word}` is not a time such as +1.5s");
    let number = word.strip_prefix('+').and_then(|rest| rest.strip_suffix('s')).ok_or_else(wrong)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if part.is_empty()
        || part.len() > 6
        || !part.bytes().chain(whole.bytes()).all(|byte| byte.is_ascii_digit())
    {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| wrong())?;
    let micros =
        whole.checked_mul(1_000_000).and_then(|micros| micros.checked_add(part)).ok_or_else(wrong)?;
    Ok(Timestamp::from_micros(ORIGIN.as_micros().saturating_add(micros)))
}

fn parse_target(word: &str) -> Result<(Transport, u16), String> {
    let wrong = || format!("`{word}` is not transport/port, such as udp/1111 or icmp/8");
    let (transport, port) = word.split_once('/').ok_or_else(wrong)?;
    let transport = match transport {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        "icmp" => Transport::Icmp,
        "icmpv6" => Transport::Icmpv6,
        _ => return Err(wrong()),
    };
    Ok((transport, port.parse().map_err(|_| wrong())?))
}

/// `syn,ack`, or nothing for no flag.
fn parse_flags(value: &str) -> Result<TcpFlags, String> {
    value.split(',').filter(|name| !name.is_empty()).try_fold(TcpFlags::NONE, |flags, name| {
        Ok(flags | TcpFlags::named(name).ok_or_else(|| format!("`{name}` is not a TCP flag"))?)
    })
}

/// Text without blanks, or hexadecimal digits behind `0x`.
fn parse_payload(value: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = value.strip_prefix("0x") else { return Ok(value.as_bytes().to_vec()) };
    let wrong = || format!("`{value}` does not have two hexadecimal digits for each byte");
    if digits.len() % 2 != 0 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let bytes = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    bytes.map(|pair| pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)).collect()
}

/// A time as lines write it: `+1.5s`, and with a minus what lies before [`ORIGIN`].
pub(super) struct Time(pub(super) Timestamp);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < ORIGIN { '-' } else { '+' };
        let micros = self.0.as_micros().abs_diff(ORIGIN.as_micros());
        let part = format!("{:06}", micros % 1_000_000);
        let digits = part.trim_end_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        write!(f, "{sign}{}.{digits}s", micros / 1_000_000)
    }
}

/// A verdict in words.
pub(super) fn verdict<M>(verdict: &Verdict<M>) -> String {
    match verdict {
        Verdict::Ignore => "ignore".to_owned(),
        Verdict::Remember(progress) => remember(progress),
        Verdict::Forget(reason) => format!("forget: {reason}"),
        Verdict::Open { doors, after } => and(words("open", doors.iter().map(opening)), after.as_ref()),
        Verdict::Close { doors, after } => and(words("close", doors.iter().map(closing)), after.as_ref()),
    }
}

fn remember<M>(Progress { stage, until, .. }: &Progress<M>) -> String {
    format!("remember {stage} until {}", Time(*until))
}

fn and<M>(said: String, after: Option<&Progress<M>>) -> String {
    match after {
        Some(progress) => format!("{said} and {}", remember(progress)),
        None => said,
    }
}

fn words(verb: &str, doors: impl Iterator<Item = String>) -> String {
    let doors: Vec<_> = doors.collect();
    match doors.as_slice() {
        [] => format!("{verb} no door"),
        [only] if only.is_empty() => verb.to_owned(),
        all => format!("{verb} {}", all.join(", ")),
    }
}

fn opening(Opening { door, client, lasts, once }: &Opening) -> String {
    let mut words: Vec<String> = door.iter().cloned().collect();
    words.extend(lasts.map(|seconds| format!("for {seconds}s")));
    words.extend(client.map(|client| prefix("client", client)));
    words.extend(once.as_ref().map(|once| match once {
        Once::Token(token) => format!("once token {}", hex(token)),
        Once::Counter { key, value } => format!("once counter {} at {value}", hex(key)),
    }));
    words.join(" ")
}

fn closing(Closing { door, client }: &Closing) -> String {
    let mut words: Vec<String> = door.iter().cloned().collect();
    words.extend(client.map(|client| prefix("client", client)));
    words.join(" ")
}

fn prefix(word: &str, Prefix { address, length }: Prefix) -> String {
    format!("{word} {address}/{length}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the contract forbids about this verdict, its memory aside.
pub(super) fn fault<M>(verdict: &Verdict<M>) -> Option<String> {
    let doors = match verdict {
        Verdict::Forget(reason) if reason.len() > MAX_REASON => {
            return Some(format!("a reason of {} bytes; the most is {MAX_REASON}", reason.len()));
        }
        Verdict::Open { doors, .. } => doors.len(),
        Verdict::Close { doors, .. } => doors.len(),
        _ => return None,
    };
    if doors > MAX_DOORS {
        return Some(format!("{doors} doors; the most is {MAX_DOORS}"));
    }
    let Verdict::Open { doors: openings, .. } = verdict else { return None };
    openings.iter().find_map(|opening| match &opening.once {
        _ if opening.lasts == Some(0) => Some("an opening of 0 seconds".to_owned()),
        Some(Once::Token(key) | Once::Counter { key, .. }) if !(1..=MAX_KEY).contains(&key.len()) => {
            Some(format!("a token or key of {} bytes; it must be 1 to {MAX_KEY}", key.len()))
        }
        Some(Once::Counter { value, .. }) if *value > MAX_COUNTER => {
            Some(format!("a counter at {value}; the most is {MAX_COUNTER}"))
        }
        _ => None,
    })
}
