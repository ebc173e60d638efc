//! LinkAnswer: what a process that keeps doors sends to the engine. Of two sizes, with every field at a fixed place.

use std::time::Duration;

use postern_core::{
    Client, DoorId, DropReason, ListedOpening, OpeningNote, OrderError, Posture, Receipt, Unprotected,
};
use serde::{Deserialize, Serialize};

use crate::bytes::{are_zero, get, get_u32, get_u64, put};
use crate::hello::{HELLO_END, Hello};
use crate::malformed::Malformed;
use crate::request::{LONGEST_MS, client_of, family, milliseconds};

/// The size of most answers, in bytes.
pub const ANSWER_SIZE: usize = 256;
/// The size of those that list something, in bytes.
pub const LARGEST_ANSWER: usize = 4096;

pub(crate) const AT_KIND: usize = 0;
pub(crate) const AT_OUTCOME: usize = 1;
const AT_COUNT: usize = 2;
const AT_DOOR: usize = 4;
pub(crate) const AT_SERIAL: usize = 8;
pub(crate) const AT_REST: usize = 16;

/// Bytes of an opening in a list, but for its note.
pub(crate) const OPENING: usize = 40;
const AT_OPENING_DOOR: usize = 0;
const AT_OPENING_LINK: usize = 4;
const AT_OPENING_MILLISECONDS: usize = 8;
const AT_OPENING_ADDRESS: usize = 16;
const AT_OPENING_FAMILY: usize = 32;
const AT_OPENING_PREFIX: usize = 33;
const AT_OPENING_NOTE: usize = 34;
/// Bytes of a door in a list.
const DOOR: usize = 4;

/// Most doors in one answer.
pub const MOST_DOORS: usize = (LARGEST_ANSWER - AT_REST) / DOOR;
/// Most bytes of the text of a small answer.
pub const MOST_TEXT: usize = ANSWER_SIZE - AT_REST;
/// Most bytes of the text of a large answer.
pub const MOST_LONG_TEXT: usize = LARGEST_ANSWER - AT_REST;

const HELLO: u8 = 1;
const RECEIPT: u8 = 2;
const IN_PLACE: u8 = 3;
const MISTAKE: u8 = 4;
const NOT_IN_PLACE: u8 = 5;
const OPENINGS: u8 = 6;
const LIVED_ON: u8 = 7;
const LISTED: u8 = 8;
const PROBED: u8 = 9;
const CAME_IN: u8 = 10;
const COUNTED: u8 = 11;

