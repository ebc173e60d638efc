//! Program: port ranges as classic BPF instructions.
//!
//! The layout: the direction of the packet, its protocol, the IP header, then for each transport a binary search tree of comparisons that
//! ends in short lists of ports. IPv4 and IPv6 share the trees: the X register holds the length of their header.
//!
//! Classic BPF jumps forward only, and a jump's offset counts the instructions to skip behind the jump itself: 0 is the next instruction. A
//! conditional jump has two offsets of 8 bits, so it reaches at most 255 instructions further; an unconditional one has 32 bits. Hence
//! two ways to branch: a conditional jump straight to its target if that is certain to be near, and else a conditional jump over one
//! unconditional jump, which reaches anything. All targets are behind the jumps to them, so every program ends, and the kernel's verifier,
//! which checks that all paths end in a RETURN within the program, takes it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use postern_core::{Direction, Transport};
use socket2::SockFilter;

use super::NetworkHeader;
use super::ranges::{FlagTest, Range, Ranges};

/// A budget below this leaves no room for the head of the program.
pub(super) const SMALLEST: usize = 128;

/// What the kernel keeps of a packet that passes: all of it, up to what the ring has room for.
pub(super) const ACCEPT: u32 = 0x4_0000;

/// Ports in the lists at the ends of a tree: short ones are quick, long ones take less room.
const LEAF_SIZES: [usize; 4] = [4, 12, 40, 80];
// Two comparisons for each port range of a list, and an exit for each, are within reach of a conditional jump.
const _: () = assert!(LEAF_SIZES[3] * 3 < u8::MAX as usize);

/// More different requirements on TCP flags than this would not leave much room for ports.
const MAX_KINDS_OF_TESTS: usize = 256;

// Instruction codes (linux/bpf_common.h): class, size or operation, mode or source.
pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const LOAD_BYTE: u16 = 0x30;
pub(super) const LOAD_HALF: u16 = 0x28;
pub(super) const LOAD_BYTE_X: u16 = 0x50;
pub(super) const LOAD_HALF_X: u16 = 0x48;
pub(super) const X_HEADER_LENGTH: u16 = 0xb1;
pub(super) const X_CONSTANT: u16 = 0x01;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
pub(super) const JUMP_ANY_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

/// Loads at offsets from here on read the kernel's metadata of a packet (SKF_AD_OFF), which does not depend on the link layer.
pub(super) const PROTOCOL: u32 = 0xffff_f000;
pub(super) const PACKET_TYPE: u32 = 0xffff_f004;
/// The index of the interface (SKF_AD_IFINDEX).
pub(super) const INTERFACE: u32 = 0xffff_f008;
/// The tag that was taken out of the frame, and whether one was (SKF_AD_VLAN_TAG and SKF_AD_VLAN_TAG_PRESENT).
const TAG: u32 = 0xffff_f02c;
const TAG_PRESENT: u32 = 0xffff_f030;
/// Offsets from here on count from the IP header (SKF_NET_OFF).
pub(super) const NETWORK: u32 = 0xfff0_0000;
/// The packet type of what this machine sends (PACKET_OUTGOING in linux/if_packet.h).
pub(super) const OUTGOING: u32 = 4;

const ETHER_IPV4: u32 = 0x0800;
const ETHER_IPV6: u32 = 0x86dd;
/// The kernel takes the outermost tag out before the filter runs; if there is an inner one, user space looks behind it.
const ETHER_VLAN: [u32; 3] = [0x8100, 0x88a8, 0x9100];
/// IPv6 extension headers, left to user space.
const EXTENSIONS: [u32; 8] = [0, 43, 44, 51, 60, 135, 139, 140];
const IPV6_HEADER: u32 = 40;

/// One instruction, as struct sock_filter of linux/filter.h. For a conditional jump `if_true` and `if_false` are offsets, which count from the
/// instruction behind it; for [`JUMP`] the operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) operand: u32,
}

impl Instruction {
    const fn new(code: u16, operand: u32) -> Self {
        Self { code, if_true: 0, if_false: 0, operand }
    }

    pub(super) fn socket_filter(&self, header: NetworkHeader) -> SockFilter {
        SockFilter::new(self.code, self.if_true, self.if_false, self.operand_at(header))
    }

