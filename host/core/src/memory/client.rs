//! Client: the key of a remembered client, and its hash.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

/// Hashes clients with a random key, so that an attacker cannot cause collisions.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientHasher(RandomState);

/// A client with its hash, which is made once for the memories of all rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedClient {
    pub(super) key: ClientKey,
    pub(super) hash: u32,
}

/// Who a client is: a source address, and the link on which it was seen, since a link-local one may be on every link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientKey {
    /// Of IPv4 the mapped one, which no packet comes from: a byte less, so that a slot with the link is one line of a cache.
    address: [u8; 16],
    link: u32,
}

impl ClientHasher {
    pub(super) fn client(&self, address: IpAddr, link: u32) -> HashedClient {
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        self.of(ClientKey { address: address.octets(), link })
    }

    pub(super) fn of(&self, key: ClientKey) -> HashedClient {
        // As one number, which is hashed fastest. Only addresses on different links can collide by the XOR, so at most one per link.
        let hash = self.0.hash_one(u128::from_ne_bytes(key.address) ^ u128::from(key.link) << 64);
        HashedClient { key, hash: u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() }
    }
}

impl HashedClient {
    /// Its address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.key.address()
    }
}

impl ClientKey {
    pub(super) fn address(self) -> IpAddr {
        Ipv6Addr::from(self.address).to_canonical()
    }
}
