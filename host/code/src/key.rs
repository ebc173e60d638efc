//! CodeKey: of which module some code was made, and by which compiler; the name of its file.

use std::fmt::{self, Write as _};

/// Bytes of the module's digest, and of the compiler's identity.
const DIGEST: usize = 32;
const IDENTITY: usize = 16;
/// Ends the names of files that hold code.
const SUFFIX: &str = ".code";

/// Of which module some code was made, and by which compiler. Code of another compiler, of another version of it, or for another processor
/// has another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeKey {
    module: [u8; DIGEST],
    compiler: [u8; IDENTITY],
}

impl CodeKey {
    /// The key of what a compiler makes of a module: the SHA-256 digest of the module's bytes, and what tells the compiler and its settings
    /// from every other.
    #[must_use]
    pub const fn new(module: [u8; DIGEST], compiler: [u8; IDENTITY]) -> Self {
        Self { module, compiler }
    }

    /// The name of the file in the cache: 64 hexadecimal digits as `sha256sum` writes them, and the compiler.
    #[must_use]
    pub fn file_name(&self) -> String {
        self.to_string()
    }

    /// The key of the code in a file of this name; none if it could not hold code.
    pub(crate) fn of_name(name: &[u8]) -> Option<Self> {
        let stem = name.strip_suffix(SUFFIX.as_bytes())?;
        let (module, rest) = stem.split_at_checked(2 * DIGEST)?;
        let key = Self::new(bytes_of(module)?, bytes_of(rest.strip_prefix(b"-")?)?);
        // There is one way to write it.
        (key.file_name().as_bytes() == name).then_some(key)
    }

    /// Part of the checksum, so that a file under another's name is found.
    pub(crate) fn bytes(&self) -> [u8; DIGEST + IDENTITY] {
        let mut bytes = [0; DIGEST + IDENTITY];
        bytes[..DIGEST].copy_from_slice(&self.module);
        bytes[DIGEST..].copy_from_slice(&self.compiler);
        bytes
    }
}

impl fmt::Display for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.module.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_char('-')?;
        self.compiler.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(SUFFIX)
    }
}

/// As many bytes as there are pairs of hexadecimal digits.
fn bytes_of<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2 * N)?;
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * n..2 * n + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_modules_and_compilers_apart() {
        let name = CodeKey::new([0xab; 32], [1; 16]).file_name();
        assert_eq!(name, format!("{}-{}.code", "ab".repeat(32), "01".repeat(16)));
        assert_eq!(CodeKey::of_name(name.as_bytes()), Some(CodeKey::new([0xab; 32], [1; 16])));
        for other in [
            "",
            ".code",
            "passwd",
            &name[1..],
            &format!("x{}", &name[1..]),
            &name.replace(".code", ""),
            &name.replace("ab", "AB"),
            &name.replace("-01", "-+1"),
        ] {
            assert_eq!(CodeKey::of_name(other.as_bytes()), None, "{other}");
        }
        assert_ne!(name, CodeKey::new([0xab; 32], [2; 16]).file_name());
        assert_ne!(name, CodeKey::new([0xac; 32], [1; 16]).file_name());
    }
}
