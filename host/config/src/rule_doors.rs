//! RuleDoors: what is wrong with the doors that a rule's file names, and with the widths for which it opens them, whosever rule it is.

use postern_core::Width;
use postern_text::Mistake;

use crate::rule_file::RuleFile;

/// A door that is named twice.
pub(crate) fn check_doors_once(rule: &RuleFile, mistakes: &mut Vec<Mistake>) {
    for (n, door) in rule.doors.iter().enumerate() {
        if rule.doors[..n].contains(door) {
            mistakes.push(rule.door_mistake(n, format!("`{door}` is named twice")));
        }
    }
}

/// A width that no door of the rule allows would never be granted; `widths_of` says which a door allows.
pub(crate) fn check_prefixes<'a>(
    rule: &RuleFile,
    widths_of: impl Fn(&str) -> &'a [Width],
    mistakes: &mut Vec<Mistake>,
) {
    for width in &rule.prefixes {
        if !rule.doors.iter().any(|door| widths_of(door).contains(width)) {
            let names = rule.doors.join(", ");
            mistakes.push(rule.prefixes_mistake(format!(
                "no door of this rule may be opened for {width}; add prefixes = [\"{width}\"] to the guard door ({names}) in postern.toml"
            )));
        }
    }
}