/// Something that a process that keeps doors tells the engine. Numbers are little-endian; bytes without a meaning are zero.
///
/// ```text
///  0  u8   kind: 1 hello, 2 receipt, 3 in place, 4 mistake, 5 not in place, 6 openings, 7 doors that lived on, 8 end of a listing, 9 probed,
///          10 a client came in, 11 counted
///  1  u8   outcome; 0 if it is done. Of a receipt: a reason's place in `DropReason::ALL`, plus 1. Of 3: 1 unguarded, 2 owned,
///          3 the kernel has no owners, 4 found without one. Of 5: 1 mistakes, 2 another daemon's, 3 failed. Of 8 and 9: 1 failed.
///          Of 11: 1 it is not known
///  2  u16  bytes of the text, or number of entries
///  4  u32  door, of a mistake or of a client that came in
///  8  u64  serial of the order, or ticket of the request; 0 of a listing that nobody asked for
/// 16       the text, in UTF-8; or the entries, of an opening:
///               0  u32  door
///               4  u32  link: index of an interface, 0 if it does not matter
///               8  u64  milliseconds that remain
///              16  16 × u8  address, an IPv4 one in the first four
///              32  u8   its family: 4 or 6
///              33  u8   how many of its bits count
///              34  u8   how many bytes its note has
///              35  5 × u8  zero
///              40       the note
///          of a door that lived on: u32; of a client that came in: as an opening, its door and its time being 0; of 11: u64, packets
/// ```
///
/// Those of kind 4 to 7 have 4,096 bytes, all others 256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAnswer {
    /// The first of all.
    Hello(Hello),
    /// A door answers an order. Its words are cut at [`MOST_TEXT`] bytes.
    Receipt(Receipt),
    /// The doors of a table are in place.
    InPlace {
        /// That of the request.
        ticket: u64,
        /// How well the guarded ports are protected now.
        posture: Posture,
    },
    /// A door of a table that is not put in place is wrong; [`LinkAnswer::NotInPlace`] follows.
    Mistake {
        /// That of the request.
        ticket: u64,
        /// Which door.
        door: DoorId,
        /// What is wrong; cut at [`MOST_LONG_TEXT`] bytes.
        text: String,
    },
    /// The doors of a table are not put in place, and nothing has changed.
    NotInPlace {
        /// That of the request.
        ticket: u64,
        /// Why.
        why: WhyNotInPlace,
        /// Why, in words; cut at [`MOST_LONG_TEXT`] bytes.
        text: String,
    },
    /// These are open; more may follow, until [`LinkAnswer::Listed`].
    Openings {
        /// That of the request, or 0.
        ticket: u64,
        /// As many as [`openings_in_pieces`] says; their times are in whole milliseconds.
        openings: Vec<ListedOpening>,
    },
    /// These doors have the sets that they had in the last listing; more may follow, until [`LinkAnswer::Listed`].
    LivedOn {
        /// That of the request, or 0.
        ticket: u64,
        /// At most [`MOST_DOORS`].
        doors: Vec<DoorId>,
    },
    /// A listing is complete, or could not be made.
    Listed {
        /// That of the request; 0 if another program changed the ruleset.
        ticket: u64,
        /// Why it could not be made; cut at [`MOST_TEXT`] bytes.
        outcome: Result<(), String>,
    },
    /// Everything that was sent before is done.
    Probed {
        /// That of the request.
        ticket: u64,
        /// Why the packet filter does not answer; cut at [`MOST_TEXT`] bytes.
        outcome: Result<(), String>,
    },
    /// While the guard is tried: a client for whom a door was opened has come in.
    CameIn {
        /// Which door.
        door: DoorId,
        /// For whom it was opened.
        client: Client,
    },
    /// So many packets came through an opening.
    Counted {
        /// That of the request.
        ticket: u64,
        /// None if that is not counted, or the door is not open.
        packets: Option<u64>,
    },
}

/// Why doors were not put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhyNotInPlace {
    /// Doors are wrong; each has a message of its own.
    Mistakes,
    /// The guard is another daemon's, or another configuration's; it may be free later.
    Taken,
    /// Anything else.
    Failed,
}

