//! ModuleDigest: which code a module is.

use std::fmt::Write as _;

/// The SHA-256 digest of a module's bytes.
pub type ModuleDigest = [u8; 32];

/// A digest in 64 hexadecimal digits, as `sha256sum` writes it.
#[must_use]
pub fn show_digest(digest: &ModuleDigest) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_is_two_digits() {
        let mut digest = [0; 32];
        (digest[0], digest[1], digest[31]) = (0xab, 0x01, 0xff);
        assert_eq!(show_digest(&digest), format!("ab01{}ff", "0".repeat(58)));
    }
}
