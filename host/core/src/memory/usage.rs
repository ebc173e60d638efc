//! Usage: which rule uses most memory, or which tenant most of its promise.
//!
//! Each of them, a user here, is in a list by how much it uses, eight levels for each doubling, so the one that uses most is found in
//! constant time however many there are.

use super::slots::NONE;

const LEVELS: usize = u64::BITS as usize * 8;
const WORDS: usize = LEVELS / u64::BITS as usize;

/// Users by how much they use. One that uses less than before stays at its level until [`Usage::most`] visits it, so only growth beyond the
/// end of a level costs anything.
#[derive(Debug)]
pub(super) struct Usage {
    /// By number of the user.
    places: Vec<UserNode>,
    /// The first user of each level.
    levels: Box<[u32; LEVELS]>,
    /// A bit for each level that has a user.
    occupied: [u64; WORDS],
}

#[derive(Clone, Copy, Debug)]
struct UserNode {
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

    /// Adds the user with the next number, which uses nothing yet.
    pub(super) fn add(&mut self) {
        self.places.push(UserNode { level: None, next: 1, before: NONE, after: NONE });
    }

    /// Notes that a user uses so much now, which is more than before.
    pub(super) fn grown(&mut self, user: u32, amount: usize) {
        if amount >= self.places[user as usize].next {
            self.set(user, amount);
        }
    }

    /// The one that uses most, to an eighth; `used` gives what a user uses now.
    pub(super) fn most(&mut self, used: impl Fn(u32) -> usize) -> Option<u32> {
        loop {
            let (word, bits) = self.occupied.iter().enumerate().rfind(|(_, bits)| **bits != 0)?;
            let top = word * 64 + bits.ilog2() as usize;
            let user = self.levels[top];
            let amount = used(user);
            if level(amount) == Some(top) {
                return Some(user);
            }
            self.set(user, amount);
        }
    }

    /// Moves a user to the level where it belongs, since it uses so much now.
    pub(super) fn set(&mut self, user: u32, amount: usize) {
        let UserNode { level: old, before, after, .. } = self.places[user as usize];
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
        let level = level(amount);
        let mut place = UserNode { level, next: next(amount), before: NONE, after: NONE };
        if let Some(level) = level {
            place.after = std::mem::replace(&mut self.levels[level], user);
            if place.after != NONE {
                self.places[place.after as usize].before = user;
            }
            self.occupied[level / 64] |= 1 << (level % 64);
        }
        self.places[user as usize] = place;
    }
}

/// Eight for each doubling.
fn level(amount: usize) -> Option<usize> {
    let power = amount.checked_ilog2()? as usize;
    let eighths = if power < 3 { amount << (3 - power) } else { amount >> (power - 3) } & 7;
    Some(power * 8 + eighths)
}

/// The least that is in a higher level than so much.
fn next(amount: usize) -> usize {
    let eighth = amount.checked_ilog2().map_or(1, |power| 1 << power.saturating_sub(3));
    (amount / eighth).saturating_add(1).saturating_mul(eighth)
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
