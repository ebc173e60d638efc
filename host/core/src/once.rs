//! UsedOnce: which one-time tokens and counters were used, in memory alone. Tests answer claims from it; the daemon keeps what was used in its
//! ledger on the disk, with the same bound for each rule.

use std::collections::{HashMap, HashSet};

use crate::claim::ClaimError;
use crate::tenant::RuleId;
use crate::verdict::Once;

/// The most tokens and counter keys that are kept of one rule. When they are used up the rule opens nothing more that
/// needs one: forgetting a token would make a recorded knock good again.
pub const MAX_PER_RULE: usize = 65_536;
/// The most that are kept of all rules. They are then about 180 MiB on the disk.
pub const MAX_TOKENS: usize = 1 << 20;

/// The tokens and counters that each rule has used.
#[derive(Debug, Default)]
pub struct UsedOnce {
    rules: HashMap<RuleId, Used>,
}

#[derive(Debug, Default)]
struct Used {
    tokens: HashSet<Box<[u8]>>,
    counters: HashMap<Box<[u8]>, u64>,
}

impl UsedOnce {
    /// Uses `once` up.
    ///
    /// # Errors
    /// [`ClaimError::AlreadyUsed`] if it was used before, a counter also if a higher number was; [`ClaimError::Full`] if no more can be kept.
    pub fn claim(&mut self, rule: &RuleId, once: &Once) -> Result<(), ClaimError> {
        if !self.rules.contains_key(rule) {
            self.rules.insert(rule.clone(), Used::default());
        }
        let Some(Used { tokens, counters }) = self.rules.get_mut(rule) else { return Err(ClaimError::Full) };
        let is_full = tokens.len() + counters.len() >= MAX_PER_RULE;
        match once {
            Once::Token { bytes, until: _ } if tokens.contains(bytes) => Err(ClaimError::AlreadyUsed),
            Once::Token { .. } if is_full => Err(ClaimError::Full),
            Once::Token { bytes, until: _ } => {
                tokens.insert(bytes.clone());
                Ok(())
            }
            Once::Counter { key, value } => match counters.get_mut(key) {
                Some(last) if *value > *last => {
                    *last = *value;
                    Ok(())
                }
                Some(_) => Err(ClaimError::AlreadyUsed),
                None if is_full => Err(ClaimError::Full),
                None => {
                    counters.insert(key.clone(), *value);
                    Ok(())
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::TenantId;

    fn rule(name: &str) -> RuleId {
        RuleId { tenant: TenantId::host(), name: name.into() }
    }

    fn token(n: u32) -> Once {
        Once::Token { bytes: n.to_be_bytes().into(), until: None }
    }

    #[test]
    fn a_token_is_good_once_and_for_its_rule_only() {
        let mut used = UsedOnce::default();
        assert_eq!(used.claim(&rule("a"), &token(1)), Ok(()));
        assert_eq!(used.claim(&rule("a"), &token(1)), Err(ClaimError::AlreadyUsed));
        assert_eq!(used.claim(&rule("b"), &token(1)), Ok(()));
    }

    #[test]
    fn a_counter_must_grow() {
        let mut used = UsedOnce::default();
        let mut claim = |key: &[u8], value| used.claim(&rule("a"), &Once::Counter { key: key.into(), value });
        assert_eq!(claim(b"alice", 5), Ok(()));
        assert_eq!(claim(b"alice", 5), Err(ClaimError::AlreadyUsed));
        assert_eq!(claim(b"alice", 4), Err(ClaimError::AlreadyUsed));
        assert_eq!(claim(b"alice", 6), Ok(()));
        assert_eq!(claim(b"bob", 0), Ok(()));
        assert_eq!(claim(b"bob", 0), Err(ClaimError::AlreadyUsed));
    }

    #[test]
    fn a_full_table_refuses_rather_than_forgets() {
        let mut used = UsedOnce::default();
        for n in 0..u32::try_from(MAX_PER_RULE).unwrap() {
            assert_eq!(used.claim(&rule("a"), &token(n)), Ok(()));
        }
        assert_eq!(used.claim(&rule("a"), &token(u32::MAX)), Err(ClaimError::Full));
        assert_eq!(used.claim(&rule("a"), &token(0)), Err(ClaimError::AlreadyUsed));
        assert_eq!(used.claim(&rule("b"), &token(0)), Ok(()));
    }
}