    /// The operand, with offsets from the IP header turned into offsets from the beginning if those are known.
    pub(super) fn operand_at(&self, header: NetworkHeader) -> u32 {
        let relative = matches!(
            self.code,
            LOAD_WORD | LOAD_BYTE | LOAD_HALF | LOAD_BYTE_X | LOAD_HALF_X | X_HEADER_LENGTH
        ) && (NETWORK..PROTOCOL).contains(&self.operand);
        match header {
            NetworkHeader::At(offset) if relative => self.operand - NETWORK + offset,
            _ => self.operand,
        }
    }
}

/// Passes every packet of this direction.
pub(super) fn everything(direction: Direction) -> [Instruction; 4] {
    let (if_true, if_false) = match direction {
        Direction::Incoming => (1, 0),
        Direction::Outgoing => (0, 1),
    };
    [
        Instruction::new(LOAD_BYTE, PACKET_TYPE),
        // An offset of 1 skips the RETURN that accepts.
        Instruction { if_true, if_false, ..Instruction::new(JUMP_EQUAL, OUTGOING) },
        Instruction::new(RETURN, ACCEPT),
        Instruction::new(RETURN, 0),
    ]
}

/// Passes no packet.
pub(super) const NOTHING: [Instruction; 1] = [Instruction::new(RETURN, 0)];

/// What goes in front of another program to reject packets that another interface than this one sees.
pub(super) fn of_interface(index: u32) -> [Instruction; 3] {
    [
        Instruction::new(LOAD_WORD, INTERFACE),
        // An offset of 1 skips the RETURN that rejects.
        Instruction { if_true: 1, ..Instruction::new(JUMP_EQUAL, index) },
        NOTHING[0],
    ]
}
// The room that is left in front of a filter is for either.
const _: () = assert!(HIDDEN_LENGTH >= 3);

/// Instructions of [`without_hidden_link_local`].
pub(super) const HIDDEN_LENGTH: usize = 15;

/// What goes in front of another program to reject packets from a link-local address where their VLAN tag was just taken out: IP does
/// not see them there but on the VLAN device, where they are captured once more. A cooked capture does not show the tag that was taken
/// out, so user space could not tell. A tag for VLAN 0 counts as none, and of two tags the inner one is still in front of the IP header.
pub(super) fn without_hidden_link_local() -> [Instruction; HIDDEN_LENGTH] {
    let jump = |operand, if_true, if_false| Instruction {
        if_true,
        if_false,
        ..Instruction::new(JUMP_EQUAL, operand)
    };
    [
        Instruction::new(LOAD_HALF, TAG_PRESENT),
        // No tag: to the end, which is the first instruction of the program behind this one. So are the other jumps that let a packet go on.
        jump(0, 13, 0),
        Instruction::new(LOAD_HALF, TAG),
        Instruction::new(AND, 0x0fff),
        // VLAN 0: to the end.
        jump(0, 10, 0),
        Instruction::new(LOAD_BYTE, NETWORK),
        Instruction::new(AND, 0xf0),
        // Version 6: X is 0, as its header begins here.
        jump(0x60, 2, 0),
        // Anything else is taken for an inner tag, which has 4 bytes in front of the header. That an IPv4 packet is, too, does no harm: it
        // would have to come from 254.128.0.0/10, which is reserved.
        Instruction::new(X_CONSTANT, 4),
        Instruction::new(JUMP, 1),
        Instruction::new(X_CONSTANT, 0),
        // The first 10 bits of the source address. A packet that is too short for them is rejected by the load, and is no IPv6 packet.
        Instruction::new(LOAD_HALF_X, NETWORK + 8),
        Instruction::new(AND, 0xffc0),
        jump(0xfe80, 0, 1),
        Instruction::new(RETURN, 0),
    ]
}

