//! The instructions that rules are made of, as far as the guard needs them.

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Lookup, Meta,
    MetaKey, Operator, Payload, Register, Verdict, VerdictAttribute,
};

/// One instruction.
pub(crate) type Expression = ListAttribute<ExpressionAttribute>;

// include/uapi/linux/netfilter.h
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// Versions of IP, as the kernel numbers them.
pub(crate) const NFPROTO_IPV4: u8 = 2;
pub(crate) const NFPROTO_IPV6: u8 = 10;

// include/uapi/linux/netfilter/nf_tables.h
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_LOOKUP_F_INV: u32 = 1;
const NFTA_CT_DREG: u16 = 1;
const NFTA_CT_KEY: u16 = 2;
const NFT_CT_STATE: u32 = 0;
const NFTA_FIB_DREG: u16 = 1;
const NFTA_FIB_RESULT: u16 = 2;
const NFTA_FIB_FLAGS: u16 = 3;
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFTA_FIB_F_DADDR: u32 = 1 << 1;

/// `RTN_LOCAL` of include/uapi/linux/rtnetlink.h: an address of this machine.
const LOCAL: u32 = 2;

/// The bit of `IP_CT_ESTABLISHED`, as include/uapi/linux/netfilter/nf_conntrack_common.h makes it. Not that of `IP_CT_RELATED`: a
/// tracking helper may be talked into expecting a connection to any port.
const ESTABLISHED: u32 = 1 << 1;

/// Where a rule puts the first field that it looks up; four bytes a register from here on.
pub(crate) const FIRST: Register = Register::Reg1;

/// Packets from the loopback interface.
pub(crate) fn from_loopback() -> [Expression; 2] {
    // A name is compared with all the zeros behind it, or it would be the beginning of a name.
    let mut name = vec![0; 16];
    name[..2].copy_from_slice(b"lo");
    [meta(MetaKey::Iifname, FIRST), compare(Operator::Equal, name)]
}

/// Packets that are not for an address of this machine.
pub(crate) fn not_for_this_machine() -> [Expression; 2] {
    let fib = other(
        "fib",
        &[
            (NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR),
            (NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE),
            (NFTA_FIB_DREG, FIRST.into()),
        ],
    );
    [fib, compare(Operator::NotEqual, LOCAL.to_ne_bytes().to_vec())]
}

/// Packets of connections that exist.
pub(crate) fn established() -> [Expression; 3] {
    let state = other("ct", &[(NFTA_CT_KEY, NFT_CT_STATE), (NFTA_CT_DREG, FIRST.into())]);
    let mask = mask(ESTABLISHED.to_ne_bytes().to_vec());
    [state, mask, compare(Operator::NotEqual, vec![0; 4])]
}

/// Packets of this version of IP ([`NFPROTO_IPV4`] or [`NFPROTO_IPV6`]).
pub(crate) fn of_version(protocol_family: u8) -> [Expression; 2] {
    [load_version(), compare(Operator::Equal, vec![protocol_family])]
}

/// Puts the version of IP, one byte, into the first register.
pub(crate) fn load_version() -> Expression {
    meta(MetaKey::Nfproto, FIRST)
}

/// Puts the source address, `length` bytes at `offset` of the IP header, into registers from `register` on.
pub(crate) fn load_source(offset: u32, length: u32, register: Register) -> Expression {
    load(NFT_PAYLOAD_NETWORK_HEADER, offset, length, register)
}

/// Keeps of what is in the first registers what the mask has.
pub(crate) fn mask(mask: Vec<u8>) -> Expression {
    let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
    let zero = vec![0; mask.len()];
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(FIRST),
        Bitwise::DestinationRegister(FIRST),
        Bitwise::Length(length),
        Bitwise::Mask(DataAttribute::Value(mask)),
        Bitwise::Xor(DataAttribute::Value(zero)),
    ])
    .into()
}

/// Puts the name of the interface that the packet came by, 16 bytes, into the first registers.
pub(crate) fn load_interface() -> Expression {
    meta(MetaKey::Iifname, FIRST)
}

/// Puts the protocol and the destination port into these registers.
pub(crate) fn load_port(protocol: Register, port: Register) -> [Expression; 2] {
    [meta(MetaKey::L4Proto, protocol), load(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, port)]
}

/// Goes on if what is in the registers is in the set.
pub(crate) fn is_in(set: &str) -> Expression {
    Expressions::Lookup(vec![Lookup::SourceRegister(FIRST), Lookup::Set(set.to_owned())]).into()
}

/// Goes on if what is in the registers is not in the set.
pub(crate) fn is_not_in(set: &str) -> Expression {
    let set = Lookup::Set(set.to_owned());
    Expressions::Lookup(vec![Lookup::SourceRegister(FIRST), set, Lookup::Flags(NFT_LOOKUP_F_INV)]).into()
}

/// As [`is_in`], for a set without a name that the same batch makes under this number.
pub(crate) fn is_in_nameless(set: &str, id: u32) -> Expression {
    let set = Lookup::Set(set.to_owned());
    Expressions::Lookup(vec![Lookup::SourceRegister(FIRST), set, Lookup::SetId(id)]).into()
}

/// Does what the map says of what is in the registers; goes on if it says nothing.
pub(crate) fn verdict_of(map: &str) -> Expression {
    let map = Lookup::Set(map.to_owned());
    let verdict = Lookup::DestinationRegister(Register::Verdict);
    Expressions::Lookup(vec![Lookup::SourceRegister(FIRST), map, verdict]).into()
}

/// Counts packets and bytes.
pub(crate) fn count() -> Expression {
    other("counter", &[])
}

/// Lets the packet go on to other chains.
pub(crate) fn accept() -> Expression {
    verdict(NF_ACCEPT)
}

/// Ends the packet without a word.
pub(crate) fn drop() -> Expression {
    verdict(NF_DROP)
}

fn meta(key: MetaKey, register: Register) -> Expression {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(register)]).into()
}

fn load(base: u32, offset: u32, length: u32, register: Register) -> Expression {
    let place = [Payload::Base(base), Payload::Offset(offset), Payload::Len(length)];
    Expressions::Payload([Payload::DestinationRegister(register)].into_iter().chain(place).collect()).into()
}

fn compare(operator: Operator, value: Vec<u8>) -> Expression {
    let value = Cmp::Data(DataAttribute::Value(value));
    Expressions::Cmp(vec![Cmp::SourceRegister(FIRST), Cmp::Op(operator), value]).into()
}

fn verdict(code: u32) -> Expression {
    let verdict = DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(code))]);
    Expressions::Immediate(vec![Immediate::DestinationRegister(Register::Verdict), Immediate::Data(verdict)])
        .into()
}

/// An instruction that the library has no type for.
fn other(name: &str, attributes: &[(u16, u32)]) -> Expression {
    let attributes =
        attributes.iter().map(|(kind, value)| DefaultNla::new(*kind, value.to_be_bytes().to_vec())).collect();
    Expressions::Other { expression_type: name.to_owned(), attributes }.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use netlink_packet_core::Emitable as _;

    use super::*;

    /// The bytes of a rule's instructions.
    pub(crate) fn hexadecimal(rule: &[Expression]) -> String {
        let mut bytes = vec![0; rule.buffer_len()];
        rule.emit(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
