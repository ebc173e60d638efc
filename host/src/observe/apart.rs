//! Apart: text in a line for people, so that nothing in it looks like a field of the line, to people or to a program.
//!
//! A line has words and then fields, as `name=value` or `name="value"`. In text, whosever it is, no `=` stands directly behind another
//! character but a space, so that a search for `src=192.0.2.1` finds fields alone. And no quote in the words takes a field in, nor a backslash
//! at their end, whether or not a backslash means something outside of quotes to whoever reads it.

use postern_text::clean::LONGEST_LINE;
use postern_text::line;

/// What stands for them, as what cannot be shown stands by its number.
const EQUALS: &str = "\\u{3d}";
const QUOTE: &str = "\\u{22}";
const BACKSLASH: &str = "\\u{5c}";

/// The words of a line, clean and bounded.
pub(super) fn words(text: &str) -> String {
    let words = shown(text, "\"", "\\");
    let is_paired = words.matches('"').count().is_multiple_of(2) && !words.contains("\\\"");
    let mut words = if is_paired { words } else { shown(text, QUOTE, "\\") };
    if words.ends_with('\\') {
        words.pop();
        words.push_str(BACKSLASH);
    }
    words
}

/// The value of a field in quotes, clean and bounded.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text, "\\\"", r"\\"))
}

/// The value of a field as it is if nothing in it could pass for more than it is, or else in quotes.
pub(super) fn plain(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
    if text.bytes().all(is_plain) { line(text).to_string() } else { quoted(text) }
}

/// A text without fields, with these for each quote and backslash. What stands for a character is there as a whole or not at all.
fn shown(text: &str, quote: &str, backslash: &str) -> String {
    let text = line(text).to_string();
    let mut shown = String::with_capacity(text.len());
    // The words stand behind a space, and a value in quotes behind one.
    let mut before = if backslash.len() > 1 { '"' } else { ' ' };
    let (mut length, mut own, mut is_escaped) = (0, [0; 4], false);
    for c in text.chars() {
        let piece = match c {
            '=' if before != ' ' || is_escaped => EQUALS,
            '"' => quote,
            '\\' => backslash,
            c => c.encode_utf8(&mut own),
        };
        length += piece.chars().count();
        if length > LONGEST_LINE {
            shown.push_str("...");
            break;
        }
        shown.push_str(piece);
        is_escaped = before == '\\' && c == ' ';
        before = c;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_no_field_stays_as_it_is() {
        for text in
            ["", "ssh is open", r#"use share = "100%", or "none""#, "a = b", "Tür \u{a0} «x»", r"a\nb"]
        {
            assert_eq!(words(text), text);
        }
        assert_eq!((quoted("a b"), plain("a"), plain("")), ("\"a b\"".into(), "a".into(), String::new()));
    }

    #[test]
    fn what_looks_like_one_is_shown_otherwise() {
        for (text, shown) in [
            ("x src=1", r"x src\u{3d}1"),
            ("x event=\"open\" y", r#"x event\u{3d}"open" y"#),
            ("a\u{a0}=b==c", "a\u{a0}\\u{3d}b\\u{3d}\\u{3d}c"),
            ("x\".toml", r"x\u{22}.toml"),
            (r#"x\".toml "is" "#, r"x\\u{22}.toml \u{22}is\u{22} "),
            (r"x\ =1", r"x\ \u{3d}1"),
            ("x.toml\\", r"x.toml\u{5c}"),
            ("a\n=", r"a\n\u{3d}"),
        ] {
            assert_eq!(words(text), shown);
        }
        assert_eq!(quoted(r#"x\" src=1"#), r#""x\\\" src\u{3d}1""#);
        let cut = quoted(&"=".repeat(5000));
        assert!(cut.len() <= LONGEST_LINE + 5 && cut.ends_with("\\u{3d}...\""), "{cut}");
        for (text, shown) in [("a b", r#""a b""#), ("a\u{a0}b", "\"a\u{a0}b\""), ("a=b", r#""a\u{3d}b""#)] {
            assert_eq!(plain(text), shown);
        }
    }
}