impl LinkAnswer {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size()];
        bytes[AT_KIND] = self.kind();
        match self {
            Self::Hello(hello) => hello.write(&mut bytes),
            Self::Receipt(receipt) => write_receipt(&mut bytes, receipt),
            Self::InPlace { ticket, posture } => {
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
                bytes[AT_OUTCOME] = match posture {
                    Posture::Unguarded => 1,
                    Posture::Owned => 2,
                    Posture::Plain(Unprotected::Kernel) => 3,
                    Posture::Plain(Unprotected::Found) => 4,
                };
            }
            Self::Mistake { ticket, door, text } => {
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
                put(&mut bytes, AT_DOOR, door.0.to_le_bytes());
                write_text(&mut bytes, text);
            }
            Self::NotInPlace { ticket, why, text } => {
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
                bytes[AT_OUTCOME] = match why {
                    WhyNotInPlace::Mistakes => 1,
                    WhyNotInPlace::Taken => 2,
                    WhyNotInPlace::Failed => 3,
                };
                write_text(&mut bytes, text);
            }
            Self::Openings { ticket, openings } => {
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
                write_openings(&mut bytes, openings);
            }
            Self::LivedOn { ticket, doors } => {
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
                write_entries(&mut bytes, DOOR, doors, |entry, door| put(entry, 0, door.0.to_le_bytes()));
            }
            Self::Listed { ticket, outcome } | Self::Probed { ticket, outcome } => {
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
                if let Err(text) = outcome {
                    bytes[AT_OUTCOME] = 1;
                    write_text(&mut bytes, text);
                }
            }
            Self::CameIn { door, client } => {
                put(&mut bytes, AT_DOOR, door.0.to_le_bytes());
                write_client(&mut bytes[AT_REST..], client);
            }
            Self::Counted { ticket, packets } => {
                put(&mut bytes, AT_SERIAL, ticket.to_le_bytes());
                match packets {
                    Some(packets) => put(&mut bytes, AT_REST, packets.to_le_bytes()),
                    None => bytes[AT_OUTCOME] = 1,
                }
            }
        }
        bytes
    }

    /// What bytes say.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if ![ANSWER_SIZE, LARGEST_ANSWER].contains(&bytes.len()) {
            return Err(Malformed::Size(bytes.len()));
        }
        let (ticket, outcome) = (get_u64(bytes, AT_SERIAL), bytes[AT_OUTCOME]);
        let answer = match bytes[AT_KIND] {
            HELLO => Self::Hello(Hello::read(bytes)),
            RECEIPT => Self::Receipt(read_receipt(bytes)?),
            IN_PLACE => {
                let posture = match outcome {
                    1 => Posture::Unguarded,
                    2 => Posture::Owned,
                    3 => Posture::Plain(Unprotected::Kernel),
                    4 => Posture::Plain(Unprotected::Found),
                    other => return Err(Malformed::Outcome(other)),
                };
                Self::InPlace { ticket, posture }
            }
            MISTAKE => {
                Self::Mistake { ticket, door: DoorId(get_u32(bytes, AT_DOOR)), text: read_text(bytes)? }
            }
            NOT_IN_PLACE => {
                let why = match outcome {
                    1 => WhyNotInPlace::Mistakes,
                    2 => WhyNotInPlace::Taken,
                    3 => WhyNotInPlace::Failed,
                    other => return Err(Malformed::Outcome(other)),
                };
                Self::NotInPlace { ticket, why, text: read_text(bytes)? }
            }
            OPENINGS => Self::Openings { ticket, openings: read_openings(bytes)? },
            LIVED_ON => {
                let door = |entry: &[u8]| Ok(DoorId(get_u32(entry, 0)));
                Self::LivedOn { ticket, doors: read_entries(bytes, DOOR, door)? }
            }
            LISTED => Self::Listed { ticket, outcome: read_success(bytes)? },
            PROBED => Self::Probed { ticket, outcome: read_success(bytes)? },
            CAME_IN => {
                let client = read_client(&bytes[AT_REST..AT_REST + OPENING])?;
                Self::CameIn { door: DoorId(get_u32(bytes, AT_DOOR)), client }
            }
            COUNTED => {
                let packets = match outcome {
                    0 => Some(get_u64(bytes, AT_REST)),
                    1 => None,
                    other => return Err(Malformed::Outcome(other)),
                };
                Self::Counted { ticket, packets }
            }
            other => return Err(Malformed::Kind(other)),
        };
        if answer.size() != bytes.len() {
            return Err(Malformed::Size(bytes.len()));
        }
        // What it means has these bytes and no others.
        if answer.encode() == bytes { Ok(answer) } else { Err(Malformed::Unused) }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::Receipt(_) => RECEIPT,
            Self::InPlace { .. } => IN_PLACE,
            Self::Mistake { .. } => MISTAKE,
            Self::NotInPlace { .. } => NOT_IN_PLACE,
            Self::Openings { .. } => OPENINGS,
            Self::LivedOn { .. } => LIVED_ON,
            Self::Listed { .. } => LISTED,
            Self::Probed { .. } => PROBED,
            Self::CameIn { .. } => CAME_IN,
            Self::Counted { .. } => COUNTED,
        }
    }

    const fn size(&self) -> usize {
        match self {
            Self::Mistake { .. } | Self::NotInPlace { .. } | Self::Openings { .. } | Self::LivedOn { .. } => {
                LARGEST_ANSWER
            }
            Self::Hello(_)
            | Self::Receipt(_)
            | Self::InPlace { .. }
            | Self::Listed { .. }
            | Self::Probed { .. }
            | Self::CameIn { .. }
            | Self::Counted { .. } => ANSWER_SIZE,
        }
    }
}

