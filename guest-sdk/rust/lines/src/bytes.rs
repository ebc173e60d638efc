//! Bytes as lines write them: text without blanks, or hexadecimal digits behind `0x`.

use std::fmt::Write as _;

pub(crate) fn parse(value: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = value.strip_prefix("0x") else { return Ok(value.as_bytes().to_vec()) };
    let wrong = || format!("`{value}` does not have two hexadecimal digits for each byte");
    if digits.len() % 2 != 0 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let bytes = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    bytes.map(|pair| pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
