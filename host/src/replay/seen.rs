//! Seen: one packet of a capture as a replica saw it, and how its way and its time are written.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp as Instant;
use postern_core::{Direction, DropReason, Knock, Moment, TcpFlags, Timestamp, Transport};

/// The flags of TCP by name, in the order of their bits.
const FLAGS: [(TcpFlags, &str); 8] = [
    (TcpFlags::FIN, "fin"),
    (TcpFlags::SYN, "syn"),
    (TcpFlags::RST, "rst"),
    (TcpFlags::PSH, "psh"),
    (TcpFlags::ACK, "ack"),
    (TcpFlags::URG, "urg"),
    (TcpFlags::ECE, "ece"),
    (TcpFlags::CWR, "cwr"),
];

/// One packet of a capture.
#[derive(Debug)]
pub(super) struct Seen {
    /// Which one, from 1, as other programs count the packets of the file.
    pub(super) number: u64,
    /// When it came, from the first packet on.
    pub(super) at: Moment,
    /// What the file says when it came.
    pub(super) time: Timestamp,
    /// Bytes of the frame.
    pub(super) length: u32,
    /// What could be read of it; none if it is no knock.
    pub(super) knock: Option<Knock>,
    /// Why no rule was asked; none if any was.
    pub(super) drop: Option<DropReason>,
}

/// Where a packet went: addresses, port and flags.
pub(super) struct Way<'a>(pub(super) &'a Knock);

/// Time since the first packet.
pub(super) struct Offset(pub(super) Moment);

/// The names of the flags that are set.
pub(super) fn flags(flags: TcpFlags) -> impl Iterator<Item = &'static str> {
    FLAGS.into_iter().filter(move |(flag, _)| flags.0 & flag.0 != 0).map(|(_, name)| name)
}

/// A time of day in UTC, as the log writes it; what no calendar has, as its microseconds since 1970.
pub(super) fn time_of_day(time: Timestamp) -> String {
    let instant = i64::try_from(time.0).ok().and_then(|micros| Instant::from_microsecond(micros).ok());
    instant.map_or_else(
        || format!("{} us", time.0),
        |instant| instant.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
    )
}

/// A time for people: no more digits than they read.
pub(super) fn about(time: Duration) -> String {
    match time.as_secs_f64() {
        0.0 => "0 s".to_owned(),
        seconds if seconds < 0.001 => format!("{:.0} \u{b5}s", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        _ => largest_units(time.as_secs()),
    }
}

/// A long time in its two largest units.
fn largest_units(seconds: u64) -> String {
    let mut left = seconds;
    let counted = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")].map(|(length, unit)| {
        let count = left / length;
        left %= length;
        (count, unit)
    });
    let from_largest = counted.iter().skip_while(|(count, _)| *count == 0).take(2);
    let shown = from_largest.filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}"));
    shown.collect::<Vec<_>>().join(" ")
}

/// The port as rules name it.
pub(super) fn port(knock: &Knock) -> String {
    match knock.transport {
        Transport::Tcp | Transport::Udp => format!("{}/{}", knock.destination_port, knock.transport),
        Transport::Icmp | Transport::Icmpv6 => {
            format!("{} type {} code {}", knock.transport, knock.destination_port, knock.source_port)
        }
    }
}

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let knock = self.0;
        match knock.transport {
            Transport::Tcp | Transport::Udp => {
                write!(f, "{} -> ", SocketAddr::new(knock.source, knock.source_port))?;
            }
            Transport::Icmp | Transport::Icmpv6 => write!(f, "{} -> ", knock.source)?,
        }
        write!(f, "{} {}", knock.destination, port(knock))?;
        for (n, flag) in flags(knock.tcp_flags).enumerate() {
            write!(f, "{}{flag}", if n == 0 { " " } else { "," })?;
        }
        if knock.direction == Direction::Outgoing {
            f.write_str(", leaving")?;
        }
        Ok(())
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{}.{:06}", self.0.0.as_secs(), self.0.0.subsec_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_no_more_digits_than_they_need() {
        for (micros, shown) in [
            (0, "0 s"),
            (7, "7 \u{b5}s"),
            (20_400, "20 ms"),
            (5_049_000, "5.0 s"),
            (540_100_000, "9m"),
            (3_661_000_000, "1h 1m"),
            (604_805_000_000, "7d"),
        ] {
            assert_eq!(about(Duration::from_micros(micros)), shown);
        }
    }

    #[test]
    fn times_are_written_whatever_they_are() {
        assert_eq!(time_of_day(Timestamp(1_795_000_000_123_456)), "2026-11-18T11:06:40.123456Z");
        assert_eq!(time_of_day(Timestamp(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time_of_day(Timestamp(u64::MAX)), format!("{} us", u64::MAX));
        assert_eq!(Offset(Moment(Duration::from_micros(61_000_070))).to_string(), "+61.000070");
        assert_eq!(Offset(Moment(Duration::from_micros(u64::MAX))).to_string(), "+18446744073709.551615");
    }
}
