//! Iptables: whether a command does nothing but let the client through to one port, or stop doing so.
//!
//! It knows the few options that are used for that. A command with any other option does more, and is left to the shell.

use std::fmt;

/// One port that a rule lets the client through to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Accept {
    protocol: AcceptProtocol,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AcceptProtocol {
    Tcp,
    Udp,
}

/// As a guard door has it.
impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            AcceptProtocol::Tcp => "tcp",
            AcceptProtocol::Udp => "udp",
        };
        write!(f, "{protocol}/{}", self.port)
    }
}

/// What a command does to a rule of the packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcceptChange {
    Open,
    Close,
}

/// What the command does; none if it does more, or something else.
pub(super) fn read(command: &str) -> Option<(AcceptChange, Accept)> {
    let mut words = command.split_ascii_whitespace().peekable();
    let program = words.next()?.rsplit('/').next()?;
    if !["iptables", "ip6tables"].contains(&program) {
        return None;
    }
    let mut found = AcceptOptions::default();
    while let Some(option) = words.next() {
        // An option that is there twice is not understood.
        let is_new = match option {
            "-I" | "--insert" | "-A" | "--append" | "-D" | "--delete" => {
                words.next_if_eq(&"INPUT")?;
                let is_insert = ["-I", "--insert"].contains(&option);
                let is_number = |word: &&str| word.parse::<u32>().is_ok();
                words.next_if(|word| is_insert && is_number(word));
                let act = if ["-D", "--delete"].contains(&option) {
                    AcceptChange::Close
                } else {
                    AcceptChange::Open
                };
                found.act.replace(act).is_none()
            }
            "-s" | "--source" | "--src" => {
                words.next_if(|word| ["%IP%", "%IP%/32", "%IP%/128"].contains(word))?;
                !std::mem::replace(&mut found.has_source, true)
            }
            "-p" | "--protocol" | "--proto" => {
                let protocol = match words.next()? {
                    "tcp" => AcceptProtocol::Tcp,
                    "udp" => AcceptProtocol::Udp,
                    _ => return None,
                };
                found.protocol.replace(protocol).is_none()
            }
            "--dport" | "--destination-port" => {
                let port = words.next()?.parse().ok().filter(|port| *port > 0)?;
                found.port.replace(port).is_none()
            }
            "-m" | "--match" => {
                words.next_if(|word| ["tcp", "udp", "state", "conntrack"].contains(word))?;
                true
            }
            "--state" | "--ctstate" => {
                let mut states = words.next()?.split(',');
                let is_known = |state: &str| ["NEW", "ESTABLISHED", "RELATED"].contains(&state);
                states.clone().any(|state| state == "NEW") && states.all(is_known)
            }
            "-j" | "--jump" => {
                words.next_if_eq(&"ACCEPT")?;
                !std::mem::replace(&mut found.is_accepted, true)
            }
            _ => false,
        };
        if !is_new {
            return None;
        }
    }
    let AcceptOptions { act, has_source: true, protocol, port, is_accepted: true } = found else {
        return None;
    };
    Some((act?, Accept { protocol: protocol?, port: port? }))
}

#[derive(Default)]
struct AcceptOptions {
    act: Option<AcceptChange>,
    has_source: bool,
    protocol: Option<AcceptProtocol>,
    port: Option<u16>,
    is_accepted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(command: &str, expected: &str) {
        let shown = read(command).map_or_else(|| "-".to_owned(), |(act, accept)| format!("{act:?} {accept}"));
        assert_eq!(shown, expected, "{command}");
    }

    #[test]
    fn plain_accepts() {
        check(
            "/sbin/iptables -I INPUT -s %IP% -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT",
            "Open tcp/22",
        );
        check("iptables -I INPUT 1 -s %IP% -p tcp --dport 22 -j ACCEPT", "Open tcp/22");
        check(
            "ip6tables -A INPUT -p udp --dport 1194 -s %IP% -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT",
            "Open udp/1194",
        );
        check("iptables -p tcp -s %IP%/32 --dport 22 -j ACCEPT --append INPUT", "Open tcp/22");
        check("/usr/sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT", "Close tcp/22");
    }

    #[test]
    fn more_than_that() {
        for command in [
            "",
            "iptables",
            "iptables -I",
            "iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT; mail root",
            "iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT && true",
            "iptables -I INPUT -s %IP% -p tcp --dport 22 -j DROP",
            "iptables -I INPUT -p tcp --dport 22 -j ACCEPT",
            "iptables -I INPUT -s 192.0.2.1 -p tcp --dport 22 -j ACCEPT",
            "iptables -I INPUT ! -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -I FORWARD -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -I INPUT -s %IP% -p tcp --dport 22:23 -j ACCEPT",
            "iptables -I INPUT -s %IP% -p tcp --dport 0 -j ACCEPT",
            "iptables -I INPUT -s %IP% -p tcp --dport 70000 -j ACCEPT",
            "iptables -I INPUT -s %IP% -p tcp --dport 22 --dport 23 -j ACCEPT",
            "iptables -I INPUT -i eth0 -s %IP% -p tcp --dport 22 -j ACCEPT",
            "iptables -I INPUT -s %IP% -p tcp --dport 22 -m state --state ESTABLISHED -j ACCEPT",
            "iptables -I INPUT -s %IP% -j ACCEPT",
            "iptables -D INPUT 1",
            "echo iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT",
        ] {
            check(command, "-");
        }
    }
}
