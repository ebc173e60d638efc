//! KnockLine: one packet as a line writes it.

use std::net::IpAddr;
use std::str::FromStr;

use crate::source::Source;
use crate::word::parse_word;
use crate::{THIS_HOST_V4, THIS_HOST_V6, bytes, time};

/// The most bytes of options that a TCP header has.
const MAX_OPTIONS: usize = 40;

/// The names of TCP's flags, in the order of their bits.
const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
const SYN: u8 = 2;

/// One packet. What a line does not say has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnockLine {
    /// Microseconds since 1970.
    pub time: u64,
    /// Where it comes from.
    pub source: Source,
    /// Default: 40000; 0 for ICMP.
    pub source_port: u16,
    /// Default: this host's address of the same family.
    pub destination: IpAddr,
    /// For ICMP the message type.
    pub destination_port: u16,
    /// What carries it.
    pub transport: TransportWord,
    /// The bits of the TCP header; default: SYN for TCP.
    pub tcp_flags: u8,
    /// Default: 64.
    pub hop_limit: u8,
    /// Default: that of a packet with these contents.
    pub packet_length: u32,
    /// Default: the source's zone, or 2.
    pub interface_index: u32,
    /// For TCP only; default: zeros, and no options.
    pub tcp_header: Option<HeaderLine>,
    /// Default: none.
    pub payload: Vec<u8>,
}

/// What a TCP header says beyond ports and flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderLine {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Window.
    pub window: u16,
    /// Urgent pointer.
    pub urgent_pointer: u16,
    /// A multiple of 4 bytes, at most 40.
    pub options: Vec<u8>,
}

/// What carries a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportWord {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
    /// `icmp`
    Icmp,
    /// `icmpv6`
    Icmpv6,
}

/// Whether this is an address of the host that a rule believes to be on.
#[must_use]
pub fn is_this_host(address: IpAddr) -> bool {
    address == THIS_HOST_V4 || address == THIS_HOST_V6
}

impl FromStr for KnockLine {
    /// What is wrong with the line.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let mut next = |what: &str| words.next().ok_or_else(|| format!("{what} is missing"));
        let time = time::parse(next("the time")?)?;
        let source = Source::parse(next("the source address")?)?;
        let (transport, port) = parse_target(next("transport/port")?)?;
        let is_v4 = source.address.is_ipv4();
        let is_tcp = transport == TransportWord::Tcp;
        let mut knock = Self {
            time,
            source,
            source_port: if is_tcp || transport == TransportWord::Udp { 40_000 } else { 0 },
            destination: if is_v4 { THIS_HOST_V4.into() } else { THIS_HOST_V6.into() },
            destination_port: port,
            transport,
            tcp_flags: if is_tcp { SYN } else { 0 },
            hop_limit: 64,
            packet_length: 0,
            interface_index: if source.zone == 0 { 2 } else { source.zone },
            tcp_header: is_tcp.then(HeaderLine::default),
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
                "payload" => knock.payload = bytes::parse(value)?,
                _ => parse_header(key, value, knock.tcp_header.as_mut())?,
            }
        }
        let headers = if is_v4 { 20 } else { 40 } + if is_tcp { 20 } else { 8 };
        let headers = headers + knock.tcp_header.as_ref().map_or(0, |header| header.options.len());
        let whole = u32::try_from(headers + knock.payload.len()).unwrap_or(u32::MAX);
        knock.packet_length = length.unwrap_or(whole);
        Ok(knock)
    }
}

/// What a TCP header says beyond ports and flags.
fn parse_header(key: &str, value: &str, header: Option<&mut HeaderLine>) -> Result<(), String> {
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
    let options = bytes::parse(value)?;
    if options.len() % 4 != 0 || options.len() > MAX_OPTIONS {
        return Err(format!(
            "{} bytes of options; they are a multiple of 4, at most {MAX_OPTIONS}",
            options.len()
        ));
    }
    Ok(options)
}

