//! Noted: a request with the note of an opening behind it. Whoever receives it keeps the note, and never looks into it.

use std::ops::Deref;

use postern_core::{MOST_NOTE, OpeningNote};

use crate::malformed::Malformed;
use crate::request::REQUEST_SIZE;

/// The most bytes of a request with its note.
pub const LARGEST_REQUEST: usize = REQUEST_SIZE + MOST_NOTE;

/// The bytes of a request and of the note behind it: as many as these have together.
#[derive(Clone, Debug)]
pub struct NotedBytes {
    bytes: [u8; LARGEST_REQUEST],
    length: usize,
}

impl NotedBytes {
    pub(crate) fn new(request: &[u8; REQUEST_SIZE], note: &OpeningNote) -> Self {
        let (mut bytes, length) = ([0; LARGEST_REQUEST], REQUEST_SIZE + note.as_bytes().len());
        bytes[..REQUEST_SIZE].copy_from_slice(request);
        bytes[REQUEST_SIZE..length].copy_from_slice(note.as_bytes());
        Self { bytes, length }
    }
}

impl Deref for NotedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The bytes of a request, and the note behind it.
pub(crate) fn split(bytes: &[u8]) -> Result<(&[u8], OpeningNote), Malformed> {
    let (request, note) = bytes.split_at(bytes.len().min(REQUEST_SIZE));
    Ok((request, OpeningNote::from_bytes(note).ok_or(Malformed::Size(bytes.len()))?))
}
