//! The elements of sets: their keys, and the messages that add, remove and list them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList, SetElementMessage,
};
use postern_core::{GuardProtocol, OpeningNote, SetName};

use crate::attributes::{all, find, find_u64};
use crate::counter::Counter;
use crate::user_data::{self, NFTA_SET_ELEM_USERDATA};

/// How many elements go in one message, whose list must not be longer than an attribute can be: 64 KiB.
pub(crate) const PER_MESSAGE: usize = 512;

/// Bytes of the name of an interface (`IFNAMSIZ`).
const INTERFACE_KEY: usize = 16;

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_EXPIRATION: u16 = 5;
const NFTA_DATA_VALUE: u16 = 1;

/// An element as the kernel lists it.
pub(crate) struct Element {
    /// Fields one behind the other, each filled up to a multiple of four bytes.
    pub(crate) key: Vec<u8>,
    /// How long it stays; none: for ever.
    pub(crate) remaining: Option<Duration>,
    /// None if it does not count.
    pub(crate) counter: Option<Counter>,
    /// What a doorman kept with it; empty if none did.
    pub(crate) note: OpeningNote,
}

/// An address alone.
pub(crate) fn address_key(client: IpAddr) -> Vec<u8> {
    match client {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Protocol and port.
pub(crate) fn port_key((protocol, port): (GuardProtocol, u16)) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![protocol.number(), 0, 0, 0, high, low, 0, 0]
}

/// The name of an interface, filled up with zeros; of a longer one what fits.
pub(crate) fn interface_key(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(INTERFACE_KEY, 0);
    key
}

/// The name of the interface that a key begins with, and the address behind it.
pub(crate) fn read_interface_and_address(key: &[u8]) -> Option<(String, IpAddr)> {
    let (name, address) = key.split_at_checked(INTERFACE_KEY)?;
    let name = name.split(|byte| *byte == 0).next()?;
    Some((String::from_utf8(name.to_vec()).ok()?, read_address(address)?))
}

/// The address that a key is.
pub(crate) fn read_address(key: &[u8]) -> Option<IpAddr> {
    match key.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(key).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(key).ok()?).into()),
        _ => None,
    }
}

/// The protocol and the port that a key is.
pub(crate) fn read_port(key: &[u8]) -> Option<(GuardProtocol, u16)> {
    let &[protocol, _, _, _, high, low, _, _] = key else { return None };
    Some((GuardProtocol::from_number(protocol)?, u16::from_be_bytes([high, low])))
}

/// The address, the protocol and the port that a key is.
pub(crate) fn read_client_port(key: &[u8]) -> Option<(IpAddr, (GuardProtocol, u16))> {
    let (address, port) = key.split_at_checked(key.len().checked_sub(8)?)?;
    Some((read_address(address)?, read_port(port)?))
}

/// Asks for one element.
pub(crate) fn question(set: &SetName, key: &[u8]) -> NfTablesMessage {
    NfTablesMessage::GetSetElement(message(set, [(key, None)]))
}

/// Asks for all elements.
pub(crate) fn list(set: &SetName) -> NfTablesMessage {
    let attributes = vec![SetElementList::Table(set.table.clone()), SetElementList::Set(set.name.clone())];
    NfTablesMessage::GetSetElement(SetElementMessage { attributes })
}

/// Reads an answer to [`list`], or to [`question`].
pub(crate) fn read(attributes: &[u8], into: &mut Vec<Element>) {
    let list = find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    for (_, element) in all(list).filter(|(kind, _)| *kind == NFTA_LIST_ELEM) {
        let key = find(element, NFTA_SET_ELEM_KEY).and_then(|key| find(key, NFTA_DATA_VALUE));
        let Some(key) = key else { continue };
        let remaining = find_u64(element, NFTA_SET_ELEM_EXPIRATION).map(Duration::from_millis);
        let note = find(element, NFTA_SET_ELEM_USERDATA).map(user_data::read).unwrap_or_default();
        into.push(Element { key: key.to_vec(), remaining, counter: Counter::of_element(element), note });
    }
}

