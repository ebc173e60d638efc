//! DoorSet: a set whose elements come and go with openings, and the messages that make them.

use std::time::Duration;

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::NetfilterHeader;
use netlink_packet_netfilter::nftables::NfTablesMessage;
use postern_core::{OpeningNote, SetName};

use crate::batch::{Batch, encode, netfilter_family};
use crate::counter::{self, Counter};
use crate::elements::{counted_message, message};
use crate::user_data;

/// The shortest life of an element. Less than a tick of the kernel's clock would be rounded to none, and none means for
/// ever; a tick has at most 10 ms.
const SHORTEST: Duration = Duration::from_millis(10);

/// The longest life of an element, far below what the kernel refuses.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Bytes of a timeout, the last ones of a message that adds an element, but for its counter.
const TIMEOUT: usize = 8;

/// What stands between the key and the timeout: the header of an attribute.
const BETWEEN: usize = 4;

/// What stands between the beginning of the list of elements and the key: the headers of the list, of the element, of the key and of its value.
const BEFORE_KEY: usize = 16;

/// A set by name, with messages for one element encoded beforehand: opening a door waits for them, and filling in
/// key and timeout takes a tenth of the time of encoding.
pub(crate) struct DoorSet {
    pub(crate) name: SetName,
    key_length: usize,
    add: Vec<u8>,
    /// As `add`, of an element that counts on from a number.
    add_counted: Vec<u8>,
    remove: Vec<u8>,
}

impl DoorSet {
    /// `key_length` is in bytes, a multiple of four.
    pub(crate) fn new(name: SetName, key_length: usize) -> Self {
        let key = vec![0; key_length];
        let add = NfTablesMessage::NewSetElement(message(&name, [(key.as_slice(), Some(0))]));
        let add_counted = NfTablesMessage::NewSetElement(counted_message(&name, &key, 0, Counter::default()));
        let remove = NfTablesMessage::DeleteSetElement(message(&name, [(key.as_slice(), None)]));
        let [add, add_counted] = [add, add_counted].map(|add| encoded(&name, NLM_F_CREATE, add));
        let remove = encoded(&name, 0, remove);
        Self { name, key_length, add, add_counted, remove }
    }

    /// Puts an element in that lives for `lasts` from now, whether it is there already or not, and keeps `note` with it. It counts on from
    /// `counted`, if there is such a number; the set must be declared with a counter then.
    ///
    /// Three messages, because adding what is there with the same timeout leaves its end where it was, and removing
    /// what is not there is an error. They take effect together: there is no moment without the element.
    pub(crate) fn open(
        &self,
        batch: &mut Batch,
        key: &[u8],
        lasts: Duration,
        counted: Option<Counter>,
        note: &OpeningNote,
    ) {
        self.add(batch, key, lasts);
        self.remove(batch, key);
        let (add, behind) = match counted {
            Some(_) => (&self.add_counted, counter::ENCODED),
            None => (&self.add, 0),
        };
        let counter_at = add.len() - behind;
        let list_at = counter_at - TIMEOUT - BETWEEN - self.key_length - BEFORE_KEY;
        let message = match note.is_empty() {
            true => batch.push_encoded(add),
            false => {
                let attribute = user_data::attribute(note);
                batch.push_encoded_with(add, &attribute, [list_at, list_at + BETWEEN])
            }
        };
        self.fill_in(&mut message[..counter_at], key, lasts);
        if let Some(counted) = counted {
            counted.fill_in(&mut message[..add.len()]);
        }
    }

    /// Removes an element, whether it is there or not: it is added first, since a failed batch costs milliseconds, and most
    /// elements expire just before they are closed.
    pub(crate) fn close(&self, batch: &mut Batch, key: &[u8]) {
        self.add(batch, key, SHORTEST);
        self.remove(batch, key);
    }

    /// Takes out an element that is there; an error of the batch if it is not.
    pub(crate) fn remove(&self, batch: &mut Batch, key: &[u8]) {
        let message = batch.push_encoded(&self.remove);
        let key_at = message.len() - self.key_length;
        message[key_at..].copy_from_slice(key);
    }

    fn add(&self, batch: &mut Batch, key: &[u8], lasts: Duration) {
        self.fill_in(batch.push_encoded(&self.add), key, lasts);
    }

    /// Fills key and timeout in, at the end of a message.
    fn fill_in(&self, message: &mut [u8], key: &[u8], lasts: Duration) {
        let timeout_at = message.len() - TIMEOUT;
        let key_at = timeout_at - BETWEEN - self.key_length;
        message[key_at..key_at + self.key_length].copy_from_slice(key);
        message[timeout_at..].copy_from_slice(&milliseconds(lasts).to_be_bytes());
    }
}

/// The bytes of a message about a set.
fn encoded(set: &SetName, flags: u16, message: NfTablesMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, NetfilterHeader::new(netfilter_family(set.family), 0, 0), message, flags, 0);
    bytes
}

