//! Lines: pieces of at most 4095 bytes, and C's notion of white space and numbers.

/// Most bytes of a piece, its line feed included.
pub(super) const LONGEST_PIECE: usize = 4095;

/// A line, or a part of a line that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Number from 1; each piece counts.
    pub(super) number: usize,
    /// Without white space at both ends.
    pub(super) text: &'a [u8],
    /// The number of the line's first piece, if this is a later one.
    pub(super) rest_of: Option<usize>,
}

pub(super) fn pieces(text: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    let mut number = 0;
    let mut rest_of = None;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let window = &rest[..rest.len().min(LONGEST_PIECE)];
        let feed = window.iter().position(|byte| *byte == b'\n');
        let (piece, behind) = rest.split_at(feed.map_or(window.len(), |at| at + 1));
        rest = behind;
        number += 1;
        let piece = Piece { number, text: trim(piece), rest_of };
        rest_of = if feed.is_some() { None } else { rest_of.or(Some(number)) };
        Some(piece)
    })
}

/// Without the C locale's white space at both ends.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let Some(first) = text.iter().position(|byte| !is_blank(*byte)) else { return &[] };
    let last = text.iter().rposition(|byte| !is_blank(*byte)).unwrap_or(first);
    &text[first..=last]
}

/// C's `atoi`: leading blanks, a sign, digits, and whatever follows is ignored; no number is 0.
///
/// C leaves numbers beyond 32 bits undefined; here they become the least or the greatest of 32 bits, so that a
/// timeout meant to be huge does not wrap round to a short one.
pub(super) fn atoi(text: &[u8]) -> i64 {
    let text = trim(text);
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let mut number: i64 = 0;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        number = number.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    }
    let number = if is_negative { -number } else { number };
    number.clamp(i64::from(i32::MIN), i64::from(i32::MAX))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    // 3.1: pieces, each counted, trimmed of all C white space.
    #[test]
    fn cut_and_counted() {
        let check = |text: &[u8], expected: &[(usize, usize, Option<usize>)]| {
            let found: Vec<_> = pieces(text).map(|p| (p.number, p.text.len(), p.rest_of)).collect();
            assert_eq!(found, expected);
        };
        check(b"", &[]);
        check(b"\n", &[(1, 0, None)]);
        check(b" \t\x0b\x0ca b\r\n\nlast", &[(1, 3, None), (2, 0, None), (3, 4, None)]);
        let exact = [vec![b'x'; 4094], b"\ny".to_vec()].concat();
        check(&exact, &[(1, 4094, None), (2, 1, None)]);
        let over = [vec![b'x'; 4095], b"\ny".to_vec()].concat();
        check(&over, &[(1, 4095, None), (2, 0, Some(1)), (3, 1, None)]);
        check(&[b'x'; 9000], &[(1, 4095, None), (2, 4095, Some(1)), (3, 810, Some(1))]);
    }

    // 3.3, Seq_Timeout.
    #[test]
    fn numbers_of_c() {
        let cases: [(&str, i64); 14] = [
            ("5", 5),
            ("5s", 5),
            (" \x0b 7", 7),
            ("+8", 8),
            ("-1", -1),
            ("- 1", 0),
            ("--1", 0),
            ("", 0),
            ("soon", 0),
            ("0x10", 0),
            ("1.9", 1),
            ("3000000000", 2_147_483_647),
            ("-3000000000", -2_147_483_648),
            ("99999999999999999999999", 2_147_483_647),
        ];
        for (text, expected) in cases {
            assert_eq!(atoi(text.as_bytes()), expected, "{text}");
        }
    }
}