const _: () = assert!(HELLO_END <= ANSWER_SIZE);

/// Writes as much of a text as there is room for.
fn write_text(bytes: &mut [u8], text: &str) {
    write_text_at(bytes, AT_REST, text);
}

/// Writes a text to the end of a message, from that place on; as much of it as there is room for.
pub(crate) fn write_text_at(bytes: &mut [u8], at: usize, text: &str) {
    let text = &text[..text.floor_char_boundary(bytes.len() - at)];
    put(bytes, AT_COUNT, u16::try_from(text.len()).unwrap_or_default().to_le_bytes());
    bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
}

fn read_text(bytes: &[u8]) -> Result<String, Malformed> {
    read_text_at(bytes, AT_REST)
}

/// The text from that place on.
pub(crate) fn read_text_at(bytes: &[u8], at: usize) -> Result<String, Malformed> {
    let length = usize::from(u16::from_le_bytes(get(bytes, AT_COUNT)));
    let text = bytes.get(at..at + length).ok_or(Malformed::Text)?;
    Ok(std::str::from_utf8(text).map_err(|_| Malformed::Text)?.to_owned())
}

/// Writes a receipt but for its kind.
pub(crate) fn write_receipt(bytes: &mut [u8], Receipt { serial, outcome }: &Receipt) {
    put(bytes, AT_SERIAL, serial.to_le_bytes());
    if let Err(error) = outcome {
        let place = DropReason::ALL.iter().position(|reason| *reason == error.reason());
        bytes[AT_OUTCOME] = place.and_then(|n| u8::try_from(n + 1).ok()).unwrap_or(u8::MAX);
        write_text(bytes, &error.to_string());
    }
}

pub(crate) fn read_receipt(bytes: &[u8]) -> Result<Receipt, Malformed> {
    Ok(Receipt { serial: get_u64(bytes, AT_SERIAL), outcome: read_outcome(bytes)? })
}

fn read_outcome(bytes: &[u8]) -> Result<Result<(), OrderError>, Malformed> {
    let outcome = bytes[AT_OUTCOME];
    let Some(place) = outcome.checked_sub(1) else { return Ok(Ok(())) };
    let reason = DropReason::ALL.get(usize::from(place)).ok_or(Malformed::Outcome(outcome))?;
    Ok(Err(OrderError::new(*reason, read_text(bytes)?)))
}

fn read_success(bytes: &[u8]) -> Result<Result<(), String>, Malformed> {
    match bytes[AT_OUTCOME] {
        0 => Ok(Ok(())),
        1 => Ok(Err(read_text(bytes)?)),
        other => Err(Malformed::Outcome(other)),
    }
}

/// Writes as many entries as there is room for.
fn write_entries<T>(bytes: &mut [u8], size: usize, entries: &[T], write: impl Fn(&mut [u8], &T)) {
    let places = bytes[AT_REST..].chunks_exact_mut(size);
    let count = entries.len().min(places.len());
    places.zip(entries).for_each(|(place, entry)| write(place, entry));
    put(bytes, AT_COUNT, u16::try_from(count).unwrap_or_default().to_le_bytes());
}

fn read_entries<T>(
    bytes: &[u8],
    size: usize,
    read: impl Fn(&[u8]) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = u16::from_le_bytes(get(bytes, AT_COUNT));
    let places = bytes[AT_REST..].chunks_exact(size);
    if usize::from(count) > places.len() {
        return Err(Malformed::Entries(count));
    }
    places.take(usize::from(count)).map(read).collect()
}

