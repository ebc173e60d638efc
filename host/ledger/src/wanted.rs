//! What is recorded of a claim: fingerprints of tokens and keys, never these themselves.

use postern_core::{Claim, ClaimKind, Once, RuleId};
use sha2::{Digest, Sha256};

/// SHA-256 of a token or a key, so that a stolen ledger reveals no token that could be used elsewhere.
pub(crate) type Fingerprint = [u8; 32];

/// What is to be used up.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The claim's number.
    pub(crate) serial: u64,
    pub(crate) rule: RuleId,
    pub(crate) once: WantedOnce,
    /// How much may be kept of all rules of its tenant; none: as much as of all.
    pub(crate) most: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum WantedOnce {
    /// The last moment at which the rule could accept it is in microseconds since 1970; none: it could be accepted for ever.
    Token {
        token: Fingerprint,
        until: Option<u64>,
    },
    Counter {
        key: Fingerprint,
        value: u64,
    },
}

impl Wanted {
    /// What a claim asks for; none if it is for a one-time sequence, which is crossed out in a file of its own.
    pub(crate) fn of(Claim { serial, rule, what, most }: Claim) -> Option<Self> {
        let ClaimKind::Once(once) = what else { return None };
        let most = most.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
        let once = match once {
            Once::Token { bytes, until } => {
                WantedOnce::Token { token: fingerprint(&bytes), until: until.map(|until| until.0) }
            }
            Once::Counter { key, value } => WantedOnce::Counter { key: fingerprint(&key), value },
        };
        Some(Self { serial, rule, once, most })
    }
}

fn fingerprint(bytes: &[u8]) -> Fingerprint {
    Sha256::digest(bytes).into()
}
