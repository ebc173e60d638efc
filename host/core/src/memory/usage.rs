//! Usage: which rule uses most memory.
//!
//! Rules are in lists by the bytes that they use, eight levels for each doubling, so the rule that uses most is found in constant
//! time however many rules there are.

use super::slots::NONE;

const LEVELS: usize = u64::BITS as usize * 8;
const WORDS: usize = LEVELS / u64::BITS as usize;

/// The rules by their usage. A rule that uses less than before stays at its level until [`Usage::most`] visits it, so only growth beyond the end
/// of a level costs anything.
#[derive(Debug)]
pub(super) struct Usage {
    /// By number of the rule.
    places: Vec<RuleNode>,
    /// The first rule of each level.
    levels: Box<[u32; LEVELS]>,
    /// A bit for each level that has a rule.
    occupied: [u64; WORDS],
}

#[derive(Clone, Copy, Debug)]
struct RuleNode {
    /// None if it is in no list.
    level: Option<usize>,
    /// The least that would be in a higher level.
    next: usize,
    before: u32,
    after: u32,
}

impl Usage {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), levels: Box::new([NONE; LEVELS]), occupied: [0; WORDS] }
    }

    /// Adds the rule with the next number, which uses nothing yet.
    pub(super) fn add(&mut self) {
        self.places.push(RuleNode { level: None, next: 1, before: NONE, after: NONE });
    }

    /// Notes that a rule uses so much now, which is more than before.
    pub(super) fn grown(&mut self, rule: u32, bytes: usize) {
        if bytes >= self.places[rule as usize].next {
            self.set(rule, bytes);
        }
    }

    /// The rule that uses most, to an eighth; `used` gives the current usage of a rule.
    pub(super) fn most(&mut self, used: impl Fn(u32) -> usize) -> Option<u32> {
        loop {
            let (word, bits) = self.occupied.iter().enumerate().rfind(|(_, bits)| **bits != 0)?;
            let top = word * 64 + bits.ilog2() as usize;
            let rule = self.levels[top];
            let bytes = used(rule);
            if level(bytes) == Some(top) {
                return Some(rule);
            }
            self.set(rule, bytes);
        }
    }

    /// Moves a rule to the level where it belongs.
    fn set(&mut self, rule: u32, bytes: usize) {
        let RuleNode { level: old, before, after, .. } = self.places[rule as usize];
        if let Some(old) = old {
            match before {
                NONE => self.levels[old] = after,
                before => self.places[before as usize].after = after,
            }
            if after != NONE {
                self.places[after as usize].before = before;
            }
            if self.levels[old] == NONE {
                self.occupied[old / 64] &= !(1 << (old % 64));
            }
        }
        let level = level(bytes);
        let mut place = RuleNode { level, next: next(bytes), before: NONE, after: NONE };
        if let Some(level) = level {
            place.after = std::mem::replace(&mut self.levels[level], rule);
            if place.after != NONE {
                self.places[place.after as usize].before = rule;
            }
            self.occupied[level / 64] |= 1 << (level % 64);
        }
        self.places[rule as usize] = place;
    }
}

/// Eight for each doubling.
fn level(bytes: usize) -> Option<usize> {
    let power = bytes.checked_ilog2()? as usize;
    let eighths = if power < 3 { bytes << (3 - power) } else { bytes >> (power - 3) } & 7;
    Some(power * 8 + eighths)
}

/// The least that is in a higher level than so much.
fn next(bytes: usize) -> usize {
    let eighth = bytes.checked_ilog2().map_or(1, |power| 1 << power.saturating_sub(3));
    (bytes / eighth).saturating_add(1).saturating_mul(eighth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_that_uses_most_is_found_to_an_eighth() {
        let mut usage = Usage::new();
        let mut used = [0_usize; 50];
        (0..50).for_each(|_| usage.add());
        let mut seed = 3_u64;
        assert_eq!(usage.most(|_| 0), None);
        for step in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let rule = (seed >> 40) as usize % used.len();
            used[rule] = if seed & 0x700 == 0 { 0 } else { (seed >> 33) as usize >> (seed >> 59) };
            usage.grown(u32::try_from(rule).unwrap(), used[rule]);
            let most = *used.iter().max().unwrap();
            match usage.most(|rule| used[rule as usize]) {
                None => assert_eq!(most, 0, "step {step}"),
                Some(found) => {
                    let found = used[found as usize];
                    assert!(found > 0 && found >= most / 9 * 8, "step {step}: {found} of {most}");
                }
            }
        }
        assert_eq!(usage.most(|_| 0), None);
    }

    #[test]
    fn levels_grow_with_bytes() {
        assert_eq!(level(0), None);
        let mut last = 0;
        for bytes in (1..5000).chain([usize::MAX]) {
            let level = level(bytes).unwrap();
            assert!(level >= last && level < LEVELS, "{bytes}");
            last = level;
            let next = next(bytes);
            assert!(bytes == usize::MAX || super::level(next) > Some(level), "{bytes} {next}");
            assert_eq!(super::level(next - 1).map_or(0, |it| it), level, "{bytes} {next}");
        }
    }
}
