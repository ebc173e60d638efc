//! Filter: the program that runs in the kernel and passes only wanted packets to this process.
//!
//! It is made from what all rules watch, as a classic BPF program that this module compiles. libpcap could compile an expression, but its
//! compiler is slow at thousands of ports and does not see behind VLAN tags, and the way it installs a program drops packets that arrive
//! meanwhile. A filter may pass more than is wanted, since [`postern_core::Dispatch`] checks again; it never rejects a wanted packet.

mod program;
mod ranges;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use postern_core::{Direction, Transport, Watch};
use socket2::SockFilter;

use program::Instruction;
use ranges::Ranges;

/// What the kernel accepts in one program (BPF_MAXINSNS), with room for the longest of what may go in front of it.
const MAX_INSTRUCTIONS: usize = 4096 - program::HIDDEN_LENGTH;

/// A kernel filter for a set of watches.
#[derive(Clone, Debug)]
pub struct Filter {
    direction: Direction,
    wanted: Ranges,
    program: Vec<Instruction>,
    /// What is in front of it, for sources from which everything is wanted.
    front: Vec<Instruction>,
    precision: Precision,
    /// How many instructions were allowed.
    budget: usize,
}

/// How closely a filter follows the watches that it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// No unwanted packet passes except those that only user space can decide on: frames with inner VLAN tags, and IPv6 packets with
    /// extension headers.
    Exact,
    /// The watches do not fit a program, so neighbouring ports were joined, or requirements on TCP flags left out.
    Widened {
        /// Ports and message types asked for, all transports together.
        from: usize,
        /// Ports and message types let through.
        to: usize,
    },
}

/// Where the IP header is in what the kernel runs the filter over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkHeader {
    /// At this offset. Reads behind it work wherever the kernel keeps the bytes.
    At(u32),
    /// Relative to the kernel's network header. A load fails, and so rejects the packet, if a driver left the headers in another page.
    Anywhere,
}

impl Filter {
    /// The filter that passes every packet that comes in and that any of `watches` asks for. Without watches it passes none.
    #[must_use]
    pub fn from_watches(watches: &[Watch]) -> Self {
        Self::of_direction(Direction::Incoming, watches)
    }

    /// The same for packets that go this way; it passes none that go the other.
    #[must_use]
    pub fn of_direction(direction: Direction, watches: &[Watch]) -> Self {
        Self::within(direction, Ranges::from_watches(watches), MAX_INSTRUCTIONS)
    }

    /// Whether everything that passes is wanted.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Instructions of the program.
    #[must_use]
    pub fn instructions(&self) -> usize {
        self.front.len() + self.program.len()
    }

    /// The same, and whatever comes from these sources as well; from at most eight.
    #[must_use]
    pub fn with_sources(&self, sources: &[IpAddr]) -> Self {
        let front = program::of_sources(self.direction, sources);
        let budget = MAX_INSTRUCTIONS - front.len();
        let same = if self.program.len() <= budget {
            self.clone()
        } else {
            Self::within(self.direction, self.wanted.clone(), budget)
        };
        Self { front, ..same }
    }

    /// Whether both let through the same packets.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.front == other.front && self.program == other.program
    }

    /// The same in at most half as many instructions, for a socket without enough filter memory; none if it cannot be smaller.
    pub(crate) fn coarser(&self) -> Option<Self> {
        let budget = self.program.len().min(self.budget) / 2;
        (budget >= program::SMALLEST).then(|| {
            let coarser = Self::within(self.direction, self.wanted.clone(), budget);
            Self { front: self.front.clone(), ..coarser }
        })
    }

    /// The program in the form that a socket takes.
    pub(crate) fn socket_filter(&self, header: NetworkHeader) -> Vec<SockFilter> {
        let whole = self.front.iter().chain(&self.program);
        whole.map(|instruction| instruction.socket_filter(header)).collect()
    }

    /// A few instructions that pass every packet that goes the same way, for as long as no better filter is in place.
    pub(crate) fn everything(&self) -> Vec<SockFilter> {
        program::everything(self.direction)
            .iter()
            .map(|instruction| instruction.socket_filter(NetworkHeader::At(0)))
            .collect()
    }

    /// What goes in front of any other program where a packet shows once for each interface that it passes, without its VLAN tag: it
    /// rejects packets from link-local addresses wherever IP does not see them because of that tag.
    pub(crate) fn without_hidden_link_local() -> Vec<SockFilter> {
        program::without_hidden_link_local()
            .iter()
            .map(|instruction| instruction.socket_filter(NetworkHeader::At(0)))
            .collect()
    }

    /// What goes in front of any other program on a socket that sees all interfaces, to reject what others than this one see.
    pub(crate) fn of_interface(index: u32) -> Vec<SockFilter> {
        program::of_interface(index)
            .iter()
            .map(|instruction| instruction.socket_filter(NetworkHeader::At(0)))
            .collect()
    }

    /// The program that passes no packet.
    pub(crate) fn nothing() -> [SockFilter; 1] {
        program::NOTHING.map(|instruction| instruction.socket_filter(NetworkHeader::At(0)))
    }

    fn within(direction: Direction, wanted: Ranges, budget: usize) -> Self {
        if let Some(program) = program::compile(direction, &wanted, budget) {
            let precision = if wanted.lost_flags() {
                Precision::Widened { from: wanted.ports(), to: wanted.ports() }
            } else {
                Precision::Exact
            };
            return Self { direction, wanted, program, front: Vec::new(), precision, budget };
        }
        let (widened, program) = fit(direction, &wanted, budget);
        let precision = Precision::Widened { from: wanted.ports(), to: widened.ports() };
        Self { direction, wanted, program, front: Vec::new(), precision, budget }
    }
}

/// Joins the nearest ranges, as few as possible, until the program fits.
fn fit(direction: Direction, wanted: &Ranges, budget: usize) -> (Ranges, Vec<Instruction>) {
    let compile = |wanted: &Ranges| program::compile(direction, wanted, budget);
    let without_flags = wanted.without_flags();
    // Requirements on flags cost little unless there are very many kinds; then they go first.
    let base = if compile(&wanted.widened(usize::MAX)).is_some() { wanted } else { &without_flags };
    if let Some(program) = compile(base) {
        return (base.clone(), program);
    }
    let (mut too_few, mut enough) = (0, base.gaps());
    while enough - too_few > 1 {
        let joints = too_few + (enough - too_few) / 2;
        if compile(&base.widened(joints)).is_some() {
            enough = joints;
        } else {
            too_few = joints;
        }
    }
    let widened = base.widened(enough);
    match compile(&widened) {
        Some(program) => (widened, program),
        None => (Ranges::everything(wanted), program::everything(direction).into()),
    }
}

/// The transports, in the order in which per-transport lists here hold them.
const TRANSPORTS: [Transport; 4] = Transport::ALL;