fn parse_target(word: &str) -> Result<(TransportWord, u16), String> {
    let wrong = || format!("`{word}` is not transport/port, such as udp/1111 or icmp/8");
    let (transport, port) = word.split_once('/').ok_or_else(wrong)?;
    let transport = match transport {
        "tcp" => TransportWord::Tcp,
        "udp" => TransportWord::Udp,
        "icmp" => TransportWord::Icmp,
        "icmpv6" => TransportWord::Icmpv6,
        _ => return Err(wrong()),
    };
    Ok((transport, port.parse().map_err(|_| wrong())?))
}

/// `syn,ack`, or nothing for no flag.
fn parse_flags(value: &str) -> Result<u8, String> {
    value.split(',').filter(|name| !name.is_empty()).try_fold(0, |flags, name| {
        let bit = FLAGS.iter().position(|known| *known == name);
        Ok(flags | 1 << bit.ok_or_else(|| format!("`{name}` is not a TCP flag"))?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ORIGIN;

    fn read(text: &str) -> KnockLine {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        assert_eq!(
            read("+0.5s 203.0.113.7 tcp/22"),
            KnockLine {
                time: ORIGIN + 500_000,
                source: Source { address: [203, 0, 113, 7].into(), zone: 0 },
                source_port: 40_000,
                destination: [192, 0, 2, 1].into(),
                destination_port: 22,
                transport: TransportWord::Tcp,
                tcp_flags: 0x02,
                hop_limit: 64,
                packet_length: 40,
                interface_index: 2,
                tcp_header: Some(HeaderLine::default()),
                payload: Vec::new(),
            }
        );
        let ping = read("+0s fe80::1%7 icmpv6/128 payload=0x0102");
        assert_eq!((ping.source_port, ping.tcp_flags, ping.tcp_header), (0, 0, None));
        assert_eq!((ping.interface_index, ping.packet_length, ping.payload), (7, 50, vec![1, 2]));
        assert!(is_this_host(ping.destination) && !is_this_host([192, 0, 2, 2].into()));
    }

    #[test]
    fn everything_can_be_said() {
        let knock = read(
            "+0s 10.1.2.3 tcp/22 flags=fin,cwr from=1 to=10.0.0.9 hops=3 length=99 interface=9 payload=abc \
             sequence=1 acknowledgment=2 window=3 urgent=4 options=0x01010101",
        );
        assert_eq!((knock.tcp_flags, knock.source_port, knock.hop_limit), (0x81, 1, 3));
        assert_eq!((knock.packet_length, knock.interface_index), (99, 9));
        assert_eq!(knock.destination, IpAddr::from([10, 0, 0, 9]));
        let options = vec![1; 4];
        let header = HeaderLine { sequence: 1, acknowledgment: 2, window: 3, urgent_pointer: 4, options };
        assert_eq!((knock.tcp_header, knock.payload), (Some(header), b"abc".to_vec()));
    }

    #[test]
    fn what_means_nothing_is_named() {
        for (text, mistake) in [
            ("", "the time is missing"),
            ("+1 ::1 udp/1", "`+1` is not a time such as +1.5s"),
            ("+1s", "the source address is missing"),
            ("+1s host udp/1", "`host` is not an address"),
            ("+1s ::1%2 udp/1", "`::1%2` is not link-local and has no zone"),
            ("+1s ::1", "transport/port is missing"),
            ("+1s ::1 udp/70000", "`udp/70000` is not transport/port, such as udp/1111 or icmp/8"),
            ("+1s ::1 udp/1 S", "`S` is not key=value"),
            ("+1s ::1 udp/1 flags=s", "`s` is not a TCP flag"),
            ("+1s ::1 udp/1 window=7", "`window` is for TCP only"),
            ("+1s ::1 tcp/1 options=abc", "3 bytes of options; they are a multiple of 4, at most 40"),
            ("+1s ::1 udp/1 payload=0xé", "`0xé` does not have two hexadecimal digits for each byte"),
        ] {
            assert_eq!(text.parse::<KnockLine>().unwrap_err(), mistake);
        }
    }
}
