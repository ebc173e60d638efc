//! UserData: a note as the kernel keeps it with an element: in the form in which nft keeps a comment there, under a number that nft does not use,
//! so that it is skipped by nft and never taken for somebody else's.

use postern_core::OpeningNote;

/// The number of a note among what can be kept with an element. nft has 0 for a comment and 1 for flags.
const NOTE: u8 = 0x50;

/// Bytes before a note: its number and its length.
const HEADER: usize = 2;

// include/uapi/linux/netfilter/nf_tables.h
pub(crate) const NFTA_SET_ELEM_USERDATA: u16 = 6;

/// Bytes of an attribute's header, and what its length is a multiple of.
const ATTRIBUTE: usize = 4;

/// The attribute of an element that keeps a note, filled up.
pub(crate) fn attribute(note: &OpeningNote) -> Vec<u8> {
    let note = note.as_bytes();
    let length = ATTRIBUTE + HEADER + note.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(ATTRIBUTE));
    // A note has at most 225 bytes.
    bytes.extend_from_slice(&u16::try_from(length).unwrap_or_default().to_ne_bytes());
    bytes.extend_from_slice(&NFTA_SET_ELEM_USERDATA.to_ne_bytes());
    bytes.extend_from_slice(&[NOTE, u8::try_from(note.len()).unwrap_or_default()]);
    bytes.extend_from_slice(note);
    bytes.resize(length.next_multiple_of(ATTRIBUTE), 0);
    bytes
}

/// The note among what is kept with an element; empty if there is none, or what is kept does not make sense.
pub(crate) fn read(kept: &[u8]) -> OpeningNote {
    let mut rest = kept;
    while let Some(([kind, length], behind)) = rest.split_first_chunk::<HEADER>() {
        let Some((value, behind)) = behind.split_at_checked((*length).into()) else { break };
        if *kind == NOTE {
            return OpeningNote::from_bytes(value).unwrap_or_default();
        }
        rest = behind;
    }
    OpeningNote::default()
}

#[cfg(test)]
mod tests {
    use postern_core::MOST_NOTE;

    use super::*;

    fn note(bytes: &[u8]) -> OpeningNote {
        OpeningNote::from_bytes(bytes).unwrap()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_note_has_these_bytes() {
        assert_eq!(attribute(&note(&[1, 2, 3])), [9, 0, 6, 0, 0x50, 3, 1, 2, 3, 0, 0, 0]);
    }

    #[test]
    fn what_was_written_is_read_among_what_others_keep() {
        for length in [0, 1, 2, 29, MOST_NOTE] {
            let note = note(&vec![7; length]);
            let attribute = attribute(&note);
            let kept = &attribute[ATTRIBUTE..ATTRIBUTE + HEADER + length];
            assert!(kept.len() <= 254, "the kernel keeps no more");
            assert_eq!(read(kept), note);
            // Behind a comment.
            assert_eq!(read(&[b"\0\x03hi\0", kept].concat()), note);
            for end in 0..kept.len() {
                assert!(read(&kept[..end]).is_empty(), "{length} {end}");
            }
        }
        assert!(read(b"\0\x03hi\0").is_empty() && read(&[NOTE]).is_empty() && read(&[]).is_empty());
        assert!(read(&[&[NOTE, 254][..], &[1; 254]].concat()).is_empty(), "longer than any note");
    }
}
