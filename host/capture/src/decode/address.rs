//! Address: which source and destination addresses no packet has, on any machine.
//!
//! The kernel drops such packets as well, but only after they were captured. What depends on this machine's own addresses is for
//! [`crate::local_network`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_core::DropReason;

/// Refuses impossible addresses. `is_loopback` says whether the packet came by the loopback interface, where loopback addresses are right;
/// it is called only if that matters.
pub(super) fn check(
    source: IpAddr,
    destination: IpAddr,
    is_loopback: impl Fn() -> bool,
) -> Result<(), DropReason> {
    match AddressClass::of(source) {
        AddressClass::Ordinary => {}
        AddressClass::Loopback if is_loopback() => {}
        AddressClass::Loopback | AddressClass::Group | AddressClass::NoMachine => {
            return Err(DropReason::ImpossibleSource);
        }
    }
    match AddressClass::of(destination) {
        // A rule may watch broadcast and multicast addresses.
        AddressClass::Ordinary | AddressClass::Group => Ok(()),
        AddressClass::Loopback if is_loopback() => Ok(()),
        AddressClass::Loopback | AddressClass::NoMachine => Err(DropReason::ImpossibleDestination),
    }
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AddressClass {
    /// One machine, as far as the address says.
    Ordinary,
    /// This machine.
    Loopback,
    /// Many: broadcast and multicast.
    Group,
    /// No machine: unspecified, "this network" (RFC 1122 section 3.2.1.3), and IPv6 addresses that stand for one of IPv4 within a machine and
    /// are never on a wire (RFC 4291 section 2.5.5.2).
    NoMachine,
}

impl AddressClass {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets()[0] {
            0 => Self::NoMachine,
            127 => Self::Loopback,
            224..=239 => Self::Group,
            255 if address.is_broadcast() => Self::Group,
            // 240.0.0.0/4 is reserved, but Linux treats it as ordinary, and some networks use it.
            _ => Self::Ordinary,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_multicast() {
            return Self::Group;
        }
        match address.segments() {
            [0, 0, 0, 0, 0, 0xffff, ..] => Self::NoMachine,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // An IPv4-compatible address (RFC 4291 section 2.5.5.1) is as good as the one in it; 0.0.0.0 makes it the unspecified one.
            [0, 0, 0, 0, 0, 0, high, low] => {
                Self::of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
            }
            _ => Self::Ordinary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "198.51.100.2";
    const CLIENT: &str = "192.0.2.1";

    #[track_caller]
    fn check(source: &str, destination: &str, is_loopback: bool, expected: Result<(), DropReason>) {
        let result = super::check(source.parse().unwrap(), destination.parse().unwrap(), || is_loopback);
        assert_eq!(result, expected, "{source} > {destination}, by loopback: {is_loopback}");
    }

    #[test]
    fn nobody_sends_from_there() {
        for source in [
            "0.0.0.0",
            "0.255.255.255",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::0.0.0.2",
            "ff02::1",
            "ff0e::1",
            "::ffff:192.0.2.1",
            "::ffff:127.0.0.1",
            "::ffff:0.0.0.0",
            "::224.0.0.1",
            "::255.255.255.255",
        ] {
            for is_loopback in [false, true] {
                check(source, HERE, is_loopback, Err(DropReason::ImpossibleSource));
            }
        }
    }

    #[test]
    fn nothing_goes_there() {
        for destination in ["0.0.0.0", "0.1.2.3", "::", "::ffff:198.51.100.2", "::0.0.0.0"] {
            for is_loopback in [false, true] {
                check(CLIENT, destination, is_loopback, Err(DropReason::ImpossibleDestination));
            }
        }
    }

    #[test]
    fn loopback_is_on_the_loopback_interface_alone() {
        for address in ["127.0.0.1", "127.255.0.9", "::1", "::127.0.0.1"] {
            check(address, HERE, true, Ok(()));
            check(CLIENT, address, true, Ok(()));
            check(address, HERE, false, Err(DropReason::ImpossibleSource));
            check(CLIENT, address, false, Err(DropReason::ImpossibleDestination));
        }
    }

    #[test]
    fn everybody_else_can_and_groups_may_be_asked() {
        for source in [
            "1.0.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "223.255.255.255",
            "240.0.0.1",
            "255.255.255.254",
            "169.254.1.1",
            "2001:db8::1",
            "fe80::1",
            "::192.0.2.1",
            "64:ff9b::7f00:1",
        ] {
            for destination in [HERE, "255.255.255.255", "224.0.0.251", "240.0.0.1", "ff02::1", "::192.0.2.7"]
            {
                check(source, destination, false, Ok(()));
            }
        }
    }
}