/// What goes in front of another program to pass whatever comes from these sources and goes this way; the program behind it judges the rest. An
/// address behind an inner VLAN tag is not looked for: such frames pass anyway.
pub(super) fn of_sources(direction: Direction, sources: &[IpAddr]) -> Vec<Instruction> {
    // The jumps of this many sources reach their end.
    let sources = sources.get(..MOST_SOURCES).unwrap_or(sources);
    let (mut v4, mut v6) = (vec![Instruction::new(LOAD_WORD, NETWORK + 12)], Vec::new());
    for source in sources {
        match source {
            IpAddr::V4(source) => {
                v4.push(Instruction { if_false: 1, ..Instruction::new(JUMP_EQUAL, source.to_bits()) });
                v4.push(Instruction::new(RETURN, ACCEPT));
            }
            IpAddr::V6(source) => {
                for (n, word) in (0_u32..4).zip(source.octets().as_chunks::<4>().0) {
                    v6.push(Instruction::new(LOAD_WORD, NETWORK + 8 + 4 * n));
                    // Over the other words, two instructions each, and the RETURN.
                    let if_false = [7, 5, 3, 1][n as usize];
                    v6.push(Instruction {
                        if_false,
                        ..Instruction::new(JUMP_EQUAL, u32::from_be_bytes(*word))
                    });
                }
                v6.push(Instruction::new(RETURN, ACCEPT));
            }
        }
    }
    let length = |part: &[Instruction]| u8::try_from(part.len()).unwrap_or(u8::MAX);
    v4.push(Instruction::new(JUMP, u32::from(length(&v6))));
    let (of_v4, of_both) = (length(&v4), length(&v4) + length(&v6));
    let (if_true, if_false) = match direction {
        Direction::Incoming => (of_both + 3, 0),
        Direction::Outgoing => (0, of_both + 3),
    };
    let mut program = vec![
        Instruction::new(LOAD_BYTE, PACKET_TYPE),
        Instruction { if_true, if_false, ..Instruction::new(JUMP_EQUAL, OUTGOING) },
        Instruction::new(LOAD_HALF, PROTOCOL),
        Instruction { if_true: 1, ..Instruction::new(JUMP_EQUAL, ETHER_IPV4) },
        Instruction { if_true: of_v4, if_false: of_both, ..Instruction::new(JUMP_EQUAL, ETHER_IPV6) },
    ];
    program.extend(v4.into_iter().chain(v6));
    program
}

/// Most sources that a filter passes whatever they send.
pub(super) const MOST_SOURCES: usize = 8;

/// The program for these ranges of what goes this way, with the shortest lists that fit; none if it takes more than `budget` instructions.
pub(super) fn compile(direction: Direction, wanted: &Ranges, budget: usize) -> Option<Vec<Instruction>> {
    if wanted.is_empty() {
        return Some(NOTHING.to_vec());
    }
    let all = || Transport::ALL.into_iter().flat_map(|transport| wanted.of(transport));
    let kinds: BTreeSet<&[FlagTest]> = all().map(|range| range.tests.as_slice()).collect();
    if kinds.len() > MAX_KINDS_OF_TESTS || all().map(comparisons).sum::<usize>() > budget {
        return None;
    }
    LEAF_SIZES
        .into_iter()
        .filter_map(|leaf| whole(direction, wanted, leaf).link())
        .find(|program| program.len() <= budget)
}

/// A place in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Reject,
    Accept,
    V4,
    V6,
    Ports,
    Transport(Transport),
    /// The test of one of the lists of flags.
    Tests(usize),
}

/// Where a condition leads.
#[derive(Clone, Copy, Debug)]
enum Branch {
    Next,
    To(Label),
}

/// A piece of a program whose jumps to labels are not resolved yet. Offsets within it are relative, so it can be appended to another as it is.
#[derive(Default)]
struct CodeBlock {
    instructions: Vec<Instruction>,
    labels: Vec<(Label, usize)>,
    /// Unconditional jumps, and conditional ones to places nearby.
    far: Vec<(usize, Label)>,
    near: Vec<(usize, Branch, Branch)>,
}

impl CodeBlock {
    fn push(&mut self, code: u16, operand: u32) {
        self.instructions.push(Instruction::new(code, operand));
    }

    fn label(&mut self, label: Label) {
        self.labels.push((label, self.instructions.len()));
    }

    fn jump(&mut self, to: Label) {
        self.far.push((self.instructions.len(), to));
        self.push(JUMP, 0);
    }

    fn branch(&mut self, code: u16, operand: u32, if_true: Branch, if_false: Branch) {
        self.near.push((self.instructions.len(), if_true, if_false));
        self.push(code, operand);
    }

    /// A conditional jump over so many instructions.
    fn skip(&mut self, code: u16, operand: u32, if_true: u8, if_false: u8) {
        self.instructions.push(Instruction { code, if_true, if_false, operand });
    }