/// The body of a message that adds or removes elements, each with its timeout in milliseconds if it has one.
pub(crate) fn message<'a>(
    set: &SetName,
    elements: impl IntoIterator<Item = (&'a [u8], Option<u64>)>,
) -> SetElementMessage {
    let elements = elements.into_iter().map(|(key, timeout)| match timeout {
        Some(timeout) => vec![key_attribute(key), SetElementAttribute::Timeout(timeout)],
        None => vec![key_attribute(key)],
    });
    message_of(set, elements)
}

/// As [`message`], with one element that counts on from `counter`. The counter is the end of the message, and the timeout stands before it.
pub(crate) fn counted_message(
    set: &SetName,
    key: &[u8],
    timeout: u64,
    counter: Counter,
) -> SetElementMessage {
    message_of(set, [vec![key_attribute(key), SetElementAttribute::Timeout(timeout), counter.attribute()]])
}

fn message_of(
    set: &SetName,
    elements: impl IntoIterator<Item = Vec<SetElementAttribute>>,
) -> SetElementMessage {
    let elements = elements.into_iter().map(ListAttribute::Element).collect();
    let attributes = vec![
        SetElementList::Table(set.table.clone()),
        SetElementList::Set(set.name.clone()),
        SetElementList::Elements(elements),
    ];
    SetElementMessage { attributes }
}

fn key_attribute(key: &[u8]) -> SetElementAttribute {
    SetElementAttribute::Key(DataAttribute::Value(key.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written() {
        let port = (GuardProtocol::Udp, 51820);
        let legacy = [&address_key("192.0.2.7".parse().unwrap())[..], &port_key(port)].concat();
        assert_eq!(legacy, [192, 0, 2, 7, 17, 0, 0, 0, 0xCA, 0x6C, 0, 0]);
        for client in ["192.0.2.7", "2001:db8::7"] {
            let client = client.parse().unwrap();
            let address = address_key(client);
            assert_eq!(read_address(&address), Some(client));
            assert_eq!(read_client_port(&[&address[..], &port_key(port)].concat()), Some((client, port)));
            let linked = [&interface_key("eth0")[..], &address].concat();
            assert_eq!(read_interface_and_address(&linked), Some(("eth0".to_owned(), client)));
        }
        assert_eq!(interface_key("an-interface-too-long").len(), 16);
    }

    #[test]
    fn other_keys_are_not_read() {
        for length in [0, 3, 7, 8, 9, 13, 40] {
            assert_eq!(read_client_port(&vec![6; length]), None);
            assert_eq!(read_interface_and_address(&vec![6; length]), None);
        }
        assert_eq!(read_port(&[1, 0, 0, 0, 0, 22, 0, 0]), None);
        assert_eq!(read_address(&[0; 5]), None);
    }

    #[test]
    fn a_list_is_read() {
        // Two elements: one for ever, one with 5000 ms to go of 60000 and with a comment; and something unknown.
        let list = [
            &[12, 0, 1, 0][..],
            b"postern\0",
            &[60, 0, 3, 0x80],
            &[16, 0, 1, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 10, 0, 0, 1],
            &[8, 0, 77, 0, 1, 2, 3, 4],
            &[32, 0, 1, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 10, 0, 0, 2],
            &[12, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0x13, 0x88, 4, 0, 6, 0],
        ]
        .concat();
        let mut elements = Vec::new();
        read(&list, &mut elements);
        let read: Vec<_> = elements.into_iter().map(|element| (element.key, element.remaining)).collect();
        assert_eq!(read, [(vec![10, 0, 0, 1], None), (vec![10, 0, 0, 2], Some(Duration::from_secs(5)))]);
        // Wherever it is cut off, reading ends quietly.
        for end in 0..list.len() {
            self::read(&list[..end], &mut Vec::new());
        }
    }
}
