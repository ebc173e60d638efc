//! Commands that run as another account.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use postern_tests::{CLIENT4, Lab, eventually, skip};
use tempfile::TempDir;

use crate::{KNOCK, STEPS, posternd};

/// An account that every machine has.
const ACCOUNT: &str = "daemon";

/// One more group for the account, as long as this lives; in the test's own mount namespace.
struct ExtraGroup(TempDir);

impl ExtraGroup {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("group");
        let groups = fs::read_to_string("/etc/group").expect("there are groups");
        fs::write(&file, format!("{groups}postern-test:x:64999:{ACCOUNT}\n")).expect("our folder");
        let mounted = Command::new("mount").arg("--bind").arg(&file).arg("/etc/group").status();
        assert!(mounted.is_ok_and(|status| status.success()), "no groups of our own");
        Self(folder)
    }
}

impl Drop for ExtraGroup {
    fn drop(&mut self) {
        let _ = (Command::new("umount").args(["-l", "/etc/group"]).status(), &self.0);
    }
}

fn id(option: &str) -> String {
    let output = Command::new("id").args([option, ACCOUNT]).output().expect("there is an id");
    String::from_utf8(output.stdout).expect("numbers").trim().to_owned()
}

fn config(dir: &Path, user: &str) -> String {
    let line = "echo $1 $(id -u) $(id -g) $(id -G) $HOME $USER $LOGNAME $POSTERN_DOOR $(grep CapEff /proc/self/status) >> \
                $0; echo of $(id -un) >&2; test $1 = off";
    let argv = |verb| format!(r#"["/bin/sh", "-c", '{line}', "{}/said", "{verb}"]"#, dir.display());
    format!(
        "interfaces = [\"eth0\"]\n[doors.lamp]\nopen = {}\nclose = {}\nuser = \"{user}\"\n",
        argv("on"),
        argv("off")
    )
}

fn rule() -> String {
    KNOCK.replace("\"ssh\"", "\"lamp\"")
}

/// Whether other users' ids can be had here.
pub(crate) fn has_users() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"))
}

#[test]
fn both_commands_run_as_the_account_with_its_groups_and_home_and_without_power() {
    let Some(lab) = Lab::if_possible() else { return };
    if !has_users() {
        return skip("only one user here");
    }
    let _group = ExtraGroup::new();
    let open_to_all = TempDir::new().expect("a temporary folder");
    fs::set_permissions(open_to_all.path(), Permissions::from_mode(0o777)).expect("ours");
    let setup = posternd(&lab);
    let daemon = setup.config(&config(open_to_all.path(), ACCOUNT)).rule("knock", &rule()).start();
    lab.knock(CLIENT4, STEPS);
    // The first fails, so the second runs at once; and its words are told.
    let refusal = daemon.wait_for("refuse", |_| true);
    assert!(refusal.text("detail").contains(&format!("of {ACCOUNT}")), "{refusal}");
    let said = eventually("both commands", || {
        let said = fs::read_to_string(open_to_all.path().join("said")).unwrap_or_default();
        (said.lines().count() == 2).then_some(said)
    });
    let groups = id("-G");
    assert!(groups.split(' ').any(|group| group == "64999"), "{groups}");
    let passwd = fs::read_to_string("/etc/passwd").expect("there are accounts");
    let account = passwd.lines().find(|line| line.starts_with(&format!("{ACCOUNT}:"))).expect("an account");
    let home = account.split(':').nth(5).expect("a home");
    let rest = format!(
        "{} {} {groups} {home} {ACCOUNT} {ACCOUNT} lamp CapEff: 0000000000000000",
        id("-u"),
        id("-g")
    );
    assert_eq!(said, format!("on {rest}\noff {rest}\n"));
    daemon.stop();
}

#[test]
fn what_was_left_open_is_closed_as_the_account_by_the_next_start() {
    let Some(lab) = Lab::if_possible() else { return };
    if !has_users() {
        return skip("only one user here");
    }
    let open_to_all = TempDir::new().expect("a temporary folder");
    fs::set_permissions(open_to_all.path(), Permissions::from_mode(0o777)).expect("ours");
    let argv = |verb| {
        format!(
            r#"["/bin/sh", "-c", 'echo $1 $(id -un) >> $0', "{}/said", "{verb}"]"#,
            open_to_all.path().display()
        )
    };
    let config = format!(
        "interfaces = [\"eth0\"]\n[doors.lamp]\nopen = {}\nclose = {}\nuser = \"{ACCOUNT}\"\nfor = \"2s\"\n",
        argv("on"),
        argv("off")
    );
    let daemon = posternd(&lab).config(&config).rule("knock", &rule()).start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "open lamp"]);
    let (setup, _) = daemon.kill();
    // Its own configuration knows nothing of the door any more.
    let daemon = setup
        .config("interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\n")
        .rule("knock", KNOCK)
        .start();
    daemon.wait_for("close", |_| true);
    let said = fs::read_to_string(open_to_all.path().join("said")).expect("both ran");
    assert_eq!(said, format!("on {ACCOUNT}\noff {ACCOUNT}\n"));
    daemon.stop();
}

#[test]
fn an_account_that_is_not_there_is_one_mistake() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let config = config(setup.dir(), "nobody-of-postern");
    let output = setup.config(&config).rule("knock", &rule()).check();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let mistakes: Vec<_> = said.lines().filter(|line| line.contains("user")).collect();
    assert_eq!(mistakes.len(), 1, "{said}");
    let expected = "postern.toml:5: doors.lamp.user: there is no account `nobody-of-postern` on this machine";
    assert!(mistakes[0].contains(expected), "{said}");
}