    fn append(&mut self, other: Self) {
        let base = self.instructions.len();
        self.instructions.extend(other.instructions);
        self.labels.extend(other.labels.into_iter().map(|(label, at)| (label, at + base)));
        self.far.extend(other.far.into_iter().map(|(at, label)| (at + base, label)));
        self.near.extend(other.near.into_iter().map(|(at, yes, no)| (at + base, yes, no)));
    }

    /// Resolves the jumps to labels. None if a conditional one does not reach its target, or if a target is missing or not behind its jump;
    /// [`compile`] then tries longer lists, which take fewer instructions.
    fn link(mut self) -> Option<Vec<Instruction>> {
        let distance = |from: usize, label: Label| {
            let &(_, at) = self.labels.iter().find(|(known, _)| *known == label)?;
            at.checked_sub(from + 1)
        };
        let near = |from: usize, branch: Branch| match branch {
            Branch::Next => Some(0),
            Branch::To(label) => u8::try_from(distance(from, label)?).ok(),
        };
        for &(at, label) in &self.far {
            self.instructions[at].operand = u32::try_from(distance(at, label)?).ok()?;
        }
        for &(at, if_true, if_false) in &self.near {
            self.instructions[at].if_true = near(at, if_true)?;
            self.instructions[at].if_false = near(at, if_false)?;
        }
        Some(self.instructions)
    }
}

fn whole(direction: Direction, wanted: &Ranges, leaf: usize) -> CodeBlock {
    let is_wanted = |transport| !wanted.of(transport).is_empty();
    let wants_ports = is_wanted(Transport::Tcp) || is_wanted(Transport::Udp);
    let wants_v4 = wants_ports || is_wanted(Transport::Icmp);
    let wants_v6 = wants_ports || is_wanted(Transport::Icmpv6);
    let mut code = CodeBlock::default();

    code.push(LOAD_BYTE, PACKET_TYPE);
    let (if_outgoing, if_incoming) = match direction {
        Direction::Incoming => (Branch::To(Label::Reject), Branch::Next),
        Direction::Outgoing => (Branch::Next, Branch::To(Label::Reject)),
    };
    code.branch(JUMP_EQUAL, OUTGOING, if_outgoing, if_incoming);
    code.push(LOAD_HALF, PROTOCOL);
    if wants_v4 {
        code.branch(JUMP_EQUAL, ETHER_IPV4, Branch::To(Label::V4), Branch::Next);
    }
    if wants_v6 {
        code.branch(JUMP_EQUAL, ETHER_IPV6, Branch::To(Label::V6), Branch::Next);
    }
    for tag in ETHER_VLAN {
        code.branch(JUMP_EQUAL, tag, Branch::To(Label::Accept), Branch::Next);
    }
    code.jump(Label::Reject);

    if wants_v4 {
        code.label(Label::V4);
        code.push(LOAD_HALF, NETWORK + 6);
        // Anything but the first fragment has no ports.
        code.branch(JUMP_ANY_BIT, 0x1fff, Branch::To(Label::Reject), Branch::Next);
        code.push(X_HEADER_LENGTH, NETWORK);
        code.push(LOAD_BYTE, NETWORK + 9);
        demultiplex(&mut code, Transport::Icmp, is_wanted(Transport::Icmp));
    }
    if wants_v6 {
        code.label(Label::V6);
        code.push(X_CONSTANT, IPV6_HEADER);
        code.push(LOAD_BYTE, NETWORK + 6);
        for header in EXTENSIONS {
            code.branch(JUMP_EQUAL, header, Branch::To(Label::Accept), Branch::Next);
        }
        demultiplex(&mut code, Transport::Icmpv6, is_wanted(Transport::Icmpv6));
    }

    code.label(Label::Ports);
    for transport in [Transport::Tcp, Transport::Udp] {
        if is_wanted(transport) {
            code.skip(JUMP_EQUAL, transport.protocol_number().into(), 0, 1);
            code.jump(Label::Transport(transport));
        }
    }
    code.label(Label::Reject);
    code.push(RETURN, 0);
    code.label(Label::Accept);
    code.push(RETURN, ACCEPT);

    let mut tests: Vec<&[FlagTest]> = Vec::new();
    for transport in Transport::ALL {
        if is_wanted(transport) {
            code.label(Label::Transport(transport));
            match transport {
                Transport::Tcp | Transport::Udp => code.push(LOAD_HALF_X, NETWORK + 2),
                Transport::Icmp | Transport::Icmpv6 => code.push(LOAD_BYTE_X, NETWORK),
            }
            code.append(tree(wanted.of(transport), leaf, &mut tests));
        }
    }
    for (index, tests) in tests.into_iter().enumerate() {
        code.label(Label::Tests(index));
        code.append(any_of(tests));
    }
    code
}

