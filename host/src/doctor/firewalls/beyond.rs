//! Beyond: what else of a ruleset is in the way: sets that no rule asks for, tables that nf_tables does not list, and a saved ruleset that has our
//! table in it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;

use postern_config::DoorKind;
use postern_core::{NetDoor, SetName};
use postern_doorman::OtherFilters;

use crate::doctor::DoctorSubject;
use crate::doctor::finding::Finding;

/// Where the service of nftables loads the ruleset from, depending on the distribution.
const SAVED: [&str; 2] = ["/etc/nftables.conf", "/etc/sysconfig/nftables.conf"];
/// Bytes of it that are read.
const MOST_READ: u64 = 16 << 20;

pub(super) fn look(subject: &DoctorSubject<'_>, filters: &OtherFilters) -> Vec<Finding> {
    let mut found = unused(&set_doors(subject), |set| filters.asks(set));
    found.extend(legacy(&legacy_tables(), subject.guarded().next().is_some()));
    found.extend(SAVED.iter().filter(|file| has_our_table(&beginning(file))).map(|file| saved(file)));
    found
}

fn beginning(file: &str) -> String {
    let mut text = Vec::new();
    // One that cannot be read the service cannot read either, or is none.
    let _ = File::open(file).and_then(|file| file.take(MOST_READ).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether a ruleset says what is in our table.
fn has_our_table(ruleset: &str) -> bool {
    ruleset.lines().any(|line| {
        let words: Vec<_> = line.split([' ', '\t', '{']).filter(|word| !word.is_empty()).take(4).collect();
        matches!(words[..], ["table", "inet", "postern", ..] | ["add", "table", "inet", "postern"])
    })
}

fn saved(file: &str) -> Finding {
    Finding::warning(
        format!(
            "{file} has the table inet postern in it, as `nft list ruleset` prints it: while the daemon runs it cannot be loaded, with all else that it says"
        ),
        "take that table out of it: the daemon makes it",
    )
}

/// The sets that doors fill, each with its door's name.
fn set_doors(subject: &DoctorSubject<'_>) -> Vec<(String, SetName)> {
    let net = subject.config.doors.values().filter_map(|door| match &door.kind {
        DoorKind::Net(NetDoor::Set { sets }) => Some((door.name.to_string(), sets)),
        _ => None,
    });
    net.flat_map(|(name, sets)| sets.iter().map(move |set| (name.clone(), set.clone()))).collect()
}

/// Doors that open nothing, because no rule asks for their set.
fn unused(doors: &[(String, SetName)], is_asked: impl Fn(&SetName) -> bool) -> Vec<Finding> {
    let unused = doors.iter().filter(|(_, set)| !is_asked(set));
    let finding = |(door, set): &(String, SetName)| {
        let SetName { family, table, name } = set;
        Finding::problem(
            format!("no rule asks who is in the set {set}: door {door} opens nothing"),
            format!(
                "add a rule to a chain of the table {family} {table}, such as: ip saddr @{name} tcp dport 22 accept"
            ),
        )
    };
    unused.map(finding).collect()
}

/// The tables of iptables-legacy, which nf_tables does not list.
fn legacy_tables() -> BTreeSet<String> {
    let names = ["ip_tables_names", "ip6_tables_names"]
        .map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default());
    names.iter().flat_map(|names| names.lines()).map(str::to_owned).collect()
}

fn legacy(tables: &BTreeSet<String>, has_guards: bool) -> Option<Finding> {
    if tables.is_empty() || !has_guards {
        return None;
    }
    let names: Vec<_> = tables.iter().map(String::as_str).collect();
    Some(Finding::warning(
        format!(
            "there are tables of iptables-legacy ({}), which cannot be read: what they drop stays closed, and what they redirect may pass a guard by",
            names.join(", ")
        ),
        "see `iptables-legacy -S` and `ip6tables-legacy -S`, or move them to iptables-nft",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::lines;

    #[test]
    fn a_saved_ruleset_that_has_our_table_is_known() {
        for ruleset in
            ["table inet postern { # progname postern-doorman\n", "flush ruleset\ntable inet postern{"]
        {
            assert!(has_our_table(ruleset), "{ruleset}");
        }
        for ruleset in
            ["", "# table inet postern {\n", "table inet posterns {\n", "delete table inet postern\n"]
        {
            assert!(!has_our_table(ruleset), "{ruleset}");
        }
    }

    #[test]
    fn legacy_tables_and_unused_sets_are_said() {
        let tables = ["filter".to_owned(), "nat".to_owned()].into();
        assert!(legacy(&tables, true).unwrap().what.contains("(filter, nat)"));
        assert_eq!(legacy(&tables, false), None);
        assert_eq!(legacy(&BTreeSet::new(), true), None);
        let doors = ["ip a b", "inet filter web"].map(|set| ("web".to_owned(), set.parse().unwrap()));
        let found = unused(&doors, |set| set.name == "b");
        assert_eq!(
            lines(&found),
            "problem: no rule asks who is in the set inet filter web: door web opens nothing; add a rule to a chain of the table \
             inet filter, such as: ip saddr @web tcp dport 22 accept\n"
        );
    }
}
