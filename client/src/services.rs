//! Services: ports by their names, as the system's list has them. It asks no network service for them.

use std::path::PathBuf;

use crate::transport::StepTransport;

/// The port of the service of this name.
pub(crate) fn port(name: &str, transport: StepTransport) -> Result<u16, String> {
    let list = std::fs::read(list_path()).unwrap_or_default();
    find(&String::from_utf8_lossy(&list), name, transport).ok_or_else(|| {
        format!("`{name}` is not a port; use 1 to 65535, or a service's name that this machine knows")
    })
}

fn list_path() -> PathBuf {
    // The standard library asks for numbers only, and the system's own look-up needs unsafe code.
    match std::env::var_os("SystemRoot").filter(|_| cfg!(windows)) {
        Some(root) => PathBuf::from(root).join(r"System32\drivers\etc\services"),
        None => PathBuf::from("/etc/services"),
    }
}

/// Looks in lines such as `ssh 22/tcp alias  # comment`.
fn find(list: &str, name: &str, transport: StepTransport) -> Option<u16> {
    list.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let official = words.next()?;
        let (port, word) = words.next()?.split_once('/')?;
        let is_it = (official == name || words.any(|alias| alias == name)) && word == transport.to_string();
        is_it.then(|| port.parse().ok().filter(|port| *port != 0)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_count_by_transport_and_comments_do_not() {
        let list = "# ssh 1/tcp\n\nssh\t22/tcp\t\t# SSH ssh2\ndomain 53/tcp\ndomain 53/udp nameserver\nodd 0/tcp\nodd x/tcp\nodd";
        let cases = [
            ("ssh", StepTransport::Tcp, Some(22)),
            ("ssh", StepTransport::Udp, None),
            ("SSH", StepTransport::Tcp, None),
            ("ssh2", StepTransport::Tcp, None),
            ("nameserver", StepTransport::Udp, Some(53)),
            ("nameserver", StepTransport::Tcp, None),
            ("odd", StepTransport::Tcp, None),
        ];
        for (name, transport, port) in cases {
            assert_eq!(find(list, name, transport), port, "{name} {transport}");
        }
    }
}
