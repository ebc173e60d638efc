//! The lines in which tests of Postern rules write knocks and verdicts.
//!
//! `postern_sdk::testing` reads and writes them for rules in Rust, and `posternd rule test` for modules of any language: this crate is what both
//! have in common. It knows text and plain values, judges nothing and depends on nothing.
//!
//! A knock is a time, a source, a transport and a destination port (ICMP: the message type), and whatever matters beyond:
//!
//! ```text
//! +0.0s 203.0.113.7 udp/1111
//! +0.4s 203.0.113.7 tcp/2222 flags=syn,ack       # default: flags=syn
//! +0.5s 2001:db8::7 icmpv6/128 payload=0x00ff    # or payload=text
//! +0.6s 203.0.113.7 udp/53 from=40000 to=192.0.2.1 hops=64 length=100 interface=2
//! +0.7s 203.0.113.7 tcp/22 sequence=7 acknowledgment=0 window=64240 urgent=0 options=0x020405b4
//! +0.8s fe80::7%3 udp/1111                      # in the zone of interface 3
//! ```
//!
//! Times count from [`ORIGIN`]. The host that a rule believes to be on has the addresses [`THIS_HOST_V4`] and [`THIS_HOST_V6`]. What stands
//! behind `#` is left out by whoever reads lines.
//!
//! ```
//! use postern_lines::{KnockLine, ProgressLine, VerdictLine};
//!
//! let knock: KnockLine = "+0.5s 203.0.113.7 udp/1111".parse().unwrap();
//! let verdict = VerdictLine::Remember(ProgressLine { stage: 1, until: knock.time + 5_000_000 });
//! assert_eq!(verdict.to_string(), "remember 1 until +5.5s");
//! ```

mod bytes;
mod knock_line;
mod source;
mod time;
mod verdict_line;
mod word;

pub use knock_line::{HeaderLine, KnockLine, TransportWord, is_this_host};
pub use source::Source;
pub use time::{ORIGIN, Time};
pub use verdict_line::{CloseLine, OnceLine, OpenLine, ProgressLine, VerdictLine};

use std::net::{Ipv4Addr, Ipv6Addr};

/// The IPv4 address of the host that a rule believes to be on.
pub const THIS_HOST_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Its IPv6 address.
pub const THIS_HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
