//! ModuleSignature: whether bytes are signed by a key that is trusted, as `minisign` signs. It opens no file.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::{self, FromStr};

use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most bytes of a signature's file; minisign writes some 300.
pub const MOST_SIGNATURE: u64 = 4 << 10;

/// The file with the signature of the one at `signed`: it has `.minisig` behind its name.
#[must_use]
pub fn signature_file(signed: &Path) -> PathBuf {
    let mut name = OsString::from(signed);
    name.push(".minisig");
    name.into()
}

/// A public key of minisign's whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustedKey {
    /// As it is written: 42 bytes in base64, of which there is one way to write them.
    text: String,
    key: PublicKey,
    /// By which people know it, and signatures say whose they are. Two keys may have the same.
    pub id: KeyId,
}

/// The number of a key, as minisign shows it. It identifies a key and proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(u64);

/// What is no public key. It does not say what it is instead, which may be a secret key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "is no public key of minisign; write what `minisign -G` prints behind -P: 56 characters, of which the first are RW"
)]
pub struct NoKey;

/// A signature that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoodSignature<'a> {
    /// Whose it is.
    pub key: &'a TrustedKey,
    /// What the signer said and signed beside the bytes: it may be any characters.
    pub comment: String,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadSignature {
    /// It is none.
    #[error("is no signature of minisign")]
    Malformed,
    /// It says that it was made with a key that is not among the trusted ones.
    #[error("was made with the key {by}, which is not trusted")]
    Stranger {
        /// The key that it names.
        by: KeyId,
    },
    /// It is not that of these bytes by that key.
    #[error("is not that of this file by the key {by}: one of them was changed")]
    Wrong {
        /// The key that it names.
        by: KeyId,
    },
}

/// Whether `signature`, the content of a signature's file, is that of `bytes` by one of these keys.
///
/// Both kinds count that minisign makes: of a hash of the bytes, as it does now, and of the bytes themselves, as it did before version 0.10.
///
/// # Errors
/// If it is not.
pub fn verify<'a>(
    bytes: &[u8],
    signature: &[u8],
    keys: &'a [TrustedKey],
) -> Result<GoodSignature<'a>, BadSignature> {
    let text = str::from_utf8(signature).map_err(|_| BadSignature::Malformed)?;
    let signature = Signature::decode(text).map_err(|_| BadSignature::Malformed)?;
    let by = text.lines().nth(1).and_then(KeyId::of).ok_or(BadSignature::Malformed)?;
    let mut named = keys.iter().filter(|key| key.id == by).peekable();
    if named.peek().is_none() {
        return Err(BadSignature::Stranger { by });
    }
    let key = named.find(|key| key.key.verify(bytes, &signature, true).is_ok());
    let key = key.ok_or(BadSignature::Wrong { by })?;
    Ok(GoodSignature { key, comment: signature.trusted_comment().to_owned() })
}

impl KeyId {
    /// That of a key or a signature in base64: after two bytes that say how is signed, it is the next eight, the lowest first.
    fn of(base64: &str) -> Option<Self> {
        // 14 characters are 84 bits, of which the last four are those of the next byte.
        let first = base64.as_bytes().get(..14)?;
        let bits = first.iter().try_fold(0u128, |bits, character| Some(bits << 6 | sextet(*character)?))?;
        let [.., a, b, c, d, e, f, g, h] = (bits >> 4).to_be_bytes();
        Some(Self(u64::from_le_bytes([a, b, c, d, e, f, g, h])))
    }
}

/// The six bits that a character of base64 stands for.
fn sextet(character: u8) -> Option<u128> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}", self.0)
    }
}

impl TrustedKey {
    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for TrustedKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let key = PublicKey::from_base64(text).map_err(|_| NoKey)?;
        let id = KeyId::of(text).ok_or(NoKey)?;
        Ok(Self { text: text.to_owned(), key, id })
    }
}

impl TryFrom<String> for TrustedKey {
    type Error = NoKey;

    fn try_from(text: String) -> Result<Self, NoKey> {
        text.parse()
    }
}

impl From<TrustedKey> for String {
    fn from(key: TrustedKey) -> Self {
        key.text
    }
}

#[cfg(test)]
mod tests;