/// A timeout as the kernel takes it, never none.
pub(crate) fn milliseconds(lasts: Duration) -> u64 {
    u64::try_from(lasts.clamp(SHORTEST, LONGEST).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elements::address_key;

    /// The bytes of a batch, a message to a line.
    fn lines(write: impl FnOnce(&mut Batch)) -> Vec<String> {
        let mut batch = Batch::new(vec![0xEE; 3], 0x0102_0304);
        write(&mut batch);
        let bytes = batch.finish();
        crate::socket::messages_of(&bytes)
            .map(|message| {
                let length = message.length() as usize;
                let bytes = &message.into_inner()[..length];
                bytes
                    .chunks(4)
                    .map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + " ")
                    .collect()
            })
            .collect()
    }

    // Spelled out as a little-endian machine sends it.
    #[cfg(target_endian = "little")]
    #[test]
    fn a_guard_door_opens_with_these_bytes() {
        let set = DoorSet::new("inet postern door1".parse().unwrap(), 4);
        let key = address_key("192.0.2.7".parse().unwrap());
        let found =
            lines(|batch| set.open(batch, &key, Duration::from_secs(60), None, &OpeningNote::default()));
        let names = "0c000100 706f7374 65726e00 0a000200 646f6f72 31000000 ";
        let element = "c0000207 ";
        let add = |flags: &str, sequence: &str| {
            format!(
                "4c000000 0c0a{flags} {sequence} 00000000 01000000 {names}\
                 20000380 1c000180 0c000180 08000100 {element}0c000400 00000000 0000ea60 "
            )
        };
        assert_eq!(
            found,
            [
                "14000000 10000100 04030201 00000000 0000000a ".to_owned(),
                add("0104", "05030201"),
                format!(
                    "40000000 0e0a0100 06030201 00000000 01000000 {names}14000380 10000180 0c000180 08000100 {element}"
                ),
                // The one that is to be acknowledged.
                add("0504", "07030201"),
                "14000000 11000100 08030201 00000000 0000000a ".to_owned(),
            ]
        );
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn what_counts_goes_on_from_where_it_was() {
        let set = DoorSet::new("inet postern door1".parse().unwrap(), 4);
        let key = address_key("192.0.2.7".parse().unwrap());
        let counter = Counter { packets: 3, bytes: 258 };
        let note = OpeningNote::default();
        let found = lines(|batch| set.open(batch, &key, Duration::from_secs(60), Some(counter), &note));
        let names = "0c000100 706f7374 65726e00 0a000200 646f6f72 31000000 ";
        let element = "0c000180 08000100 c0000207 0c000400 00000000 0000ea60 ";
        let counter = "2c000780 0c000100 636f756e 74657200 1c000280 0c000100 00000000 00000102 0c000200 00000000 00000003 ";
        assert_eq!(
            found[1..4],
            [
                format!("4c000000 0c0a0104 05030201 00000000 01000000 {names}20000380 1c000180 {element}"),
                format!(
                    "40000000 0e0a0100 06030201 00000000 01000000 {names}14000380 10000180 0c000180 08000100 c0000207 "
                ),
                format!(
                    "78000000 0c0a0504 07030201 00000000 01000000 {names}4c000380 48000180 {element}{counter}"
                ),
            ]
        );
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_note_is_the_last_of_what_an_element_has() {
        let set = DoorSet::new("inet postern door1".parse().unwrap(), 4);
        let key = address_key("192.0.2.7".parse().unwrap());
        let note = OpeningNote::from_bytes(&[0xaa, 0xbb, 0xcc]).unwrap();
        let open = |counter| lines(|batch| set.open(batch, &key, Duration::from_secs(60), counter, &note));
        let names = "0c000100 706f7374 65726e00 0a000200 646f6f72 31000000 ";
        let element = "0c000180 08000100 c0000207 0c000400 00000000 0000ea60 ";
        let note = "09000600 5003aabb cc000000 ";
        let counter = "2c000780 0c000100 636f756e 74657200 1c000280 0c000100 00000000 00000102 0c000200 00000000 00000003 ";
        let add = "0c0a0504 07030201 00000000 01000000 ";
        assert_eq!(open(None)[3], format!("58000000 {add}{names}2c000380 28000180 {element}{note}"));
        let counted = open(Some(Counter { packets: 3, bytes: 258 }));
        assert_eq!(counted[3], format!("84000000 {add}{names}58000380 54000180 {element}{counter}{note}"));
        // What comes before is the same without one.
        assert!(counted[1].starts_with("4c000000 0c0a0104 05030201 "), "{}", counted[1]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_set_door_closes_with_these_bytes() {
        let set = DoorSet::new("ip6 f s".parse().unwrap(), 16);
        let key = address_key("2001:db8::7".parse().unwrap());
        let found = lines(|batch| set.close(batch, &key));
        let names = "06000100 66000000 06000200 73000000 ";
        let element = "20010db8 00000000 00000000 00000007 ";
        assert_eq!(
            found[1..3],
            [
                format!(
                    "50000000 0c0a0104 05030201 00000000 0a000000 {names}\
                     2c000380 28000180 18000180 14000100 {element}0c000400 00000000 0000000a "
                ),
                format!(
                    "44000000 0e0a0500 06030201 00000000 0a000000 {names}20000380 1c000180 18000180 14000100 {element}"
                ),
            ]
        );
    }

    #[test]
    fn no_element_lives_for_ever() {
        assert_eq!(milliseconds(Duration::ZERO), 10);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 10);
        assert_eq!(milliseconds(Duration::from_millis(1500)), 1500);
        assert_eq!(milliseconds(Duration::MAX), 316_224_000_000);
    }
}
