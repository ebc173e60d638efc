//! Unit: whether systemd starts the daemon at boot, and again after what flushes the ruleset.

use std::path::Path;

use postern_config::Config;

use super::finding::{Finding, Looked};

/// Where units are, the first counting most.
const FOLDERS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system"];
const UNIT: &str = "postern.service";
const NFTABLES: &str = "nftables.service";

/// What is known of the units.
#[derive(Debug, Default, PartialEq, Eq)]
struct UnitFacts {
    has_systemd: bool,
    /// The text of the unit; none if there is none.
    unit: Option<String>,
    is_enabled: bool,
    flusher_is_enabled: bool,
    /// Whether what starts nftables starts the daemon.
    follows_flusher: bool,
    /// Whether a drop-in changes what commands may do.
    has_drop_in: bool,
    has_commands: bool,
}

pub(super) fn look(config: Option<&Config>) -> Looked {
    Ok(judge(&UnitFacts::gather(Path::new("/"), config.is_some_and(Config::has_commands))))
}

impl UnitFacts {
    fn gather(root: &Path, has_commands: bool) -> Self {
        let folders = || FOLDERS.iter().map(|folder| root.join(folder));
        // A link may lead to a file of a package that is not there.
        let is_wanted = |by: &str, unit: &str| {
            folders().any(|folder| folder.join(format!("{by}.wants")).join(unit).symlink_metadata().is_ok())
        };
        let has_drop_in = |folder: std::path::PathBuf| {
            folder.join(format!("{UNIT}.d")).read_dir().is_ok_and(|files| {
                files.flatten().any(|file| {
                    std::fs::read_to_string(file.path()).is_ok_and(|text| text.contains("NoNewPrivileges="))
                })
            })
        };
        Self {
            has_systemd: root.join("run/systemd/system").is_dir(),
            unit: folders().find_map(|folder| std::fs::read_to_string(folder.join(UNIT)).ok()),
            is_enabled: is_wanted("multi-user.target", UNIT),
            flusher_is_enabled: is_wanted("sysinit.target", NFTABLES)
                || is_wanted("multi-user.target", NFTABLES),
            follows_flusher: is_wanted(NFTABLES, UNIT),
            has_drop_in: folders().any(has_drop_in),
            has_commands,
        }
    }
}

fn judge(facts: &UnitFacts) -> Vec<Finding> {
    let UnitFacts { has_systemd, unit, is_enabled, flusher_is_enabled, follows_flusher, .. } = facts;
    if !has_systemd {
        return Vec::new();
    }
    let Some(unit) = unit else {
        return vec![Finding::note(
            format!("there is no {UNIT}: nobody starts the daemon after a boot"),
            "install the unit as host/dist/README.md says, or start it by what you have",
        )];
    };
    let mut found = Vec::new();
    if !is_enabled {
        found.push(Finding::warning(
            format!("{UNIT} is not enabled: after a boot guarded ports are open"),
            "`systemctl enable postern`",
        ));
    } else if *flusher_is_enabled && !follows_flusher {
        found.push(Finding::warning(
            format!(
                "{NFTABLES} flushes the ruleset when it starts, and does not start {UNIT}: if the daemon is stopped then, guarded ports stay open"
            ),
            format!("let [Install] of the unit say `WantedBy={NFTABLES}` as well, and `systemctl reenable postern`"),
        ));
    }
    if facts.has_commands && unit.contains("NoNewPrivileges=yes") && !facts.has_drop_in {
        found.push(Finding::problem(
            format!("{UNIT} is hardened for doors without commands: a command can use neither sudo nor ufw, nor write to /etc"),
            "install postern.service.d/commands.conf of host/dist, and `systemctl daemon-reload`",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::doctor::finding::lines;

    const OURS: &str = include_str!("../../dist/postern.service");
    const COMMANDS: &str = include_str!("../../dist/postern.service.d/commands.conf");

    /// A machine with these files.
    fn check(files: &[(&str, &str)], has_commands: bool, expected: Expect) {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        expected.assert_eq(&lines(&judge(&UnitFacts::gather(root.path(), has_commands))));
    }

    const RUNS: (&str, &str) = ("run/systemd/system/any", "");
    const INSTALLED: (&str, &str) = ("etc/systemd/system/postern.service", OURS);
    const ENABLED: (&str, &str) = ("etc/systemd/system/multi-user.target.wants/postern.service", "");
    const FLUSHES: (&str, &str) = ("etc/systemd/system/sysinit.target.wants/nftables.service", "");
    const FOLLOWS: (&str, &str) = ("etc/systemd/system/nftables.service.wants/postern.service", "");

    #[test]
    fn a_daemon_that_a_boot_or_a_flush_takes_away_is_said() {
        check(&[], true, expect![[""]]);
        check(&[RUNS, INSTALLED, ENABLED], false, expect![[""]]);
        check(&[RUNS, INSTALLED, ENABLED, FLUSHES, FOLLOWS], false, expect![[""]]);
        check(
            &[RUNS, FLUSHES],
            false,
            expect![[r#"
                note: there is no postern.service: nobody starts the daemon after a boot; install the unit as host/dist/README.md says, or start it by what you have
            "#]],
        );
        check(
            &[RUNS, INSTALLED, FLUSHES],
            false,
            expect![[r#"
                warning: postern.service is not enabled: after a boot guarded ports are open; `systemctl enable postern`
            "#]],
        );
        check(
            &[RUNS, INSTALLED, ENABLED, FLUSHES],
            false,
            expect![[r#"
                warning: nftables.service flushes the ruleset when it starts, and does not start postern.service: if the daemon is stopped then, guarded ports stay open; let [Install] of the unit say `WantedBy=nftables.service` as well, and `systemctl reenable postern`
            "#]],
        );
    }

    #[test]
    fn commands_need_the_drop_in() {
        let drop_in = ("etc/systemd/system/postern.service.d/commands.conf", COMMANDS);
        check(&[RUNS, INSTALLED, ENABLED, drop_in], true, expect![[""]]);
        check(
            &[RUNS, INSTALLED, ENABLED],
            true,
            expect![[r#"
                problem: postern.service is hardened for doors without commands: a command can use neither sudo nor ufw, nor write to /etc; install postern.service.d/commands.conf of host/dist, and `systemctl daemon-reload`
            "#]],
        );
    }
}
