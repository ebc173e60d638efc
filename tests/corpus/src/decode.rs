//! Decode: a frame of any bytes.

use std::sync::Arc;

use postern_capture::{Frame, LinkType, Sightings};
use postern_core::{Detail, Direction, DropReason, Knock, Likeness, MAX_PAYLOAD, MAX_TCP_OPTIONS, Timestamp};

/// Link types by their numbers, with one that is not read.
const LINKS: [i32; 8] = [0, 1, 101, 108, 113, 228, 229, 276];

/// A byte that chooses how the frame was captured, a byte for what is wanted of it, then the frame.
///
/// # Panics
/// If what is decoded is more than was asked for, or is not the same once the end of the frame is cut off.
pub fn decode(input: &[u8]) {
    let [how, wanted, bytes @ ..] = input else { return };
    let link = match usize::from(how & 15) {
        link @ 0..8 => LinkType::from_number(LINKS[link]),
        other => LinkType::from_number(i32::try_from(other).unwrap_or_default() * 10),
    };
    let interface: Arc<str> = "any0".into();
    let direction = if how & 16 == 0 { Direction::Incoming } else { Direction::Outgoing };
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(u32::from(how >> 7));
    let frame = Frame {
        time: Timestamp(7),
        link,
        length,
        interface: &interface,
        index: u32::from(how >> 5 & 3),
        direction,
        bytes,
    };
    let detail = Detail { payload_limit: usize::from(wanted >> 1) * 16, tcp_header: wanted & 1 == 1 };
    let Ok(knock) = postern_capture::decode(&frame, detail) else { return };
    assert!(knock.payload.len() <= detail.payload_limit.min(MAX_PAYLOAD), "{knock:?}");
    let options = knock.tcp_header.as_ref().map_or(0, |header| header.options.len());
    assert!(options <= MAX_TCP_OPTIONS, "{knock:?}");
    for likeness in [Likeness::Exact, Likeness::AcrossRouters] {
        Sightings::new(likeness).of(&frame, &knock);
    }
    for length in [bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let cut = Frame { bytes: &bytes[..length], ..frame };
        match postern_capture::decode(&cut, detail) {
            Ok(other) => {
                assert!(knock.payload.starts_with(&other.payload), "{knock:?}\n{other:?}");
                assert_eq!(without_payload(&other), without_payload(&knock));
            }
            Err(reason) => assert_eq!(reason, DropReason::Truncated, "{length} bytes of {knock:?}"),
        }
    }
}

fn without_payload(knock: &Knock) -> Knock {
    Knock { payload: Box::default(), ..knock.clone() }
}
