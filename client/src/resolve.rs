//! Resolve: the addresses of a host. How long a name server may take is up to the system's resolver.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The most addresses that a name may have, so that a hostile name server cannot make us send to any number of machines.
pub const MAX_ADDRESSES: usize = 16;

/// Which addresses of a host are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFamily {
    /// All of them.
    #[default]
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// Why there is nothing to knock at.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name has no addresses, or no name server answers.
    #[error("cannot resolve {host}")]
    Unknown {
        /// What was asked for.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// It has addresses, but of the other family.
    #[error("{host} has no {family} address; it has {found}")]
    OtherFamily {
        /// What was asked for.
        host: String,
        /// What would have been right.
        family: &'static str,
        /// An address that it has.
        found: IpAddr,
    },
    /// It has none but addresses of IPv6 that are the same on every link, and it is not said which link is meant.
    #[error("{found} is a link-local address; say by which interface, as in {found}%eth0")]
    NoInterface {
        /// Such an address.
        found: IpAddr,
    },
    /// It has too many.
    #[error("{host} has {count} addresses, more than {MAX_ADDRESSES}; knock at one of them")]
    TooMany {
        /// What was asked for.
        host: String,
        /// How many.
        count: usize,
    },
}

/// All addresses of a host, in the system's order of preference, with port 0.
///
/// `source` is the address to send from; only addresses of its family can be reached from there.
///
/// # Errors
/// If there is none, or there are more than [`MAX_ADDRESSES`].
pub fn resolve(
    host: &str,
    family: AddressFamily,
    source: Option<IpAddr>,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = (bare, 0)
        .to_socket_addrs()
        .map_err(|source| ResolveError::Unknown { host: host.to_owned(), source })?;
    select(host, found, family, source)
}

fn select(
    host: &str,
    found: impl Iterator<Item = SocketAddr>,
    family: AddressFamily,
    source: Option<IpAddr>,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let is_v4_wanted = family != AddressFamily::V6 && source.is_none_or(|source| source.is_ipv4());
    let is_v6_wanted = family != AddressFamily::V4 && source.is_none_or(|source| source.is_ipv6());
    let (mut wanted, mut other, mut of_no_link) = (Vec::new(), None, None);
    for address in found {
        // Windows takes an interface by itself.
        let needs_link =
            matches!(address, SocketAddr::V6(it) if it.ip().is_unicast_link_local() && it.scope_id() == 0);
        if is_v6_wanted && needs_link && !cfg!(windows) {
            of_no_link = Some(address.ip());
        } else if !(if address.is_ipv4() { is_v4_wanted } else { is_v6_wanted }) {
            other = Some(address.ip());
        } else if !wanted.contains(&address) {
            wanted.push(address);
        }
    }
    if let (true, Some(found)) = (wanted.is_empty(), of_no_link) {
        return Err(ResolveError::NoInterface { found });
    }
    match (wanted.len(), other) {
        (1..=MAX_ADDRESSES, _) => Ok(wanted),
        (0, Some(found)) => {
            let family = if found.is_ipv4() { "IPv6" } else { "IPv4" };
            Err(ResolveError::OtherFamily { host: host.to_owned(), family, found })
        }
        (0, None) => {
            let source = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            Err(ResolveError::Unknown { host: host.to_owned(), source })
        }
        (count, _) => Err(ResolveError::TooMany { host: host.to_owned(), count }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV6;

    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn all_addresses_of_the_wanted_family_once_each() {
        let found = "10.0.0.1 10.0.0.2 ::1 10.0.0.1";
        check(found, AddressFamily::Both, None, expect!["10.0.0.1 10.0.0.2 ::1"]);
        check(found, AddressFamily::V4, None, expect!["10.0.0.1 10.0.0.2"]);
        check(found, AddressFamily::V6, None, expect!["::1"]);
        check(found, AddressFamily::Both, Some("10.9.9.9"), expect!["10.0.0.1 10.0.0.2"]);
        check(found, AddressFamily::Both, Some("fe80::1"), expect!["::1"]);
    }

    #[test]
    fn none_or_too_many_is_said() {
        check("10.0.0.1", AddressFamily::V6, None, expect!["gate has no IPv6 address; it has 10.0.0.1"]);
        check("::1", AddressFamily::Both, Some("10.9.9.9"), expect!["gate has no IPv4 address; it has ::1"]);
        check("", AddressFamily::Both, None, expect!["cannot resolve gate"]);
        let many = (0..17).map(|n| format!("10.0.0.{n} ")).collect::<String>();
        check(
            &many,
            AddressFamily::Both,
            None,
            expect!["gate has 17 addresses, more than 16; knock at one of them"],
        );
    }

    #[test]
    #[cfg(not(windows))]
    fn a_link_local_address_needs_its_link() {
        let lacks = expect!["fe80::1 is a link-local address; say by which interface, as in fe80::1%eth0"];
        check("fe80::1", AddressFamily::Both, None, lacks);
        check("fe80::1 10.0.0.1", AddressFamily::Both, None, expect!["10.0.0.1"]);
        check("fe80::1", AddressFamily::V4, None, expect!["gate has no IPv4 address; it has fe80::1"]);
        let with_link = SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 0, 7).into();
        let found = select("gate", [with_link].into_iter(), AddressFamily::Both, None).expect("it is enough");
        assert_eq!(found, [with_link]);
    }

    #[test]
    fn addresses_need_no_name_server() {
        for (host, expect) in [("127.0.0.1", "127.0.0.1:0"), ("::1", "[::1]:0"), ("[::1]", "[::1]:0")] {
            let addresses = resolve(host, AddressFamily::Both, None).expect("an address");
            assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), [expect]);
        }
    }

    #[track_caller]
    fn check(found: &str, family: AddressFamily, source: Option<&str>, expect: Expect) {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let found = found.split_whitespace().map(|text| SocketAddr::new(address(text), 0));
        match select("gate", found, family, source.map(address)) {
            Ok(addresses) => {
                let texts: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
                expect.assert_eq(&texts.join(" "));
            }
            Err(error) => expect.assert_eq(&error.to_string()),
        }
    }
}
