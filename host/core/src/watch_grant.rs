//! WatchGrant: which packets an owner's rules may ask to see.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::interest::{Destination, Interest, Watch};
use crate::knock::{MAX_PAYLOAD, Transport};

/// Which packets a tenant's rules may ask to see, and how much of them. [`WatchGrant::default`] is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchGrant {
    /// Destination ports, or types of ICMP and ICMPv6.
    pub ports: Vec<WatchedPorts>,
    /// Whether every port and type may be watched, `ports` or not.
    pub any_port: bool,
    /// Whether packets may be seen that are not for an address of this machine.
    pub anywhere: bool,
    /// Bytes of payload, at most [`MAX_PAYLOAD`].
    pub payload: usize,
}

/// Ports of one transport that follow each other; of ICMP and ICMPv6, message types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WatchedPorts {
    /// What carries the packets.
    pub transport: Transport,
    /// The first.
    pub first: u16,
    /// The last, itself included; not below `first`.
    pub last: u16,
}

/// What a rule asks for beyond its grant, and what it may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeyondGrant {
    /// Ports, or types of ICMP.
    Ports {
        /// The first range that is not granted as a whole, as the rule asks for it.
        asked: WatchedPorts,
        /// All that are granted.
        granted: Vec<WatchedPorts>,
    },
    /// Packets to other machines.
    Anywhere,
    /// Bytes of payload.
    Payload {
        /// How many it asks for.
        asked: usize,
        /// How many are granted.
        granted: usize,
    },
}

impl WatchGrant {
    /// That of the machine's own administrator.
    pub const EVERYTHING: Self =
        Self { ports: Vec::new(), any_port: true, anywhere: true, payload: MAX_PAYLOAD };

    /// Whether a rule may ask for this.
    ///
    /// # Errors
    /// The first thing that it may not ask for.
    pub fn check(&self, interest: &Interest) -> Result<(), BeyondGrant> {
        let granted = joined(&self.ports);
        let beyond =
            |watch: &&Watch| !self.any_port && !granted.iter().any(|ports| ports.cut(watch) == Some(**watch));
        if let Some(watch) = interest.watches.iter().find(beyond) {
            let asked =
                WatchedPorts { transport: watch.transport, first: watch.first_port, last: watch.last_port };
            return Err(BeyondGrant::Ports { asked, granted });
        }
        if interest.destination == Destination::Anywhere && !self.anywhere {
            return Err(BeyondGrant::Anywhere);
        }
        let asked = interest.detail.payload_limit;
        if asked > self.payload {
            return Err(BeyondGrant::Payload { asked, granted: self.payload });
        }
        Ok(())
    }

    /// Takes from an interest what is not granted. It may be left without watches: then its rule is shown nothing.
    pub fn cut(&self, interest: &mut Interest) {
        if !self.any_port {
            let granted = joined(&self.ports);
            let within =
                |watch: &Watch| granted.iter().filter_map(|ports| ports.cut(watch)).collect::<Vec<_>>();
            interest.watches = interest.watches.iter().flat_map(within).collect();
        }
        if interest.destination == Destination::Anywhere && !self.anywhere {
            interest.destination = Destination::ThisHost;
        }
        interest.detail.payload_limit = interest.detail.payload_limit.min(self.payload);
    }
}

impl WatchedPorts {
    /// What of a watch is within these ports.
    fn cut(&self, watch: &Watch) -> Option<Watch> {
        let (first_port, last_port) = (watch.first_port.max(self.first), watch.last_port.min(self.last));
        (self.transport == watch.transport && first_port <= last_port).then_some(Watch {
            first_port,
            last_port,
            ..*watch
        })
    }
}

impl fmt::Display for WatchedPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transport, self.first)?;
        if self.last == self.first { Ok(()) } else { write!(f, "-{}", self.last) }
    }
}

impl fmt::Display for BeyondGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ports { asked, granted } if granted.is_empty() => {
                write!(f, "asks for {asked}; it may watch no port")
            }
            Self::Ports { asked, granted } => {
                let granted: Vec<_> = granted.iter().map(ToString::to_string).collect();
                write!(f, "asks for {asked}; it may watch {}", granted.join(", "))
            }
            Self::Anywhere => f.write_str(
                "asks for packets to other machines; it may see those to addresses of this machine only",
            ),
            Self::Payload { asked, granted: 0 } => {
                write!(f, "asks for {asked} bytes of payload; it may see none")
            }
            Self::Payload { asked, granted } => {
                write!(f, "asks for {asked} bytes of payload; it may see {granted}")
            }
        }
    }
}