/// Openings in pieces that fit into an answer each.
pub fn openings_in_pieces(openings: &[ListedOpening]) -> impl Iterator<Item = &[ListedOpening]> {
    let mut rest = openings;
    std::iter::from_fn(move || {
        let mut room = LARGEST_ANSWER - AT_REST;
        let fits = |opening: &&ListedOpening| {
            let left = room.checked_sub(OPENING + opening.note.as_bytes().len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let count = rest.iter().take_while(fits).count();
        let (piece, behind) = rest.split_at(count);
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Writes as many openings as there is room for.
fn write_openings(bytes: &mut [u8], openings: &[ListedOpening]) {
    let piece = openings_in_pieces(openings).next().unwrap_or_default();
    put(bytes, AT_COUNT, u16::try_from(piece.len()).unwrap_or_default().to_le_bytes());
    let mut at = AT_REST;
    for opening in piece {
        let note = opening.note.as_bytes();
        let end = at + OPENING + note.len();
        write_opening(&mut bytes[at..at + OPENING], opening);
        bytes[at + OPENING..end].copy_from_slice(note);
        at = end;
    }
}

fn read_openings(bytes: &[u8]) -> Result<Vec<ListedOpening>, Malformed> {
    let count = u16::from_le_bytes(get(bytes, AT_COUNT));
    let mut rest = &bytes[AT_REST..];
    if usize::from(count) > rest.len() / OPENING {
        return Err(Malformed::Entries(count));
    }
    let mut read = || {
        let (entry, behind) = rest.split_at_checked(OPENING).ok_or(Malformed::Entries(count))?;
        let length = read_note_length(entry);
        let (note, behind) = behind.split_at_checked(length).ok_or(Malformed::Entries(count))?;
        rest = behind;
        read_opening(entry, note)
    };
    (0..count).map(|_| read()).collect()
}

/// Writes an opening but for its note.
pub(crate) fn write_opening(entry: &mut [u8], opening: &ListedOpening) {
    let ListedOpening { door, client, remaining, note } = opening;
    entry[AT_OPENING_NOTE] = note_length(note);
    put(entry, AT_OPENING_DOOR, door.0.to_le_bytes());
    put(entry, AT_OPENING_MILLISECONDS, milliseconds(*remaining).to_le_bytes());
    write_client(entry, client);
}

fn write_client(entry: &mut [u8], client: &Client) {
    put(entry, AT_OPENING_LINK, client.link().to_le_bytes());
    match client.address() {
        std::net::IpAddr::V4(address) => put(entry, AT_OPENING_ADDRESS, address.octets()),
        std::net::IpAddr::V6(address) => put(entry, AT_OPENING_ADDRESS, address.octets()),
    }
    entry[AT_OPENING_FAMILY] = family(client);
    entry[AT_OPENING_PREFIX] = client.width();
}

/// The length of a note as a message says it.
fn note_length(note: &OpeningNote) -> u8 {
    // At most 225.
    u8::try_from(note.as_bytes().len()).unwrap_or(u8::MAX)
}

/// Bytes of the note of an opening that [`write_opening`] wrote.
pub(crate) fn read_note_length(entry: &[u8]) -> usize {
    usize::from(entry[AT_OPENING_NOTE])
}

/// Reads an opening, and the note that comes with it.
pub(crate) fn read_opening(entry: &[u8], note: &[u8]) -> Result<ListedOpening, Malformed> {
    let milliseconds = get_u64(entry, AT_OPENING_MILLISECONDS);
    if !(1..=LONGEST_MS).contains(&milliseconds) {
        return Err(Malformed::Time(milliseconds));
    }
    let (door, client) = (DoorId(get_u32(entry, AT_OPENING_DOOR)), read_client(entry)?);
    let note = OpeningNote::from_bytes(note).ok_or(Malformed::Size(note.len()))?;
    Ok(ListedOpening { door, client, remaining: Duration::from_millis(milliseconds), note })
}

fn read_client(entry: &[u8]) -> Result<Client, Malformed> {
    if !are_zero(&entry[AT_OPENING_NOTE + 1..]) {
        return Err(Malformed::Unused);
    }
    let octets = get(entry, AT_OPENING_ADDRESS);
    let link = get_u32(entry, AT_OPENING_LINK);
    client_of(entry[AT_OPENING_FAMILY], entry[AT_OPENING_PREFIX], octets, link)
}

#[cfg(test)]
mod tests;
