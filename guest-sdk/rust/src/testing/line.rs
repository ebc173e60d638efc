//! From the lines of tests to the SDK's values, and from verdicts to lines.

use postern_lines::{CloseLine, KnockLine, OnceLine, OpenLine, ProgressLine, TransportWord, VerdictLine};

use crate::{
    CloseRequest, Knock, Once, OpenRequest, Progress, TcpFlags, TcpHeader, Timestamp, Transport, Verdict,
};

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

/// Reads a knock: see the module [`crate::testing`].
pub(super) fn parse(text: &str) -> Result<Knock, String> {
    let line: KnockLine = text.parse()?;
    Ok(Knock {
        time: Timestamp::from_micros(line.time),
        source: line.source.address,
        source_zone: line.source.zone,
        source_port: line.source_port,
        destination: line.destination,
        destination_port: line.destination_port,
        transport: match line.transport {
            TransportWord::Tcp => Transport::Tcp,
            TransportWord::Udp => Transport::Udp,
            TransportWord::Icmp => Transport::Icmp,
            TransportWord::Icmpv6 => Transport::Icmpv6,
        },
        tcp_flags: TcpFlags::from_bits(line.tcp_flags),
        hop_limit: line.hop_limit,
        packet_length: line.packet_length,
        interface_index: line.interface_index,
        tcp_header: line.tcp_header.map(|header| TcpHeader {
            sequence: header.sequence,
            acknowledgment: header.acknowledgment,
            window: header.window,
            urgent_pointer: header.urgent_pointer,
            options: header.options,
        }),
        payload: line.payload,
    })
}

/// A verdict in words.
pub(super) fn verdict<M>(verdict: &Verdict<M>) -> String {
    let line = match verdict {
        Verdict::Ignore => VerdictLine::Ignore,
        Verdict::Remember(of) => VerdictLine::Remember(progress(of)),
        Verdict::Forget(reason) => VerdictLine::Forget(reason),
        Verdict::Open { requests, remember } => VerdictLine::Open {
            requests: requests.iter().map(open_line).collect(),
            remember: remember.as_ref().map(progress),
        },
        Verdict::Close { requests, remember } => VerdictLine::Close {
            requests: requests.iter().map(close_line).collect(),
            remember: remember.as_ref().map(progress),
        },
    };
    line.to_string()
}

const fn progress<M>(Progress { stage, until, .. }: &Progress<M>) -> ProgressLine {
    ProgressLine { stage: *stage, until: until.as_micros() }
}

fn open_line(OpenRequest { door, prefix_length, seconds, once }: &OpenRequest) -> OpenLine<'_> {
    OpenLine {
        door: door.as_deref(),
        seconds: seconds.map(u64::from),
        prefix_length: *prefix_length,
        once: once.as_ref().map(|once| match once {
            Once::Token { bytes, until } => OnceLine::Token { bytes, until: until.map(Timestamp::as_micros) },
            Once::Counter { key, value } => OnceLine::Counter { key, value: *value },
        }),
    }
}

fn close_line(CloseRequest { door, prefix_length }: &CloseRequest) -> CloseLine<'_> {
    CloseLine { door: door.as_deref(), prefix_length: *prefix_length }
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
