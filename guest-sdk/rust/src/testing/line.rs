//! The text of a knock and of a verdict.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ORIGIN;
use crate::{
    CloseRequest, Knock, Once, OpenRequest, Progress, TcpFlags, TcpHeader, Timestamp, Transport, Verdict,
};

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
/// The bits of the longest address.
const MAX_PREFIX_LENGTH: u8 = 128;
/// The most bytes of options that a TCP header has.
const MAX_OPTIONS: usize = 40;

/// Whether this is an address of the pretended host.
pub(super) fn is_this_host(address: IpAddr) -> bool {
    address == THIS_HOST_V4 || address == THIS_HOST_V6
}

/// Reads a knock: see the module [`crate::testing`].
pub(super) fn parse(text: &str) -> Result<Knock, String> {
    let mut words = text.split_whitespace();
    let mut next = |what: &str| words.next().ok_or_else(|| format!("{what} is missing"));
    let time = parse_time(next("the time")?)?;
    let (source, source_zone) = parse_source(next("the source address")?)?;
    let (transport, port) = parse_target(next("transport/port")?)?;
    let mut knock = Knock {
        time,
        source,
        source_zone,
        source_port: if matches!(transport, Transport::Tcp | Transport::Udp) { 40_000 } else { 0 },
        destination: if source.is_ipv4() { THIS_HOST_V4.into() } else { THIS_HOST_V6.into() },
        destination_port: port,
        transport,
        tcp_flags: if transport == Transport::Tcp { TcpFlags::SYN } else { TcpFlags::NONE },
        hop_limit: 64,
        packet_length: 0,
        interface_index: if source_zone == 0 { 2 } else { source_zone },
        tcp_header: (transport == Transport::Tcp).then(TcpHeader::default),
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
            "interface" => knock.interface_index = parse_word(value, "the index of an interface")?,
            "payload" => knock.payload = parse_bytes(value)?,
            _ => parse_header(key, value, knock.tcp_header.as_mut())?,
        }
    }
    let headers = if source.is_ipv4() { 20 } else { 40 } + if transport == Transport::Tcp { 20 } else { 8 };
    let headers = headers + knock.tcp_header.as_ref().map_or(0, |header| header.options.len());
    let whole = u32::try_from(headers + knock.payload.len()).unwrap_or(u32::MAX);
    knock.packet_length = length.unwrap_or(whole);
    Ok(knock)
}

/// An address, and behind a link-local one its zone: `fe80::7%3`.
fn parse_source(word: &str) -> Result<(IpAddr, u32), String> {
    let (address, zone) = word.split_once('%').map_or((word, None), |(address, zone)| (address, Some(zone)));
    let address = parse_word(address, "an address")?;
    let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    match zone {
        None => Ok((address, 0)),
        Some(zone) if is_link_local => Ok((address, parse_word(zone, "the index of an interface")?)),
        Some(_) => Err(format!("`{word}` is not link-local and has no zone")),
    }
}

/// What a TCP header says beyond ports and flags.
fn parse_header(key: &str, value: &str, header: Option<&mut TcpHeader>) -> Result<(), String> {
    const KEYS: [&str; 5] = ["sequence", "acknowledgment", "window", "urgent", "options"];
    if !KEYS.contains(&key) {
        return Err(format!(
            "`{key}` is not known; use flags, from, to, hops, length, interface, payload, {}",
            KEYS.join(", ")
        ));
    }
    let header = header.ok_or_else(|| format!("`{key}` is for TCP only"))?;
    match key {
        "sequence" => header.sequence = parse_word(value, "a number of 32 bits")?,
        "acknowledgment" => header.acknowledgment = parse_word(value, "a number of 32 bits")?,
        "window" => header.window = parse_word(value, "a number of 16 bits")?,
        "urgent" => header.urgent_pointer = parse_word(value, "a number of 16 bits")?,
        _ => header.options = parse_options(value)?,
    }
    Ok(())
}

