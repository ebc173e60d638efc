//! Link: messages between the daemon's processes.

use postern_core::Act;
use postern_link::{
    ANSWER_SIZE, LARGEST_ANSWER, LONGEST_MS, LinkAnswer, LinkRequest, MOST_LONG_TEXT, REQUEST_SIZE,
};

/// A message of any size, and of each size that there is, filled up with zeros.
///
/// # Panics
/// If what is understood has other bytes than those that came, or an order asks for more than there is.
pub fn link(input: &[u8]) {
    request(input);
    answer(input);
    let mut sized = [0; LARGEST_ANSWER];
    let length = input.len().min(LARGEST_ANSWER);
    sized[..length].copy_from_slice(&input[..length]);
    request(&sized[..REQUEST_SIZE]);
    if length <= ANSWER_SIZE {
        answer(&sized[..ANSWER_SIZE]);
    }
    answer(&sized);
}

fn request(bytes: &[u8]) {
    if let Ok((request, note)) = LinkRequest::decode_noted(bytes) {
        assert_eq!(*request.encode_noted(&note), *bytes, "{request:?} {note:?}");
    }
    let Ok(request) = LinkRequest::decode(bytes) else { return };
    assert_eq!(request.encode(), *bytes, "{request:?}");
    if let LinkRequest::Order { order, .. } = request
        && let Act::Open(lasts) | Act::Extend(lasts) = order.act
    {
        assert!(!lasts.is_zero() && lasts.as_millis() <= LONGEST_MS.into(), "{order:?}");
    }
}

fn answer(bytes: &[u8]) {
    let Ok(answer) = LinkAnswer::decode(bytes) else { return };
    assert_eq!(answer.encode(), bytes, "{answer:?}");
    if let LinkAnswer::Mistake { text, .. } | LinkAnswer::NotInPlace { text, .. } = answer {
        assert!(text.len() <= MOST_LONG_TEXT);
    }
}