/// With the protocol number in the accumulator: goes on to ICMP of this version or to the transports with ports.
fn demultiplex(code: &mut CodeBlock, icmp: Transport, is_wanted: bool) {
    if is_wanted {
        code.skip(JUMP_EQUAL, icmp.protocol_number().into(), 0, 1);
        code.jump(Label::Transport(icmp));
    }
    code.jump(Label::Ports);
}

/// With the port in the accumulator: a binary search tree over the ranges.
fn tree<'a>(ranges: &'a [Range], leaf: usize, tests: &mut Vec<&'a [FlagTest]>) -> CodeBlock {
    if ranges.len() <= leaf {
        return list(ranges, tests);
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let at = right[0].first.into();
    let (left, right) = (tree(left, leaf, tests), tree(right, leaf, tests));
    let mut code = CodeBlock::default();
    // The left half follows, so its length is the offset of the right one.
    if let Ok(distance) = u8::try_from(left.instructions.len()) {
        code.skip(JUMP_GREATER_OR_EQUAL, at, distance, 0);
    } else {
        code.skip(JUMP_GREATER_OR_EQUAL, at, 0, 1);
        let distance = u32::try_from(left.instructions.len()).unwrap_or(u32::MAX);
        code.push(JUMP, distance);
    }
    code.append(left);
    code.append(right);
    code
}

/// With the port in the accumulator: compares it with one range after the other.
fn list<'a>(ranges: &'a [Range], tests: &mut Vec<&'a [FlagTest]>) -> CodeBlock {
    // The targets of the comparisons come right behind the list: at `length` a RETURN that rejects, then an exit for each kind of tests
    // that a matching range may ask for. They are within the reach of a conditional jump, as the assertion on LEAF_SIZES says.
    let length: usize = ranges.iter().map(comparisons).sum();
    let mut exits: Vec<&[FlagTest]> = Vec::new();
    let mut code = CodeBlock::default();
    for range in ranges {
        let exit = position_or_push(&mut exits, &range.tests);
        let here = code.instructions.len();
        let to = |at: usize, target: usize| {
            u8::try_from(target - at - 1).expect("lists are shorter than the reach of a jump")
        };
        let (no, yes) = (length, length + 1 + exit);
        if range.first == range.last {
            code.skip(JUMP_EQUAL, range.first.into(), to(here, yes), 0);
        } else {
            // A port below this range lies in the gap before it, since earlier ranges did not have it.
            code.skip(JUMP_GREATER_OR_EQUAL, range.first.into(), 0, to(here, no));
            code.skip(JUMP_GREATER, range.last.into(), 0, to(here + 1, yes));
        }
    }
    code.push(RETURN, 0);
    for exit in exits {
        if exit.is_empty() {
            code.push(RETURN, ACCEPT);
        } else {
            code.jump(Label::Tests(position_or_push(tests, exit)));
        }
    }
    code
}

const fn comparisons(range: &Range) -> usize {
    if range.first == range.last { 1 } else { 2 }
}

fn position_or_push<'a>(known: &mut Vec<&'a [FlagTest]>, tests: &'a [FlagTest]) -> usize {
    known.iter().position(|other| *other == tests).unwrap_or_else(|| {
        known.push(tests);
        known.len() - 1
    })
}

/// Passes the packet if its TCP flags pass any of the tests.
fn any_of(tests: &[FlagTest]) -> CodeBlock {
    let mut code = CodeBlock::default();
    for test in tests {
        code.push(LOAD_BYTE_X, NETWORK + 13);
        code.push(AND, test.mask.into());
        code.skip(JUMP_EQUAL, test.value.into(), 0, 1);
        code.push(RETURN, ACCEPT);
    }
    code.push(RETURN, 0);
    code
}
