//! Eviction: which code goes when there is too much, counted by who wants it.
//!
//! Code that several owners want counts for each of them as a whole, so that no owner's count depends on what others want, and it goes when
//! the last of them has lost it. Each owner has an equal part of what may be kept; who has more than that, and most of all, loses first, and
//! of that what was used longest ago. Who has no more than its part loses nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::usage::{CacheLimits, Usage};

/// Code that is kept though nobody needs it now.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) bytes: u64,
    /// When it was used last, by the system's clock.
    pub(crate) used: (i64, i64),
    /// Who wants it; that nobody is known to is one more owner.
    pub(crate) owners: Vec<Arc<str>>,
    /// Whether it is to stay, though it counts: it came just now.
    pub(crate) stays: bool,
}

/// What owners lose.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// By the place of the code.
    pub(crate) taken: Vec<(usize, Arc<str>)>,
    /// Places of the code that nobody wants any more.
    pub(crate) gone: Vec<usize>,
}

#[derive(Default)]
struct Part {
    has: Usage,
    /// What it may lose, by place; what was used longest ago is the first.
    losable: VecDeque<usize>,
}

/// What owners lose, until there is no more than `limits`, or as far as owners have more than their parts.
pub(crate) fn losses(kept: &[Kept], limits: CacheLimits) -> Losses {
    let mut total = Usage::default();
    let mut parts: BTreeMap<Arc<str>, Part> = BTreeMap::new();
    let nobody: [Arc<str>; 1] = ["".into()];
    let owners_of = |code: &Kept| if code.owners.is_empty() { nobody.to_vec() } else { code.owners.clone() };
    let mut places: Vec<_> = (0..kept.len()).collect();
    places.sort_by_key(|place| kept[*place].used);
    for place in places {
        let code = &kept[place];
        total.add(code.bytes);
        for owner in owners_of(code) {
            let part = parts.entry(owner).or_default();
            part.has.add(code.bytes);
            if !code.stays {
                part.losable.push_back(place);
            }
        }
    }
    let mut wanted_by: Vec<_> = kept.iter().map(|code| owners_of(code).len()).collect();
    let share = limits.part_of(parts.len());
    let mut losses = Losses::default();
    loop {
        // Of bytes if there are too many of them, or else of files.
        let amount: fn(Usage) -> u64 = if total.bytes > limits.bytes {
            |usage| usage.bytes
        } else if total.files > limits.files {
            |usage| usage.files as u64
        } else {
            return losses;
        };
        let own = amount(Usage { bytes: share.bytes, files: share.files });
        let beyond = parts.iter_mut().filter(|(_, part)| !part.losable.is_empty() && amount(part.has) > own);
        let Some((owner, part)) = beyond.max_by_key(|(_, part)| amount(part.has)) else { return losses };
        let Some(place) = part.losable.pop_front() else { return losses };
        part.has.subtract(kept[place].bytes);
        losses.taken.push((place, Arc::clone(owner)));
        wanted_by[place] -= 1;
        if wanted_by[place] == 0 {
            total.subtract(kept[place].bytes);
            losses.gone.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code of one byte each, by its owners, the one that was used longest ago first.
    fn code(owners: &[&str]) -> Vec<Kept> {
        let owners = owners.iter().zip(0..);
        owners
            .map(|(owners, used)| Kept {
                bytes: 1,
                used: (used, 0),
                owners: owners.split_whitespace().map(Into::into).collect(),
                stays: false,
            })
            .collect()
    }

    fn gone(kept: &[Kept], bytes: u64, files: usize) -> Vec<usize> {
        losses(kept, CacheLimits { bytes, files }).gone
    }

    #[test]
    fn who_has_most_loses_what_was_used_longest_ago() {
        let kept = code(&["b", "a", "a", "b", "a", "a", "a"]);
        assert!(gone(&kept, 7, 7).is_empty());
        assert_eq!(gone(&kept, 6, 7), [1]);
        assert_eq!(gone(&kept, 7, 4), [1, 2, 4]);
        // Both have two then.
        assert_eq!(gone(&kept, 3, 9), [1, 2, 4, 0]);
        assert_eq!(gone(&kept, 0, 9), [1, 2, 4, 0, 5, 3, 6]);
    }

    #[test]
    fn what_several_want_goes_with_the_last_of_them() {
        let kept = code(&["a b", "a", "a", "a"]);
        let lost = losses(&kept, CacheLimits { bytes: 3, files: 9 });
        let taken: Vec<_> = lost.taken.iter().map(|(place, owner)| (*place, &**owner)).collect();
        assert_eq!((taken, lost.gone), (vec![(0, "a"), (1, "a")], vec![1]));
        // Whoever wants the same as another has it all the same: b's count is its own.
        let kept = code(&["a b", "a b", "a b", "c"]);
        assert_eq!(gone(&kept, 3, 9), [0]);
    }

    #[test]
    fn what_nobody_is_known_to_want_is_an_owners_as_well() {
        let kept = code(&["", "", "", "a"]);
        assert_eq!(gone(&kept, 2, 9), [0, 1]);
        let kept = code(&["", "a", "a", "a"]);
        assert_eq!(gone(&kept, 2, 9), [1, 2]);
    }

    #[test]
    fn what_came_just_now_stays_and_drives_out_nobody_within_its_part() {
        let mut kept = code(&["b", "a", "a"]);
        kept[2].bytes = 10;
        kept[2].stays = true;
        assert_eq!(gone(&kept, 10, 9), [1]);
        // What one has of many files is not held against it if there are too many bytes.
        let mut kept = code(&["a", "a", "a", "b"]);
        kept[3].bytes = 8;
        assert_eq!(gone(&kept, 10, 9), [3]);
        assert_eq!(gone(&kept, 11, 3), [0]);
    }

    #[test]
    fn nobody_within_its_part_loses_anything_whatever_the_others_have() {
        for seed in 0..200_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let names = ["", "a", "b", "c", "a b", "b c", "a b c"];
            let mut kept =
                code(&(0..next(60)).map(|_| names[usize::try_from(next(7)).unwrap()]).collect::<Vec<_>>());
            kept.iter_mut().for_each(|code| code.bytes = 1 + next(9));
            let limits = CacheLimits { bytes: 20 + next(200), files: usize::try_from(5 + next(40)).unwrap() };
            let has = |owner: &str, left: &dyn Fn(usize) -> bool| {
                let mut usage = Usage::default();
                let of = |code: &Kept| {
                    code.owners.iter().any(|of| **of == *owner) || owner.is_empty() && code.owners.is_empty()
                };
                kept.iter()
                    .enumerate()
                    .filter(|(n, code)| of(code) && left(*n))
                    .for_each(|(_, code)| usage.add(code.bytes));
                usage
            };
            let owners = ["", "a", "b", "c"].into_iter().filter(|owner| has(owner, &|_| true).files > 0);
            let owners: Vec<_> = owners.collect();
            let part = limits.part_of(owners.len());
            let lost = losses(&kept, limits);
            for owner in &owners {
                let before = has(owner, &|_| true);
                if before.bytes <= part.bytes && before.files <= part.files {
                    assert!(lost.taken.iter().all(|(_, of)| **of != **owner), "{seed}: {owner}");
                }
            }
            let mut left = Usage::default();
            let is_left = |n: &usize| !lost.gone.contains(n);
            (0..kept.len()).filter(is_left).for_each(|n| left.add(kept[n].bytes));
            assert!(left.is_within(limits), "{seed}: {left:?} {limits:?}");
        }
    }
}
