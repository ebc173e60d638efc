//! RunnerAnswer: what the runner sends to the engine. Of two sizes, with every field at a fixed place.

use postern_core::{ListedOpening, Receipt, RecordError};

use crate::answer::{
    ANSWER_SIZE, AT_KIND, AT_OUTCOME, AT_REST, AT_SERIAL, OPENING, read_note_length, read_opening,
    read_receipt, read_text_at, write_opening, write_receipt, write_text_at,
};
use crate::bytes::{get_u64, put};
use crate::hello::Hello;
use crate::malformed::Malformed;

const HELLO: u8 = 1;
const RECEIPT: u8 = 2;
const RECORDED: u8 = 10;
const ABANDONED: u8 = 11;
const HANDED_OVER: u8 = 12;

/// Where the name of what is handed over begins.
const AT_NAME: usize = AT_REST + OPENING;
/// Most bytes of the name of what is handed over.
pub const MOST_NAME: usize = ANSWER_SIZE - AT_NAME;
/// The size of an answer that hands something over, in bytes: its note is behind what others have.
const HANDED_OVER_SIZE: usize = 2 * ANSWER_SIZE;

/// Something that the runner tells the engine. Its fields are where those of a [`crate::LinkAnswer`] are.
///
/// ```text
///  0  u8   kind: 1 hello, 2 receipt, 10 recorded, 11 abandoned, 12 handed over
///  1  u8   outcome; 0 if it is done. Of a receipt: a reason's place in `DropReason::ALL`, plus 1. Of 10: 1 no journal, 2 failed
///  2  u16  bytes of the text
///  4  u32  zero
///  8  u64  serial, of 2 and 10; number of openings, of 11
/// 16       the text, in UTF-8; of 12 an opening as in a [`crate::LinkAnswer`], and the text from 56 to 256, and the opening's note from there on
/// ```
///
/// Those of kind 12 have 512 bytes, all others 256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunnerAnswer {
    /// The first of all.
    Hello(Hello),
    /// A door answers an order. Its words are cut at [`crate::MOST_TEXT`] bytes.
    Receipt(Receipt),
    /// An opening is in the journal, or is not. The words are cut at [`crate::MOST_TEXT`] bytes.
    Recorded {
        /// That of the request.
        serial: u64,
        /// Why it is not.
        result: Result<(), RecordError>,
    },
    /// An opening was given up.
    Abandoned {
        /// How many were, and are still open.
        count: u64,
    },
    /// This is open, and the engine does not know it: an earlier one ordered it.
    HandedOver {
        /// What the door is called by from now on, for whom, and for how long from now; the time is in whole milliseconds, at least one.
        opening: ListedOpening,
        /// The door's name, for the log; cut at [`MOST_NAME`] bytes.
        name: String,
    },
}

