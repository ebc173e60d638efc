//! RuleNumbers: numbers of rules for processes that know no names. None is given twice in the life of the process.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use postern_core::RuleId;

/// Rules by number and back. A rule in another file is another one.
#[derive(Debug, Default)]
pub(crate) struct RuleNumbers {
    known: HashMap<(RuleId, PathBuf), u32>,
    rules: BTreeMap<u32, (RuleId, PathBuf)>,
    last: u32,
}

impl RuleNumbers {
    /// The number of a rule, from 1 on; none if there are no more.
    pub(crate) fn number(&mut self, rule: &RuleId, file: &Path) -> Option<u32> {
        let named = (rule.clone(), file.to_owned());
        if let Some(number) = self.known.get(&named) {
            return Some(*number);
        }
        self.last = self.last.checked_add(1)?;
        self.rules.insert(self.last, named.clone());
        self.known.insert(named, self.last);
        Some(self.last)
    }

    /// Forgets all but these; one that comes back gets another number.
    pub(crate) fn keep(&mut self, is_kept: impl Fn(u32) -> bool) {
        self.known.retain(|_, number| is_kept(*number));
        self.rules.retain(|number, _| is_kept(*number));
    }

    /// The rules that are known, by number.
    pub(crate) fn names(&self) -> BTreeMap<u32, RuleId> {
        self.rules.iter().map(|(number, (rule, _))| (*number, rule.clone())).collect()
    }

    /// The file of a rule.
    pub(crate) fn file(&self, number: u32) -> Option<&Path> {
        self.rules.get(&number).map(|(_, file)| &**file)
    }

    /// The numbers from the first to the last of a range that are known.
    pub(crate) fn between(&self, first: u32, last: u32) -> impl Iterator<Item = u32> {
        let range = if first <= last { Some(first..=last) } else { None };
        range.into_iter().flat_map(|range| self.rules.range(range)).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use postern_core::TenantId;

    use super::*;

    #[test]
    fn a_number_is_one_rules_for_ever() {
        let mut numbers = RuleNumbers::default();
        let number = |numbers: &mut RuleNumbers, tenant: &str, file: &str| {
            numbers
                .number(&RuleId { tenant: TenantId::new(tenant), name: "r".into() }, Path::new(file))
                .unwrap()
        };
        let all = [("a", "/a/r"), ("b", "/b/r"), ("a", "/c/r"), ("a", "/a/r"), ("b", "/b/r")];
        let given = all.map(|(tenant, file)| number(&mut numbers, tenant, file));
        assert_eq!(given, [1, 2, 3, 1, 2]);
        numbers.keep(|number| number != 2);
        assert_eq!((numbers.file(1), numbers.file(2)), (Some(Path::new("/a/r")), None));
        assert_eq!(number(&mut numbers, "b", "/b/r"), 4);
        assert_eq!(numbers.names().keys().copied().collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(numbers.between(2, 3).collect::<Vec<_>>(), [3]);
        assert_eq!(numbers.between(3, 2).count(), 0);
    }
}
