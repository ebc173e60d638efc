//! Values that are written as text: sizes, ports, networks.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use postern_core::{GuardProtocol, IpNet, PortRange, Transport, Trusted, WatchedPorts};

/// A number of bytes, such as `64KiB` or `16MiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size; write a number and KiB, MiB or GiB, such as \"16MiB\"");
    let text_ = text.trim();
    let digits = text_.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text_[..digits].parse().map_err(|_| wrong())?;
    let shift = match text_[digits..].trim() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A number of bytes as a person would write it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    match bytes {
        n if n >= 1 << 30 && n % (1 << 30) == 0 => format!("{}GiB", n >> 30),
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{}MiB", n >> 20),
        n => format!("{}KiB", n >> 10),
    }
}

/// Ports to guard, such as `tcp/22` or `udp/60000-61000`.
pub(crate) fn ports(text: &str) -> Result<PortRange, String> {
    let wrong = || {
        format!(
            "`{text}` is not a port; write tcp/PORT or udp/PORT, such as \"tcp/22\", or a range such as \"udp/60000-61000\""
        )
    };
    let (protocol, numbers) = halves(text).ok_or_else(wrong)?;
    let protocol = match protocol {
        "tcp" => GuardProtocol::Tcp,
        "udp" => GuardProtocol::Udp,
        // As the steps of a rule are written.
        _ if ["tcp", "udp"].contains(&numbers) => {
            return Err(format!("`{text}` is the wrong way around; write \"{numbers}/{protocol}\""));
        }
        _ => return Err(wrong()),
    };
    let (first, last) = range(numbers, 1..=u16::MAX, "port").unwrap_or_else(|| Err(wrong()))?;
    Ok(PortRange { protocol, first, last })
}

/// Ports whose packets may be watched, such as `tcp/7000-7999`, or types of ICMP, such as `icmp/8`.
pub(crate) fn watched_ports(text: &str) -> Result<WatchedPorts, String> {
    let wrong = || {
        format!(
            "`{text}` is neither ports nor a type; write such as \"tcp/7000-7999\", \"udp/62201\", \"icmp/8\" or \"icmpv6/128\""
        )
    };
    let (transport, numbers) = halves(text).ok_or_else(wrong)?;
    let transport =
        Transport::ALL.into_iter().find(|known| known.to_string() == transport).ok_or_else(wrong)?;
    let found = match transport {
        Transport::Tcp | Transport::Udp => range(numbers, 0..=u16::MAX, "port"),
        Transport::Icmp | Transport::Icmpv6 => range(numbers, 0..=u16::from(u8::MAX), "type"),
    };
    let (first, last) = found.unwrap_or_else(|| Err(wrong()))?;
    Ok(WatchedPorts { transport, first, last })
}

/// What stands before and behind the slash.
fn halves(text: &str) -> Option<(&str, &str)> {
    let (before, behind) = text.trim().split_once('/')?;
    Some((before.trim(), behind.trim()))
}

/// A number or a range of them, each of a `kind`; none if it is neither.
fn range(text: &str, allowed: RangeInclusive<u16>, kind: &str) -> Option<Result<(u16, u16), String>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let fit = |number: u64| u16::try_from(number).ok().filter(|number| allowed.contains(number));
    for number in [first, last] {
        if fit(number).is_none() {
            let (least, most) = (allowed.start(), allowed.end());
            return Some(Err(format!("{number} is not a {kind}; use {least} to {most}")));
        }
    }
    if last < first {
        return Some(Err(format!("{first}-{last} ends before it begins; write the lower {kind} first")));
    }
    Some(Ok((fit(first)?, fit(last)?)))
}

/// A source that needs no knock: a network, an address, or the name of an interface.
pub(crate) fn trusted(text: &str) -> Result<Trusted, String> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return match address.to_canonical() {
            same if same == address => Ok(Trusted::Network(address.into())),
            plain => Err(format!("{address} is never on a wire; write {plain}")),
        };
    }
    if text == "any" {
        return Err("`any` would be everybody; leave the port unguarded instead".to_owned());
    }
    if let Ok(network) = text.parse::<IpNet>() {
        return match network.trunc() {
            whole if whole == network => Ok(Trusted::Network(network)),
            whole => Err(format!(
                "{network} has bits behind its length; write {whole}, or {}/{} for the address alone",
                network.addr(),
                network.max_prefix_len()
            )),
        };
    }
    let is_name = (1..=15).contains(&text.len())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:\"\\*?[%".contains(&byte));
    match is_name {
        true => Ok(Trusted::Interface(text.to_owned())),
        false => Err(format!(
            "`{text}` is neither a network such as \"10.0.0.0/8\", nor an address, nor the name of an interface such as \"wg0\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1 GiB"), Ok(1 << 30));
        for text in ["", "64", "64KB", "MiB", "99999999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(show_size(16 << 20), "16MiB");
    }

    #[test]
    fn ranges_of_ports() {
        for text in ["tcp/22", "udp/65535", "udp/60000-61000", "tcp/1-65535"] {
            assert_eq!(ports(text).unwrap().to_string(), text);
        }
        assert_eq!(ports(" tcp / 5 - 9 ").unwrap().to_string(), "tcp/5-9");
        for text in [
            "22",
            "tcp",
            "icmp/1",
            "tcp/0",
            "tcp/65536",
            "tcp/-1",
            "tcp/ssh",
            "22/tcp",
            "tcp/9-5",
            "tcp/1-0",
            "tcp/1-2-3",
        ] {
            assert!(ports(text).is_err(), "{text}");
        }
        let told = ports("60000-61000/udp").unwrap_err();
        assert_eq!(told, "`60000-61000/udp` is the wrong way around; write \"udp/60000-61000\"");
        assert!(ports("ssh/ftp").unwrap_err().contains("write tcp/PORT or udp/PORT"));
    }

    #[test]
    fn what_may_be_watched() {
        for text in ["tcp/7000-7999", "udp/62201", "icmp/8", "icmpv6/0-255", "tcp/0"] {
            assert_eq!(watched_ports(text).unwrap().to_string(), text);
        }
        for (text, what) in [
            ("icmp/256", "256 is not a type; use 0 to 255"),
            ("udp/65536", "65536 is not a port; use 0 to 65535"),
            ("tcp/9-5", "9-5 ends before it begins; write the lower port first"),
            (
                "sctp/9",
                "`sctp/9` is neither ports nor a type; write such as \"tcp/7000-7999\", \"udp/62201\", \"icmp/8\" or \"icmpv6/128\"",
            ),
        ] {
            assert_eq!(watched_ports(text).unwrap_err(), what);
        }
    }

    #[test]
    fn what_needs_no_knock() {
        for (text, network) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("::1", "::1/128"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(trusted(text), Ok(Trusted::Network(network.parse().unwrap())), "{text}");
        }
        for name in ["wg0", "eth0.100", "br-lan", "an-interface-15"] {
            assert_eq!(trusted(name), Ok(Trusted::Interface(name.to_owned())));
        }
        let told = trusted("10.0.0.1/8").unwrap_err();
        assert_eq!(
            told,
            "10.0.0.1/8 has bits behind its length; write 10.0.0.0/8, or 10.0.0.1/32 for the address alone"
        );
        for text in [
            "",
            "10.0.0.0/33",
            "eth*",
            "a name",
            "an-interface-too-long",
            "10.0.0",
            "fe80::1%eth0",
            "::ffff:10.0.0.1",
            "any",
        ] {
            assert!(trusted(text).is_err(), "{text}");
        }
    }
}