/// The same ports in as few ranges as there can be, in order.
fn joined(ports: &[WatchedPorts]) -> Vec<WatchedPorts> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.dedup_by(|next, before| {
        let is_one = next.transport == before.transport && next.first <= before.last.saturating_add(1);
        if is_one {
            before.last = before.last.max(next.last);
        }
        is_one
    });
    ports
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::knock::{Detail, TcpFlags};

    fn ports(transport: Transport, first: u16, last: u16) -> WatchedPorts {
        WatchedPorts { transport, first, last }
    }

    fn watch(ports: WatchedPorts) -> Watch {
        let WatchedPorts { transport, first: first_port, last: last_port } = ports;
        Watch { transport, first_port, last_port, set: TcpFlags::SYN, clear: TcpFlags::ACK }
    }

    fn interest(watched: &[WatchedPorts]) -> Interest {
        Interest {
            watches: watched.iter().copied().map(watch).collect(),
            destination: Destination::ThisHost,
            detail: Detail::LEAST,
            memory_format: 0,
        }
    }

    #[test]
    fn what_is_beyond_the_grant_is_named_with_what_is_granted() {
        use Transport::{Icmp, Tcp, Udp};
        let grant = WatchGrant {
            ports: vec![ports(Tcp, 7500, 7999), ports(Udp, 7000, 7000), ports(Tcp, 7000, 7499)],
            payload: 16,
            ..WatchGrant::default()
        };
        let told = |interest: &Interest| grant.check(interest).map_err(|beyond| beyond.to_string());
        assert_eq!(told(&interest(&[ports(Tcp, 7400, 7600), ports(Udp, 7000, 7000)])), Ok(()));
        let is = |interest: Interest, what: &str| assert_eq!(told(&interest).unwrap_err(), what);
        is(
            interest(&[ports(Tcp, 7000, 8000)]),
            "asks for tcp/7000-8000; it may watch tcp/7000-7999, udp/7000",
        );
        is(interest(&[ports(Icmp, 8, 8)]), "asks for icmp/8; it may watch tcp/7000-7999, udp/7000");
        let anywhere = Interest { destination: Destination::Anywhere, ..interest(&[ports(Tcp, 7000, 7000)]) };
        is(
            anywhere,
            "asks for packets to other machines; it may see those to addresses of this machine only",
        );
        let payload = Interest { detail: Detail::payload(17), ..interest(&[ports(Tcp, 7000, 7000)]) };
        is(payload, "asks for 17 bytes of payload; it may see 16");
        let none = WatchGrant::default().check(&interest(&[ports(Udp, 1, 1)])).unwrap_err();
        assert_eq!(none.to_string(), "asks for udp/1; it may watch no port");
    }

    #[test]
    fn the_administrator_may_ask_for_everything() {
        let everything = Transport::ALL.map(|transport| ports(transport, 0, u16::MAX));
        let all = Interest {
            destination: Destination::Anywhere,
            detail: Detail::payload(MAX_PAYLOAD),
            ..interest(&everything)
        };
        assert_eq!(WatchGrant::EVERYTHING.check(&all), Ok(()));
        let mut same = all.clone();
        WatchGrant::EVERYTHING.cut(&mut same);
        assert_eq!(same, all);
    }

    fn some_ports() -> impl Strategy<Value = WatchedPorts> {
        (prop::sample::select(Transport::ALL.to_vec()), 0..40u16, 0..10u16)
            .prop_map(|(transport, first, more)| ports(transport, first, first + more))
    }

    proptest! {
        /// Port by port: what is left of an interest is what was asked for and is granted, and what is left is granted as a whole.
        #[test]
        fn what_is_left_was_asked_for_and_is_granted(
            granted in prop::collection::vec(some_ports(), 0..5),
            asked in prop::collection::vec(some_ports(), 0..5),
            payload in 0..30usize,
        ) {
            let grant = WatchGrant { ports: granted.clone(), payload: 16, ..WatchGrant::default() };
            let before = Interest {
                detail: Detail::payload(payload),
                destination: Destination::Anywhere,
                ..interest(&asked)
            };
            let mut after = before.clone();
            grant.cut(&mut after);
            prop_assert_eq!(grant.check(&after), Ok(()));
            let watches = |interest: &Interest, transport, port| {
                interest.watches.iter().any(|watch| {
                    watch.transport == transport && (watch.first_port..=watch.last_port).contains(&port)
                })
            };
            for transport in Transport::ALL {
                for port in 0..60 {
                    let is_granted = granted.iter().any(|ports| {
                        ports.transport == transport && (ports.first..=ports.last).contains(&port)
                    });
                    let expected = is_granted && watches(&before, transport, port);
                    prop_assert_eq!(watches(&after, transport, port), expected, "{} {}", transport, port);
                }
            }
            prop_assert_eq!(after.detail.payload_limit, payload.min(16));
        }
    }
}
