//! Source: an address, and behind a link-local one its zone, `fe80::7%3`.

use std::fmt;
use std::net::IpAddr;

use crate::word::parse_word;

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its address.
    pub address: IpAddr,
    /// The index of the interface on whose link it is; 0 if none is said.
    pub zone: u32,
}

impl Source {
    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        let (address, zone) =
            word.split_once('%').map_or((word, None), |(address, zone)| (address, Some(zone)));
        let address = parse_word(address, "an address")?;
        let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        match zone {
            None => Ok(Self { address, zone: 0 }),
            Some(zone) if is_link_local => {
                Ok(Self { address, zone: parse_word(zone, "the index of an interface")? })
            }
            Some(_) => Err(format!("`{word}` is not link-local and has no zone")),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.zone {
            0 => self.address.fmt(f),
            zone => write!(f, "{}%{zone}", self.address),
        }
    }
}
