//! Nftables: whether the kernel has what guarding takes.

use std::fs;

use postern_config::DoorKind;
use postern_doorman::{DoormanError, OtherFilters};
use postern_text::chain;

use super::DoctorSubject;
use super::finding::{Finding, Looked, NotLooked};

/// The oldest that doors work with, and the first that lets no other program flush the guard of a daemon that runs.
const OLDEST: (u32, u32) = (5, 6);
const OWNS_TABLES: (u32, u32) = (6, 9);

/// What is known of the kernel.
struct KernelFacts {
    /// As `uname -r` has it.
    release: String,
    /// Why it cannot be spoken to.
    unreachable: Option<String>,
    needs_it: bool,
}

pub(super) fn look(subject: &DoctorSubject<'_>, filters: &Result<OtherFilters, DoormanError>) -> Looked {
    let unreachable = filters.as_ref().err().map(|error| chain(error).to_string());
    if unreachable.is_some() && !subject.is_root {
        return Err(NotLooked::for_want_of_root());
    }
    let doors = subject.config.doors.values();
    let needs_it = doors.into_iter().any(|door| matches!(door.kind, DoorKind::Net(_)));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(judge(&KernelFacts { release: release.trim_end().to_owned(), unreachable, needs_it }))
}

fn judge(facts: &KernelFacts) -> Vec<Finding> {
    let KernelFacts { release, unreachable, needs_it } = facts;
    if !needs_it {
        return Vec::new();
    }
    if let Some(why) = unreachable {
        return vec![Finding::problem(
            why,
            "load nf_tables (`modprobe nf_tables`), or run a kernel with it; in a container, give it CAP_NET_ADMIN",
        )];
    }
    let Some(version) = version(release) else { return Vec::new() };
    if version < OLDEST {
        return vec![Finding::problem(
            format!("Linux {release} is too old for guarded ports"),
            format!("run Linux {}.{} or later", OLDEST.0, OLDEST.1),
        )];
    }
    if version < OWNS_TABLES {
        return vec![Finding::note(
            format!(
                "on Linux {release} a flush of the ruleset opens guarded ports until the daemon has put the guard back, a moment later"
            ),
            format!("run Linux {}.{} or later", OWNS_TABLES.0, OWNS_TABLES.1),
        )];
    }
    Vec::new()
}

/// The first two numbers.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::doctor::finding::lines;

    fn check(release: &str, unreachable: Option<&str>, needs_it: bool, expected: Expect) {
        let facts = KernelFacts {
            release: release.to_owned(),
            unreachable: unreachable.map(str::to_owned),
            needs_it,
        };
        expected.assert_eq(&lines(&judge(&facts)));
    }

    #[test]
    fn what_the_kernel_lacks_is_said() {
        check("6.12.43+deb13-amd64", None, true, expect![[""]]);
        check("5.4.0", None, false, expect![[""]]);
        check("unknown", None, true, expect![[""]]);
        check(
            "6.1.0-40-amd64",
            None,
            true,
            expect![[r#"
                note: on Linux 6.1.0-40-amd64 a flush of the ruleset opens guarded ports until the daemon has put the guard back, a moment later; run Linux 6.9 or later
            "#]],
        );
        check(
            "5.4.0",
            None,
            true,
            expect![[r#"
                problem: Linux 5.4.0 is too old for guarded ports; run Linux 5.6 or later
            "#]],
        );
        check(
            "6.12.0",
            Some("cannot talk to nftables"),
            true,
            expect![[r#"
                problem: cannot talk to nftables; load nf_tables (`modprobe nf_tables`), or run a kernel with it; in a container, give it CAP_NET_ADMIN
            "#]],
        );
    }
}
