//! PortMap: the verdict map `ports`, which leads from a protocol and a port to the chain of the door that guards it.

use std::collections::BTreeMap;

use netlink_packet_core::{DefaultNla, NLA_F_NESTED, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetAttribute, SetDescription, SetElementAttribute,
    SetElementList, SetElementMessage, SetFlags, Verdict, VerdictAttribute,
};
use postern_core::{Family, GuardProtocol, PortRange};

use crate::attributes::{all, find, find_text};
use crate::batch::Batch;
use crate::elements::{port_key, read_port};
use crate::error::DoormanError;
use crate::socket::Socket;
use crate::table::{self, PORTS, TABLE, add_set};

/// Type of the key as nft numbers fields: `inet_proto . inet_service`.
const PROTOCOL_AND_PORT: u32 = 12 << 6 | 13;
/// Bytes of the key, whose fields are filled up to a multiple of four, and of its fields as they are.
const KEY: u32 = 8;
const FIELDS: [u32; 2] = [1, 2];

/// How many elements go in one message, whose list must not be longer than an attribute can be, 64 KiB, with the longest names of doors.
const PER_MESSAGE: usize = 256;

// include/uapi/linux/netfilter/nf_tables.h
const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_FIELD_LEN: u16 = 1;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_KEY_END: u16 = 10;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CHAIN: u16 = 2;

/// Port ranges, each with the name of the chain that it leads to.
pub(crate) type PortMap = BTreeMap<PortRange, String>;

/// Makes the map, unless it is there.
pub(crate) fn write(batch: &mut Batch, id: u32) {
    let field = |length: u32| {
        let attribute = [&[8, 0][..], &NFTA_SET_FIELD_LEN.to_ne_bytes(), &length.to_be_bytes()].concat();
        DefaultNla::new(NFTA_LIST_ELEM | NLA_F_NESTED, attribute)
    };
    let fields = SetDescription::Concat(FIELDS.map(field).to_vec());
    let attributes = vec![
        SetAttribute::Flags(SetFlags::Interval | SetFlags::Map | SetFlags::Concat),
        SetAttribute::KeyType(PROTOCOL_AND_PORT),
        SetAttribute::KeyLen(KEY),
        SetAttribute::DataType(NFT_DATA_VERDICT),
        SetAttribute::DataLen(0),
        SetAttribute::Description(vec![fields]),
    ];
    add_set(batch, PORTS, id, attributes);
}

/// Changes the map from `present` to `wanted`.
pub(crate) fn change(batch: &mut Batch, present: &PortMap, wanted: &PortMap) {
    let missing_in =
        |other: &PortMap, (range, chain): &(&PortRange, &String)| other.get(*range) != Some(*chain);
    let gone: Vec<_> = present.iter().filter(|entry| missing_in(wanted, entry)).collect();
    let new: Vec<_> = wanted.iter().filter(|entry| missing_in(present, entry)).collect();
    for some in gone.chunks(PER_MESSAGE) {
        table::push(batch, 0, NfTablesMessage::DeleteSetElement(message(some)));
    }
    for some in new.chunks(PER_MESSAGE) {
        table::push(batch, NLM_F_CREATE, NfTablesMessage::NewSetElement(message(some)));
    }
}

/// What the map holds; nothing if there is no such map.
pub(crate) fn read(socket: &mut Socket) -> Result<PortMap, DoormanError> {
    let attributes = vec![SetElementList::Table(TABLE.to_owned()), SetElementList::Set(PORTS.to_owned())];
    let question = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
    let listed = socket.list(Family::Inet, &question, read_elements);
    Ok(listed.map_err(|errno| DoormanError::Unreachable(errno.into()))?.into_iter().collect())
}

fn read_elements(attributes: &[u8], into: &mut Vec<(PortRange, String)>) {
    let list = find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    for (_, element) in all(list).filter(|(kind, _)| *kind == NFTA_LIST_ELEM) {
        into.extend(read_element(element));
    }
}

fn read_element(element: &[u8]) -> Option<(PortRange, String)> {
    let key = |kind| read_port(find(find(element, kind)?, NFTA_DATA_VALUE)?);
    let (protocol, first): (GuardProtocol, u16) = key(NFTA_SET_ELEM_KEY)?;
    let (_, last) = key(NFTA_SET_ELEM_KEY_END).unwrap_or((protocol, first));
    let verdict = find(find(element, NFTA_SET_ELEM_DATA)?, NFTA_DATA_VERDICT)?;
    Some((PortRange { protocol, first, last }, find_text(verdict, NFTA_VERDICT_CHAIN)?))
}

fn message(entries: &[(&PortRange, &String)]) -> SetElementMessage {
    let element = |(range, chain): &(&PortRange, &String)| {
        let PortRange { protocol, first, last } = **range;
        let value = |port| DataAttribute::Value(port_key((protocol, port)));
        let end = DefaultNla::new(NFTA_DATA_VALUE, port_key((protocol, last)));
        let jump = vec![VerdictAttribute::Code(Verdict::Jump), VerdictAttribute::Chain((*chain).clone())];
        ListAttribute::Element(vec![
            SetElementAttribute::Key(value(first)),
            SetElementAttribute::KeyEnd(vec![end]),
            SetElementAttribute::Data(DataAttribute::Verdict(jump)),
        ])
    };
    let attributes = vec![
        SetElementList::Table(TABLE.to_owned()),
        SetElementList::Set(PORTS.to_owned()),
        SetElementList::Elements(entries.iter().map(element).collect()),
    ];
    SetElementMessage { attributes }
}