fn parse_options(value: &str) -> Result<Vec<u8>, String> {
    let options = parse_bytes(value)?;
    if options.len() % 4 != 0 || options.len() > MAX_OPTIONS {
        return Err(format!(
            "{} bytes of options; they are a multiple of 4, at most {MAX_OPTIONS}",
            options.len()
        ));
    }
    Ok(options)
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
fn parse_bytes(value: &str) -> Result<Vec<u8>, String> {
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

/// A source as lines write it.
pub(super) struct Source(pub(super) (IpAddr, u32));

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            (address, 0) => address.fmt(f),
            (address, zone) => write!(f, "{address}%{zone}"),
        }
    }
}

/// A verdict in words.
pub(super) fn verdict<M>(verdict: &Verdict<M>) -> String {
    match verdict {
        Verdict::Ignore => "ignore".to_owned(),
        Verdict::Remember(progress) => remember(progress),
        Verdict::Forget(reason) => format!("forget: {reason}"),
        Verdict::Open { requests, remember } => {
            and(words("open", requests.iter().map(open_request)), remember.as_ref())
        }
        Verdict::Close { requests, remember } => {
            and(words("close", requests.iter().map(close_request)), remember.as_ref())
        }
    }
}

fn remember<M>(Progress { stage, until, .. }: &Progress<M>) -> String {
    format!("remember {stage} until {}", Time(*until))
}

fn and<M>(said: String, progress: Option<&Progress<M>>) -> String {
    match progress {
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

fn open_request(OpenRequest { door, prefix_length, seconds, once }: &OpenRequest) -> String {
    let mut words: Vec<String> = door.iter().cloned().collect();
    words.extend(seconds.map(|seconds| format!("for {seconds}s")));
    words.extend(prefix_length.map(|length| format!("prefix {length}")));
    words.extend(once.as_ref().map(|once| match once {
        Once::Token { bytes, until: None } => format!("once token {}", hex(bytes)),
        Once::Token { bytes, until: Some(until) } => {
            format!("once token {} until {}", hex(bytes), Time(*until))
        }
        Once::Counter { key, value } => format!("once counter {} at {value}", hex(key)),
    }));
    words.join(" ")
}

fn close_request(CloseRequest { door, prefix_length }: &CloseRequest) -> String {
    let mut words: Vec<String> = door.iter().cloned().collect();
    words.extend(prefix_length.map(|length| format!("prefix {length}")));
    words.join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the contract forbids about this verdict on a knock at `now`, its memory aside.
pub(super) fn fault<M>(verdict: &Verdict<M>, now: Timestamp) -> Option<String> {
    let (doors, mut lengths) = match verdict {
        Verdict::Forget(reason) if reason.len() > MAX_REASON => {
            return Some(format!("a reason of {} bytes; the most is {MAX_REASON}", reason.len()));
        }
        Verdict::Open { requests, .. } => {
            (requests.len(), requests.iter().filter_map(|request| request.prefix_length).collect::<Vec<_>>())
        }
        Verdict::Close { requests, .. } => {
            (requests.len(), requests.iter().filter_map(|request| request.prefix_length).collect())
        }
        _ => return None,
    };
    if doors > MAX_DOORS {
        return Some(format!("{doors} doors; the most is {MAX_DOORS}"));
    }
    lengths.retain(|length| *length > MAX_PREFIX_LENGTH);
    if let Some(length) = lengths.first() {
        return Some(format!("a prefix length of {length}; an address has at most {MAX_PREFIX_LENGTH} bits"));
    }
    let Verdict::Open { requests, .. } = verdict else { return None };
    requests.iter().find_map(|request| match &request.once {
        _ if request.seconds == Some(0) => Some("an opening of 0 seconds".to_owned()),
        Some(Once::Token { bytes: key, .. } | Once::Counter { key, .. })
            if !(1..=MAX_KEY).contains(&key.len()) =>
        {
            Some(format!("a token or key of {} bytes; it must be 1 to {MAX_KEY}", key.len()))
        }
        Some(Once::Token { until: Some(until), .. }) if *until < now => {
            Some("a token that could be accepted until before its knock".to_owned())
        }
        Some(Once::Counter { value, .. }) if *value > MAX_COUNTER => {
            Some(format!("a counter at {value}; the most is {MAX_COUNTER}"))
        }
        _ => None,
    })
}
