//! Client: for whom a door is opened, which is one address or all addresses with the same first bits.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// For whom a door is opened: one address, on one link if it has a meaning there only, or all addresses of a prefix.
///
/// Written as `192.0.2.7`, `2001:db8::/64`, or `fe80::1%3` with the index of the interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// The bits behind the width are zero.
    address: IpAddr,
    width: u8,
    link: u32,
}

/// Written as its text.
impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|wrong| D::Error::custom(format!("{text:?} is {wrong}")))
    }
}

impl Client {
    /// Before all others.
    pub(crate) const FIRST: Self =
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), width: u8::MIN, link: u32::MIN };
    /// After all others.
    pub(crate) const LAST: Self =
        Self { address: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)), width: u8::MAX, link: u32::MAX };

    /// One address, wherever it is.
    #[must_use]
    pub const fn alone(address: IpAddr) -> Self {
        Self { address, width: whole(address), link: 0 }
    }

    /// One address, on the link of the interface with this index if it is an IPv6 link-local one (`fe80::/10`); any other is the same
    /// on all links. The index 0 means that the link is not known.
    #[must_use]
    pub const fn on_link(address: IpAddr, link: u32) -> Self {
        let client = Self::alone(address);
        if client.is_link_local() { Self { link, ..client } } else { client }
    }

    /// All addresses of a network; one address if the network has only one.
    #[must_use]
    pub fn prefix(net: IpNet) -> Self {
        Self { address: net.network(), width: net.prefix_len(), link: 0 }
    }

    /// The address, or the first one of a prefix.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits of the address count, at most 32 or 128.
    #[must_use]
    pub const fn width(&self) -> u8 {
        self.width
    }

    /// Whether it is one address.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        self.width == whole(self.address)
    }

    /// Whether it is one IPv6 address that has a meaning on one link only.
    #[must_use]
    pub const fn is_link_local(&self) -> bool {
        match self.address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => self.is_single() && address.is_unicast_link_local(),
        }
    }

    /// The index of the interface on whose link it is; 0 if that does not matter, or is not known.
    #[must_use]
    pub const fn link(&self) -> u32 {
        self.link
    }

    /// All its addresses.
    #[must_use]
    pub fn net(&self) -> IpNet {
        IpNet::new(self.address, self.width).unwrap_or_else(|_| IpNet::from(self.address))
    }
}

/// How many bits an address has.
const fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, width, link } = self;
        match (self.is_single(), link) {
            (true, 0) => address.fmt(f),
            (true, link) => write!(f, "{address}%{link}"),
            (false, _) => write!(f, "{address}/{width}"),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is not a [`Client`] as it displays itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAClient;

impl fmt::Display for NotAClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not an address, a network such as 2001:db8::/64, or an address with its link such as fe80::1%3",
        )
    }
}

impl std::error::Error for NotAClient {}

impl FromStr for Client {
    type Err = NotAClient;

    fn from_str(text: &str) -> Result<Self, NotAClient> {
        if let Ok(address) = text.parse() {
            return Ok(Self::alone(address));
        }
        let client = match text.split_once('%') {
            Some((address, link)) => {
                Self::on_link(address.parse().map_err(|_| NotAClient)?, link.parse().map_err(|_| NotAClient)?)
            }
            None => Self::prefix(text.parse().map_err(|_| NotAClient)?),
        };
        // One spelling only, so that what was written is what is meant.
        if client.to_string() == text { Ok(client) } else { Err(NotAClient) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Client {
        Client::prefix(text.parse().unwrap())
    }

    #[test]
    fn bits_behind_the_width_do_not_count() {
        assert_eq!(net("2001:db8::7/64"), net("2001:db8::/64"));
        assert_eq!(net("192.0.2.7/24").address(), IpAddr::from([192, 0, 2, 0]));
        assert_eq!(net("192.0.2.7/24").net(), "192.0.2.0/24".parse().unwrap());
    }

    #[test]
    fn a_network_of_one_address_is_that_address() {
        let address = IpAddr::from([192, 0, 2, 7]);
        assert_eq!(net("192.0.2.7/32"), Client::alone(address));
        assert!(Client::alone(address).is_single() && !net("192.0.2.0/31").is_single());
    }

    #[test]
    fn only_a_link_local_address_is_on_a_link() {
        let on_link = |text: &str| Client::on_link(text.parse().unwrap(), 3);
        assert_eq!(on_link("fe80::1").link(), 3);
        assert_ne!(on_link("fe80::1"), Client::alone("fe80::1".parse().unwrap()));
        for anywhere in ["2001:db8::1", "fec0::1", "169.254.0.1", "192.0.2.7"] {
            assert_eq!(on_link(anywhere), Client::alone(anywhere.parse().unwrap()), "{anywhere}");
        }
        assert!(!net("fe80::/64").is_link_local());
    }

    #[test]
    fn is_read_as_it_is_written() {
        for text in ["192.0.2.7", "192.0.2.0/24", "2001:db8::7", "2001:db8::/64", "fe80::1%3", "::/16"] {
            assert_eq!(text.parse::<Client>().map(|client| client.to_string()).as_deref(), Ok(text));
        }
        for wrong in ["", "gate", "192.0.2.7/24", "192.0.2.0/33", "2001:db8::1%3", "fe80::1%", "fe80::1%eth0"]
        {
            assert_eq!(wrong.parse::<Client>(), Err(NotAClient), "{wrong}");
        }
    }

    #[test]
    fn all_lie_between_the_first_and_the_last() {
        for client in [net("0.0.0.0/8"), net("ffff:ffff::/32"), Client::alone(IpAddr::from([0xff_u8; 16]))] {
            assert!(Client::FIRST < client && client < Client::LAST, "{client}");
        }
    }
}
