//! Owners: who wants which code, and what is needed now, as far as that is known; and how both are written down.
//!
//! What is written down may be damaged, old or lost: then code is nobody's until it is wanted again, and is counted as if nobody were one more
//! owner.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

use crate::key::CodeKey;

/// What the file begins with; the last character is the version of this format.
const HEAD: &str = "postern-code-owners 1";
/// Most bytes of the file: room for twice as many lines as a full cache with the longest names has.
pub(crate) const MOST_WRITTEN: usize = 4 << 20;
/// Most bytes of an owner's name.
const MOST_NAME: usize = 64;
/// How a line says what its owner has of the code.
const NEEDS: &str = "needs";
const WANTED: &str = "wanted";

/// Who wants which code. An owner wants what it has asked for, until that is taken from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners {
    wanted: HashMap<CodeKey, BTreeSet<Arc<str>>>,
    needed: HashMap<CodeKey, BTreeSet<Arc<str>>>,
}

impl Owners {
    /// Notes that an owner wants code. A name that is none is nobody's.
    pub(crate) fn want(&mut self, key: &CodeKey, owner: &str) {
        if !is_name(owner) || self.wanted.get(key).is_some_and(|owners| owners.contains(owner)) {
            return;
        }
        self.wanted.entry(*key).or_default().insert(owner.into());
    }

    /// An owner wants code no more.
    pub(crate) fn take_from(&mut self, key: &CodeKey, owner: &str) {
        if let Some(owners) = self.wanted.get_mut(key) {
            owners.remove(owner);
            if owners.is_empty() {
                self.wanted.remove(key);
            }
        }
    }

    /// Code is not there any more.
    pub(crate) fn forget(&mut self, key: &CodeKey) {
        self.wanted.remove(key);
    }

    /// Code that anybody is known to want.
    pub(crate) fn known(&self) -> impl Iterator<Item = &CodeKey> {
        self.wanted.keys()
    }

    /// Forgets who wants what, but of what is needed.
    pub(crate) fn forget_wanted(&mut self) {
        self.wanted.clone_from(&self.needed);
    }

    /// This is needed from now on, each by an owner, who wants it by that; and nothing else is.
    pub(crate) fn need<'a>(&mut self, needed: impl IntoIterator<Item = (CodeKey, &'a str)>) {
        self.needed.clear();
        for (key, owner) in needed {
            self.want(&key, owner);
            self.needed.entry(key).or_default().insert(owner.into());
        }
    }

    /// Whether anybody needs this code now.
    pub(crate) fn is_needed(&self, key: &CodeKey) -> bool {
        self.needed.contains_key(key)
    }

    /// Who wants this code; nobody if that is not known.
    pub(crate) fn of(&self, key: &CodeKey) -> impl Iterator<Item = &Arc<str>> {
        self.wanted.get(key).into_iter().flatten()
    }

    /// How much code anybody is known to want, and how much is needed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.wanted.len(), self.needed.len())
    }

    /// As it is written down: a line for each code and owner, what is needed first. What does not fit is left out.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        let of = |what, owners: &HashMap<CodeKey, BTreeSet<Arc<str>>>| {
            let lines =
                owners.iter().flat_map(|(key, owners)| owners.iter().map(move |owner| (*key, owner.clone())));
            lines.map(|(key, owner)| (what, key, owner)).collect::<Vec<_>>()
        };
        for (what, key, owner) in of(NEEDS, &self.needed).into_iter().chain(of(WANTED, &self.wanted)) {
            let before = text.len();
            let _ = writeln!(text, "{key} {what} {owner}");
            if text.len() > MOST_WRITTEN {
                text.truncate(before);
                break;
            }
        }
        text
    }

    /// What was written down, as far as that is in order.
    pub(crate) fn of_text(text: &str) -> Self {
        let mut owners = Self::default();
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return owners;
        }
        for line in lines {
            let mut words = line.split(' ');
            let (Some(key), Some(what), Some(owner), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Some(key) = CodeKey::of_name(key.as_bytes()).filter(|_| is_name(owner)) else { continue };
            match what {
                NEEDS => drop(owners.needed.entry(key).or_default().insert(owner.into())),
                WANTED => owners.want(&key, owner),
                _ => {}
            }
        }
        owners
    }
}

/// Whether an owner may be called this: one short word.
fn is_name(name: &str) -> bool {
    (1..=MOST_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> CodeKey {
        CodeKey::new([n; 32], [9; 16])
    }

    fn names(owners: &Owners, n: u8) -> String {
        owners.of(&key(n)).map(|owner| &**owner).collect::<Vec<_>>().join(" ")
    }

    fn some() -> Owners {
        let mut owners = Owners::default();
        owners.want(&key(1), "a");
        owners.want(&key(1), "b");
        owners.need([(key(2), "host"), (key(3), "a")]);
        owners
    }

    #[test]
    fn stand_as_they_were_written() {
        let read = Owners::of_text(&some().to_text());
        assert_eq!(
            (names(&read, 1), names(&read, 2), names(&read, 3)),
            ("a b".into(), "host".into(), "a".into())
        );
        assert!(!read.is_needed(&key(1)) && read.is_needed(&key(2)) && read.is_needed(&key(3)));
    }

    #[test]
    fn damage_takes_what_it_hits_alone() {
        let text = some().to_text();
        for cut in 0..text.len() {
            // Any part of it is read.
            assert!(Owners::of_text(&text[..cut]).counts() <= (3, 2));
        }
        let line = text.lines().find(|line| line.ends_with("wanted b")).unwrap();
        for (bad, left) in
            [("", "a"), ("nonsense", "a"), (&line.replace("wanted b", "wanted"), "a"), (line, "a b")]
        {
            assert_eq!(names(&Owners::of_text(&text.replace(line, bad)), 1), left, "{bad}");
        }
        assert_eq!(Owners::of_text(&text.replace(HEAD, "postern-code-owners 2")).counts(), (0, 0));
    }

    #[test]
    fn a_name_that_could_be_another_line_is_nobodys() {
        let mut owners = Owners::default();
        for name in ["", "a b", "a\nb", "\u{e9}", &"a".repeat(65)] {
            owners.want(&key(1), name);
        }
        assert_eq!(names(&owners, 1), "");
        assert_eq!(owners.to_text(), format!("{HEAD}\n"));
    }

    #[test]
    fn what_is_written_is_bounded_and_has_what_is_needed() {
        let mut owners = Owners::default();
        let (name, other) = ("n".repeat(MOST_NAME), "o".repeat(MOST_NAME));
        let code = |n: u32| {
            let mut module = [0; 32];
            module[..4].copy_from_slice(&n.to_le_bytes());
            CodeKey::new(module, [9; 16])
        };
        (0..20_000).for_each(|n| owners.want(&code(n), &name));
        (0..20_000).for_each(|n| owners.want(&code(n), &other));
        owners.need([(code(7), "host")]);
        let text = owners.to_text();
        assert!(text.len() <= MOST_WRITTEN && text.len() > MOST_WRITTEN - 400, "{}", text.len());
        assert!(Owners::of_text(&text).is_needed(&code(7)));
    }
}
