//! Clean: the one function that makes a text from outside fit to be shown. What it changes stays visible.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

/// Most characters of a line.
pub const LONGEST_LINE: usize = 4096;
/// Most characters of a name, or of a text from outside, within a line, so that what follows it is still read.
pub const LONGEST_PIECE: usize = 1000;

/// Replaces what is too long.
const CUT: &str = "...";

/// A text with at most `most` characters, all of which can be seen and stay where they are.
///
/// A line feed becomes `\n`, a tab `\t`, a carriage return `\r`, and every other character that [`is_fit`] refuses its number, such
/// as `\u{202e}`. What is too long ends with `...`. A backslash is not escaped, so cleaning twice changes nothing more, and a `\n`
/// of two characters looks like a line feed.
#[must_use]
pub fn clean(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most && text.chars().all(is_fit) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len().min(most));
    let (mut count, mut cut_at) = (0, 0);
    for c in text.chars() {
        let before = cleaned.len();
        match c {
            '\n' => cleaned.push_str("\\n"),
            '\t' => cleaned.push_str("\\t"),
            '\r' => cleaned.push_str("\\r"),
            c if is_fit(c) => cleaned.push(c),
            c => cleaned.extend(c.escape_unicode()),
        }
        count += cleaned[before..].chars().count();
        if count > most {
            cleaned.truncate(cut_at);
            cleaned.push_str(CUT);
            break;
        }
        if count + CUT.len() <= most {
            cut_at = cleaned.len();
        }
    }
    Cow::Owned(cleaned)
}

/// Whether a character may be shown as it is.
///
/// Not those that move the cursor or begin a sequence that a terminal obeys (C0, DEL, C1), end a line (U+2028, U+2029), or change the
/// direction of reading; nor those that show as nothing, so that two names would look the same: Unicode's
/// `Default_Ignorable_Code_Point` (zero-width characters, the byte order mark, fillers, variation selectors, tags), and the
/// interlinear annotations. Nor what is no character at all and never will be one, and what XML cannot hold.
#[must_use]
pub const fn is_fit(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\0'..='\u{9f}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fdd0}'..='\u{fdef}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        // The last two of each plane.
        c => c as u32 & 0xfffe != 0xfffe,
    }
}

/// Shows something as [`clean`] does.
#[derive(Clone, Copy, Debug)]
pub struct Cleaned<T> {
    text: T,
    most: usize,
}

impl<T: Display> Cleaned<T> {
    /// At most `most` characters of it.
    pub const fn new(text: T, most: usize) -> Self {
        Self { text, most }
    }
}

/// A whole line.
pub const fn line<T: Display>(text: T) -> Cleaned<T> {
    Cleaned::new(text, LONGEST_LINE)
}

/// A name, or another text from outside, within a line.
pub const fn piece<T: Display>(text: T) -> Cleaned<T> {
    Cleaned::new(text, LONGEST_PIECE)
}

impl<T: Display> Display for Cleaned<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&clean(&self.text.to_string(), self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_stays() {
        for text in ["", "sshd on port 22", "a\\nb", "Tür «größer» 文件 👍", "`x` ~ \u{a0}\u{300}"] {
            assert_eq!(clean(text, 100), text);
            assert!(matches!(clean(text, 100), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn everything_else_shows_as_its_name_or_number() {
        for (text, shown) in [
            ("a\nb", "a\\nb"),
            ("\r\n\t", "\\r\\n\\t"),
            ("\0\u{7}\u{7f}", "\\u{0}\\u{7}\\u{7f}"),
            ("\u{1b}[31mRED\u{1b}]0;title\u{7}", "\\u{1b}[31mRED\\u{1b}]0;title\\u{7}"),
            ("\u{85}\u{9b}2J", "\\u{85}\\u{9b}2J"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("exe\u{202e}lmot.\u{2066}x", "exe\\u{202e}lmot.\\u{2066}x"),
            ("\u{200e}\u{200f}\u{61c}", "\\u{200e}\\u{200f}\\u{61c}"),
            ("s\u{200b}s\u{ad}h\u{feff}", "s\\u{200b}s\\u{ad}h\\u{feff}"),
            ("a\u{e0041}\u{fe0f}\u{e0100}", "a\\u{e0041}\\u{fe0f}\\u{e0100}"),
            ("\u{fffe}\u{ffff}\u{1fffe}\u{fdd0}", "\\u{fffe}\\u{ffff}\\u{1fffe}\\u{fdd0}"),
        ] {
            assert_eq!(clean(text, 100), shown);
            assert_eq!(clean(shown, 100), shown, "to clean twice is to clean once");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_that_is_shown() {
        assert_eq!(clean("abcdef", 6), "abcdef");
        assert_eq!(clean("abcdefg", 6), "abc...");
        assert_eq!(clean("äöüäöü", 6), "äöüäöü");
        assert_eq!(clean("äöüäöüä", 6), "äöü...");
        // An escape is there as a whole or not at all.
        assert_eq!(clean("ab\u{1b}defgh", 8), "ab...");
        assert_eq!(clean("ab\u{1b}", 8), "ab\\u{1b}");
        assert_eq!(clean(&"\n".repeat(10_000), LONGEST_PIECE).len(), LONGEST_PIECE - 1);
        assert_eq!(line("x".repeat(1 << 20)).to_string().len(), LONGEST_LINE);
    }

    #[test]
    fn every_character_there_is() {
        for c in '\0'..=char::MAX {
            let shown = clean(c.encode_utf8(&mut [0; 4]), 100).into_owned();
            assert!(shown.chars().all(is_fit), "{c:?}");
            assert!(!shown.chars().any(|c| c.is_control()), "{c:?}");
            assert_eq!(clean(&shown, 100), shown);
            assert_eq!(is_fit(c), shown.chars().eq([c]), "{c:?}");
        }
    }
}
