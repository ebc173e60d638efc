//! Signer: a pair of keys with which a test signs, as `minisign -S` does.

use blake2::{Blake2b512, Digest as _};
use ed25519_compact::{KeyPair, Seed};

/// A pair of keys.
pub struct Signer {
    pair: KeyPair,
    number: [u8; 8],
}

impl Signer {
    /// The one that follows from this number; minisign would take a random one.
    #[must_use]
    pub fn new(number: u8) -> Self {
        Self { pair: KeyPair::from_seed(Seed::new([number; 32])), number: [number; 8] }
    }

    /// The public key, as `minisign -G` prints it.
    #[must_use]
    pub fn public_key(&self) -> String {
        base64(&[b"Ed", &self.number[..], &self.pair.pk[..]].concat())
    }

    /// The number of the key, as `minisign` shows it.
    #[must_use]
    pub fn key_id(&self) -> String {
        format!("{:X}", u64::from_le_bytes(self.number))
    }

    /// The content of the `.minisig` of these bytes: of their hash, as minisign signs since version 0.10.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> String {
        self.file(*b"ED", &Blake2b512::digest(bytes))
    }

    /// The same as minisign made it before: of the bytes themselves.
    #[must_use]
    pub fn sign_as_before(&self, bytes: &[u8]) -> String {
        self.file(*b"Ed", bytes)
    }

    fn file(&self, algorithm: [u8; 2], signed: &[u8]) -> String {
        let comment = "made in a test";
        let signature = self.pair.sk.sign(signed, None);
        let of_all = self.pair.sk.sign([&signature[..], comment.as_bytes()].concat(), None);
        let first = base64(&[&algorithm[..], &self.number, &signature[..]].concat());
        format!(
            "untrusted comment: no one signs this\n{first}\ntrusted comment: {comment}\n{}\n",
            base64(&of_all[..])
        )
    }
}

fn base64(bytes: &[u8]) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().chain(&[0, 0]).take(3).fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        for n in 0..4 {
            let character = char::from(CHARACTERS[bits >> (18 - 6 * n) & 63]);
            text.push(if n <= chunk.len() { character } else { '=' });
        }
    }
    text
}