impl RunnerAnswer {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size()];
        bytes[AT_KIND] = self.kind();
        match self {
            Self::Hello(hello) => hello.write(&mut bytes),
            Self::Receipt(receipt) => write_receipt(&mut bytes, receipt),
            Self::Recorded { serial, result } => {
                put(&mut bytes, AT_SERIAL, serial.to_le_bytes());
                match result {
                    Ok(()) => {}
                    Err(RecordError::NoJournal) => bytes[AT_OUTCOME] = 1,
                    Err(RecordError::Failed(text)) => {
                        bytes[AT_OUTCOME] = 2;
                        write_text_at(&mut bytes, AT_REST, text);
                    }
                }
            }
            Self::Abandoned { count } => put(&mut bytes, AT_SERIAL, count.to_le_bytes()),
            Self::HandedOver { opening, name } => {
                write_opening(&mut bytes[AT_REST..AT_NAME], opening);
                write_text_at(&mut bytes[..ANSWER_SIZE], AT_NAME, name);
                let note = opening.note.as_bytes();
                bytes[ANSWER_SIZE..ANSWER_SIZE + note.len()].copy_from_slice(note);
            }
        }
        bytes
    }

    /// What bytes say.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if ![ANSWER_SIZE, HANDED_OVER_SIZE].contains(&bytes.len()) {
            return Err(Malformed::Size(bytes.len()));
        }
        let number = get_u64(bytes, AT_SERIAL);
        let answer = match bytes[AT_KIND] {
            HELLO => Self::Hello(Hello::read(bytes)),
            RECEIPT => Self::Receipt(read_receipt(bytes)?),
            RECORDED => {
                let result = match bytes[AT_OUTCOME] {
                    0 => Ok(()),
                    1 => Err(RecordError::NoJournal),
                    2 => Err(RecordError::Failed(read_text_at(bytes, AT_REST)?)),
                    other => return Err(Malformed::Outcome(other)),
                };
                Self::Recorded { serial: number, result }
            }
            ABANDONED => Self::Abandoned { count: number },
            HANDED_OVER => {
                let (opening, end) =
                    (&bytes[AT_REST..AT_NAME], ANSWER_SIZE + read_note_length(&bytes[AT_REST..AT_NAME]));
                let note = bytes.get(ANSWER_SIZE..end).ok_or(Malformed::Size(bytes.len()))?;
                Self::HandedOver {
                    opening: read_opening(opening, note)?,
                    name: read_text_at(&bytes[..ANSWER_SIZE], AT_NAME)?,
                }
            }
            other => return Err(Malformed::Kind(other)),
        };
        if answer.size() != bytes.len() {
            return Err(Malformed::Size(bytes.len()));
        }
        // What it means has these bytes and no others.
        if answer.encode() == bytes { Ok(answer) } else { Err(Malformed::Unused) }
    }

    const fn size(&self) -> usize {
        match self {
            Self::HandedOver { .. } => HANDED_OVER_SIZE,
            Self::Hello(_) | Self::Receipt(_) | Self::Recorded { .. } | Self::Abandoned { .. } => ANSWER_SIZE,
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::Receipt(_) => RECEIPT,
            Self::Recorded { .. } => RECORDED,
            Self::Abandoned { .. } => ABANDONED,
            Self::HandedOver { .. } => HANDED_OVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_core::{DoorId, DropReason, OpeningNote, OrderError};
    use proptest::prelude::*;

    use super::*;

    /// The first bytes are these, and all others zero.
    fn check(answer: &RunnerAnswer, expected: &[&str]) {
        let bytes = answer.encode();
        let said: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = expected.concat();
        assert_eq!(said, format!("{expected}{}", "0".repeat(2 * answer.size() - expected.len())));
        assert_eq!(RunnerAnswer::decode(&bytes).as_ref(), Ok(answer));
    }

    fn all() -> Vec<RunnerAnswer> {
        let recorded = |result| RunnerAnswer::Recorded { serial: 7, result };
        let opening = ListedOpening {
            door: DoorId(0x8203_0405),
            client: "fe80::7%3".parse().unwrap(),
            remaining: Duration::from_millis(1500),
            note: OpeningNote::from_bytes(&[0xab, 0xcd]).unwrap(),
        };
        vec![
            RunnerAnswer::Receipt(Receipt { serial: 7, outcome: Ok(()) }),
            recorded(Ok(())),
            recorded(Err(RecordError::NoJournal)),
            recorded(Err(RecordError::Failed("ab".to_owned()))),
            RunnerAnswer::Abandoned { count: 7 },
            RunnerAnswer::HandedOver { opening, name: "lamp".to_owned() },
        ]
    }

    #[test]
    fn every_field_has_its_place() {
        let seven = "0700000000000000";
        let opening = [
            "05040382",
            "03000000",
            "dc05000000000000",
            "fe800000000000000000000000000007",
            "0680020000000000",
        ];
        let (opening, rest) = (opening.concat(), "0".repeat(2 * (ANSWER_SIZE - AT_NAME - 4)));
        let expected: [&[&str]; 6] = [
            &["0200000000000000", seven],
            &["0a00000000000000", seven],
            &["0a01000000000000", seven],
            &["0a02020000000000", seven, "6162"],
            &["0b00000000000000", seven],
            &["0c00040000000000", "0000000000000000", &opening, "6c616d70", &rest, "abcd"],
        ];
        for (answer, expected) in all().iter().zip(expected) {
            check(answer, expected);
        }
    }

    #[test]
    fn what_is_odd_is_refused_by_name_and_what_is_long_is_cut() {
        let check = |place: usize, at: usize, byte: u8, expected: Malformed| {
            let mut bytes = all()[place].encode();
            bytes[at] = byte;
            assert_eq!(RunnerAnswer::decode(&bytes), Err(expected), "{place} {at}: {byte}");
        };
        // What only the doorman says.
        for kind in 3..=9 {
            check(0, 0, kind, Malformed::Kind(kind));
        }
        check(0, 1, 255, Malformed::Outcome(255));
        check(1, 1, 3, Malformed::Outcome(3));
        check(3, 2, 241, Malformed::Text);
        check(5, 2, 201, Malformed::Text);
        check(5, 48, 9, Malformed::Family(9));
        check(5, 50, 1, Malformed::Unused);
        check(5, 258, 1, Malformed::Unused);
        assert_eq!(RunnerAnswer::decode(&all()[5].encode()[..ANSWER_SIZE]), Err(Malformed::Size(256)));
        check(4, 16, 1, Malformed::Unused);
        let words = "x".repeat(1000);
        let error = OrderError::new(DropReason::DoorFailed, words.clone());
        let answer = RunnerAnswer::Receipt(Receipt { serial: 1, outcome: Err(error) });
        let cut = OrderError::new(DropReason::DoorFailed, &words[..crate::MOST_TEXT]);
        let expected = RunnerAnswer::Receipt(Receipt { serial: 1, outcome: Err(cut) });
        assert_eq!(RunnerAnswer::decode(&answer.encode()), Ok(expected));
        let RunnerAnswer::HandedOver { opening, .. } = all().remove(5) else { panic!("an opening") };
        let answer = RunnerAnswer::HandedOver { opening: opening.clone(), name: words.clone() };
        let expected = RunnerAnswer::HandedOver { opening, name: words[..MOST_NAME].to_owned() };
        assert_eq!(RunnerAnswer::decode(&answer.encode()), Ok(expected));
    }

    proptest! {
        /// Bytes close to what is right are refused or mean exactly one thing.
        #[test]
        fn no_byte_that_changed_is_misread(place in 0_usize..6, at in 0_usize..ANSWER_SIZE, byte: u8) {
            let mut bytes = all()[place].encode();
            bytes[at] = byte;
            if let Ok(answer) = RunnerAnswer::decode(&bytes) {
                prop_assert_eq!(answer.encode(), bytes);
            }
        }
    }
}
