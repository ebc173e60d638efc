//! What holds. Owns the words in which a missing barrier is reported, and decides nothing by it.

use std::fmt;

use rustix::thread::CapabilitySet;

/// One thing that stands between a process that was taken over and the rest of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Barrier {
    /// Runs as a user of its own.
    Account,
    /// Has no capability but those that it keeps.
    Capabilities,
    /// Cannot get a capability by executing a program.
    BoundingSet,
    /// Cannot get any right by executing a program.
    NoNewPrivileges,
    /// Other processes of the same user cannot read its memory.
    NotDumpable,
    /// Ends with its parent.
    EndsWithParent,
    /// Uses no more of the machine than it was given.
    Limits,
    /// Opens no file but those that were left to it.
    Landlock,
    /// Makes no system call that is not on its list.
    SystemCalls,
    /// Cannot open or change files that were not left to it.
    Files,
    /// Cannot open a TCP connection or listen for one.
    Tcp,
    /// Cannot open a socket that sees packets.
    PacketSockets,
    /// Cannot talk to abstract UNIX sockets of others.
    AbstractSockets,
    /// Cannot send signals to others.
    Signals,
    /// Cannot execute a program.
    Execution,
    /// Cannot reach into the memory or descriptors of others.
    Tracing,
}

impl Barrier {
    /// As the log names it.
    fn name(self) -> &'static str {
        match self {
            Self::Account => "own user",
            Self::Capabilities => "capabilities",
            Self::BoundingSet => "capability bounding set",
            Self::NoNewPrivileges => "no_new_privs",
            Self::NotDumpable => "non-dumpable",
            Self::EndsWithParent => "ends with its parent",
            Self::Limits => "limits",
            Self::Landlock => "Landlock",
            Self::SystemCalls => "seccomp",
            Self::Files => "files",
            Self::Tcp => "TCP",
            Self::PacketSockets => "packet sockets",
            Self::AbstractSockets => "abstract UNIX sockets",
            Self::Signals => "signals",
            Self::Execution => "execution",
            Self::Tracing => "tracing",
        }
    }
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A barrier that is not there, and why. Displayed it is one line for the log: `Landlock: this kernel has none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is not there.
    pub barrier: Barrier,
    /// Why, in plain words.
    pub cause: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.barrier, self.cause)
    }
}

/// What became of a confinement: which barriers hold, which are missing. Displayed it is the names of those that hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "whoever confines a process reports what is missing"]
pub struct Held {
    holding: Vec<Barrier>,
    missing: Vec<Missing>,
    capabilities: u64,
}

impl Held {
    /// The barriers that were put up or tried, and hold. What was not asked for is in neither list.
    pub fn holding(&self) -> &[Barrier] {
        &self.holding
    }

    /// The barriers that were asked for and are not there.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Whether nothing that was asked for is missing.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// The capabilities that are left: those that were kept, if the process had them.
    pub fn capabilities(&self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.capabilities)
    }

    pub(crate) fn set_capabilities(&mut self, left: CapabilitySet) {
        self.capabilities = left.bits();
    }

    /// Notes what became of a barrier. One that is missing once is missing, whatever is found later.
    pub(crate) fn note(&mut self, barrier: Barrier, outcome: Result<(), String>) {
        let is_missing = self.missing.iter().any(|it| it.barrier == barrier);
        match outcome {
            Ok(()) if is_missing || self.holding.contains(&barrier) => {}
            Ok(()) => self.holding.push(barrier),
            Err(_) if is_missing => {}
            Err(cause) => {
                self.holding.retain(|it| *it != barrier);
                self.missing.push(Missing { barrier, cause });
            }
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, barrier) in self.holding.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{barrier}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_barrier_is_one_line() {
        let mut held = Held::default();
        held.note(Barrier::Landlock, Err("this kernel has none".to_owned()));
        let lines: Vec<_> = held.missing().iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["Landlock: this kernel has none"]);
        assert!(!held.is_complete());
    }

    #[test]
    fn what_holds_is_a_list_of_names() {
        let mut held = Held::default();
        held.note(Barrier::Capabilities, Ok(()));
        held.note(Barrier::SystemCalls, Ok(()));
        held.note(Barrier::Capabilities, Ok(()));
        assert_eq!(held.to_string(), "capabilities, seccomp");
    }

    #[test]
    fn what_is_missing_once_is_missing() {
        let mut held = Held::default();
        held.note(Barrier::Files, Ok(()));
        held.note(Barrier::Files, Err("/ can be opened".to_owned()));
        held.note(Barrier::Files, Ok(()));
        held.note(Barrier::Files, Err("/dev/null can be written".to_owned()));
        assert_eq!(held.holding(), []);
        assert_eq!(held.missing().len(), 1);
    }
}
