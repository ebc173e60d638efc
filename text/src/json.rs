//! Json: makes JSON fit for a terminal without making another text of it.

/// The same JSON in ASCII: what a terminal must not get is shown as JSON has it, and not made clean in a way that JSON does not know. None of it is
/// left out.
#[must_use]
pub fn ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii_graphic() || letter == ' ' {
            ascii.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_must_not_get_is_escaped() {
        assert_eq!(ascii("{\"a\": \"b c\\n\"}"), "{\"a\": \"b c\\n\"}");
        assert_eq!(
            ascii("\"caf\u{e9} \u{202e}\u{1f511}\u{7f}\""),
            "\"caf\\u00e9 \\u202e\\ud83d\\udd11\\u007f\""
        );
        assert_eq!(ascii(&"x".repeat(1 << 20)).len(), 1 << 20, "whatever its length");
    }
}
