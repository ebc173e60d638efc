//! Debian's `knockd` and `posternd knockd` side by side: one configuration, one wire, the same packets, and what each made of them.
//!
//! Nothing here knows how either works. Where they are meant to differ, a [`Deviation`] says so by name, and both sides' results are
//! asserted; there is no other way to be different.

mod commands;
mod frames;
mod hit;
mod outgoing;
mod pair;
mod random;
mod vectors;

use std::fmt::Write as _;

/// How Postern means to differ.
#[derive(Clone, Copy, Debug)]
enum Deviation {
    /// When knockd removes the oldest attempt of all, it forgets all the others of whatever client; Postern does not.
    OldestTakesAll,
    /// Knockd does not see frames with VLAN tags; Postern does.
    VlanTags,
    /// Knockd does not see IPv6 packets with extension headers; Postern looks through them.
    ExtensionHeaders,
    /// Knockd looks at no lengths; Postern takes no packet whose headers do not fit into it, as no system does.
    Lengths,
    /// Knockd counts a packet twice that leaves by the interface that it came in by; Postern counts it once.
    ThereAndBack,
}

/// What comes of a knock.
#[derive(Clone, Copy)]
enum Outcome {
    /// Both say this.
    Both(&'static str),
    /// Knockd says the one and Postern the other.
    Apart(Deviation, &'static str, &'static str),
}

impl Outcome {
    /// What knockd says and what Postern says.
    #[track_caller]
    fn stories(self) -> (&'static str, &'static str) {
        match self {
            Self::Both(story) => (story, story),
            Self::Apart(deviation, knockd, postern) => {
                assert_ne!(knockd, postern, "{deviation:?} is none");
                (knockd, postern)
            }
        }
    }
}

/// The address that only the doors of one vector or configuration listen to, so that many fit into one file.
fn target(number: u8) -> String {
    format!("10.78.0.{number}")
}

/// A section of a knockd.conf for `name=sequence`, with its flags behind if there are any: `a=7000,8000:udp syn`. Nothing times out, and
/// what a door does, it writes down.
fn section(door: &str, target: Option<&str>) -> String {
    let (name, _) = door.split_once('=').expect("name=sequence");
    let mut text = section_without_commands(door, target);
    for (key, what) in [("start_command", "start"), ("stop_command", "stop")] {
        writeln!(text, "{key} = echo {name} {what} %IP% >> JOURNAL").expect("memory");
    }
    text
}

/// The same, for a door that does nothing yet.
fn section_without_commands(door: &str, target: Option<&str>) -> String {
    let (name, rest) = door.split_once('=').expect("name=sequence");
    let (sequence, flags) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut text = format!("[{name}]\nsequence = {sequence}\nseq_timeout = 3600\ncmd_timeout = 0\n");
    for (key, value) in [("tcpflags", flags), ("target", target.unwrap_or(""))] {
        if !value.is_empty() {
            writeln!(text, "{key} = {value}").expect("memory");
        }
    }
    text
}
