//! Width: how many leading bits of an address a door may be opened by, instead of all of them.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

const IPV4: RangeInclusive<u8> = 8..=31;
const IPV6: RangeInclusive<u8> = 16..=127;

/// An address family and a prefix length shorter than an address: 8 to 31 bits of IPv4, 16 to 127 of IPv6. Written `ipv6/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Width {
    is_ipv6: bool,
    length: u8,
}

impl Width {
    /// The most widths of one door, or of one grant.
    pub const MOST: usize = 4;

    /// That of a network; none if no door may be opened so wide, or if the network is a single address.
    #[must_use]
    pub fn of(net: IpNet) -> Option<Self> {
        let (is_ipv6, length) = (matches!(net, IpNet::V6(_)), net.prefix_len());
        let lengths = if is_ipv6 { IPV6 } else { IPV4 };
        lengths.contains(&length).then_some(Self { is_ipv6, length })
    }

    /// The network of this width that an address is in; none if the address is of the other family.
    #[must_use]
    pub fn around(self, address: IpAddr) -> Option<IpNet> {
        let net = IpNet::new(address, self.length).ok()?;
        (address.is_ipv6() == self.is_ipv6).then(|| net.trunc())
    }

    /// Whether it is one of IPv6 addresses; else of IPv4.
    #[must_use]
    pub const fn is_ipv6(self) -> bool {
        self.is_ipv6
    }

    /// The length of the prefix, in bits.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", if self.is_ipv6 { "ipv6" } else { "ipv4" }, self.length)
    }
}

/// Why a text is no [`Width`], and what would be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WidthError {
    /// Something else altogether.
    Form,
    /// Not 8 to 31 bits of IPv4.
    Ipv4,
    /// Not 16 to 127 bits of IPv6.
    Ipv6,
}

impl fmt::Display for WidthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => r#"not a width; write one such as "ipv6/64" or "ipv4/24""#,
            Self::Ipv4 => "not a width of IPv4, which are 8 to 31; a single address needs none",
            Self::Ipv6 => "not a width of IPv6, which are 16 to 127; a single address needs none",
        })
    }
}

impl std::error::Error for WidthError {}

impl From<Width> for String {
    fn from(value: Width) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Width {
    type Error = WidthError;

    fn try_from(text: String) -> Result<Self, WidthError> {
        text.parse()
    }
}

impl FromStr for Width {
    type Err = WidthError;

    fn from_str(text: &str) -> Result<Self, WidthError> {
        let (family, digits) = text.split_once('/').ok_or(WidthError::Form)?;
        let (is_ipv6, lengths, error) = match family {
            "ipv4" => (false, IPV4, WidthError::Ipv4),
            "ipv6" => (true, IPV6, WidthError::Ipv6),
            _ => return Err(WidthError::Form),
        };
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) || digits.starts_with('0')
        {
            return Err(WidthError::Form);
        }
        let length = digits.parse().map_err(|_| error)?;
        if lengths.contains(&length) { Ok(Self { is_ipv6, length }) } else { Err(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        for text in ["ipv4/8", "ipv4/31", "ipv6/16", "ipv6/64", "ipv6/127"] {
            assert_eq!(text.parse::<Width>().map(|width| width.to_string()).as_deref(), Ok(text));
        }
        for (wrong, error) in [
            ("ipv4/7", WidthError::Ipv4),
            ("ipv4/32", WidthError::Ipv4),
            ("ipv6/15", WidthError::Ipv6),
            ("ipv6/128", WidthError::Ipv6),
            ("ipv6/999", WidthError::Ipv6),
            ("ipv6/064", WidthError::Form),
            ("ipv6/+64", WidthError::Form),
            ("ipv6/", WidthError::Form),
            ("IPv6/64", WidthError::Form),
            ("64", WidthError::Form),
            ("2001:db8::/64", WidthError::Form),
        ] {
            assert_eq!(wrong.parse::<Width>(), Err(error), "{wrong}");
        }
    }

    #[test]
    fn is_that_of_a_network_and_has_one_around_each_address_of_its_family() {
        let width: Width = "ipv6/64".parse().unwrap();
        let net: IpNet = "2001:db8::/64".parse().unwrap();
        assert_eq!(Width::of(net), Some(width));
        assert_eq!(width.around("2001:db8::7".parse().unwrap()), Some(net));
        assert_eq!(width.around("192.0.2.7".parse().unwrap()), None);
        for not_a_width in ["192.0.2.7/32", "0.0.0.0/0", "::/0", "::1/128"] {
            assert_eq!(Width::of(not_a_width.parse().unwrap()), None, "{not_a_width}");
        }
    }
}
