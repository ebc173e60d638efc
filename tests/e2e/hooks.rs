//! Commands that run when something happens.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use postern_tests::{CLIENT4, CLIENT6, Entry, Lab, STRANGER4, STRANGER6, eventually, skip};
use serde_json::Value;
use tempfile::TempDir;

use crate::command_user::has_users;
use crate::{KNOCK, STEPS, STORY, posternd};

/// What every command of these tests does: adds to a file who it is and what it finds, and what it reads; at once, as another may do so as well.
const TELL: &str = "said=$(echo $(id -un) $POSTERN_EVENT $POSTERN_TENANT/$POSTERN_RULE $POSTERN_DOOR $POSTERN_SRC; cat); \
                    printf \"%s\\n\" \"$said\" >> $0";

fn config(hooks: &str) -> String {
    format!("interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\nfor = \"60s\"\n{hooks}")
}

/// A hook that tells of these events in the file `told` of a folder.
fn hook(on: &str, folder: &Path, more: &str) -> String {
    format!(
        "[[hooks]]\non = {on}\nrun = [\"/bin/sh\", \"-c\", '{TELL}', \"{}/told\"]\n{more}\n",
        folder.display()
    )
}

/// A folder to which every user may write.
fn open_to_all() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("ours");
    folder
}

/// What was told so far, two lines for each command: what it found, and what it read.
fn told(folder: &TempDir) -> Vec<(String, Value)> {
    let told = fs::read_to_string(folder.path().join("told")).unwrap_or_default();
    let lines: Vec<_> = told.lines().collect();
    let pair = |pair: &[&str]| {
        let [found, read] = pair else { return None };
        Some(((*found).to_owned(), serde_json::from_str(read).ok()?))
    };
    lines.chunks(2).filter_map(pair).collect()
}

#[test]
fn an_opening_runs_a_command_as_the_account_that_it_names() {
    if !has_users() {
        return skip("only one user here");
    }
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let folder = open_to_all();
        let setup = posternd(&lab).config(&config(&hook("[\"open\"]", folder.path(), "user = \"daemon\"")));
        let setup = setup.rule("knock", KNOCK);
        let daemon = if one_process { setup.one_process().start() } else { setup.start() };
        lab.knock(CLIENT4, STEPS);
        daemon.expect_story(CLIENT4, &STORY);
        let told = eventually("the command", || Some(told(&folder)).filter(|told| !told.is_empty()));
        let [(found, read)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(*found, format!("daemon open host/knock ssh {CLIENT4}"));
        assert_eq!(
            (&read["event"], &read["door"], &read["level"]),
            (&"open".into(), &"ssh".into(), &"INFO".into())
        );
        assert_eq!(read["src"], CLIENT4.to_string());
        assert!(read["lasts_s"].as_f64().is_some_and(|lasts| lasts > 0.0), "{read}");
        assert!(read["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{read}");
        daemon.stop();
    }
}

#[test]
fn so_many_run_in_a_minute_and_a_failure_is_said() {
    let Some(lab) = Lab::if_possible() else { return };
    let folder = open_to_all();
    let hooks = hook("\"stage\"", folder.path(), "rate = 2")
        + "[[hooks]]\non = \"open\"\nrun = [\"/bin/sh\", \"-c\", \"echo no >&2; exit 4\"]\n"
        + "[[hooks]]\non = \"open\"\nrun = [\"/bin/sleep\", \"60\"]\ntimeout = \"100ms\"\n";
    let daemon = posternd(&lab).config(&config(&hooks)).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    lab.knock(CLIENT6, STEPS);
    daemon.expect_story(CLIENT6, &STORY);
    let file = daemon.dir().join("postern.toml").display().to_string();
    // Each with its place: several may run the same program.
    for (hook, line, detail) in [
        ("hooks[1]", 9, "/bin/sh failed (exit status: 4): no"),
        ("hooks[2]", 12, "/bin/sleep ran longer than 100ms and was killed"),
    ] {
        daemon.wait_for("hook-failed", |entry| {
            let of = [entry.text("hook"), entry.text("place"), entry.text("detail")];
            of == [hook, &format!("{file}:{line}"), detail]
        });
    }
    let told = eventually("two commands", || Some(told(&folder)).filter(|told| told.len() == 2));
    assert!(told.iter().all(|(found, _)| found.contains(" stage host/knock ")), "{told:?}");
    let (_, log) = daemon.stop();
    // Four stages, and two runs.
    assert_eq!(log.entries().iter().filter(|entry| entry.event() == "stage").count(), 4);
    assert_eq!(self::told(&folder).len(), 2);
}

#[test]
fn what_a_rule_writes_is_data_and_nothing_else() {
    let Some(lab) = Lab::if_possible() else { return };
    let folder = open_to_all();
    let daemon = posternd(&lab)
        .config(&config(&hook("\"reload-refused\"", folder.path(), "")))
        .rule("knock", KNOCK)
        .start();
    let before = daemon.dir().join("pwned");
    daemon.write("rules/b.toml", KNOCK.replace("\"ssh\"", &format!("\"$(touch {})\"", before.display())));
    let told = eventually("the mistake", || Some(told(&folder)).filter(|told| !told.is_empty()));
    assert!(
        told.iter().any(|(_, read)| read["detail"].as_str().unwrap_or_default().contains("$(touch ")),
        "{told:?}"
    );
    assert!(!before.exists());
    daemon.stop();
}

#[test]
fn the_noise_of_a_tenant_leaves_no_event_of_another_without_its_command() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let folder = open_to_all();
        let noisy = "[tenants.noisy]\nrules = \"noisy\"\ngrant.doors = [\"ssh\"]\ngrant.any_port = true\ngrant.interfaces = [\"any\"]\n";
        // A run that takes as long as it may keeps its place.
        let slow =
            "[[hooks]]\non = \"stage\"\nrun = [\"/bin/sleep\", \"60\"]\ntimeout = \"30s\"\n".repeat(15);
        let hooks = slow + &hook("[\"stage\", \"open\"]", folder.path(), "rate = 2");
        let setup = posternd(&lab).config(&(config(&hooks) + noisy)).rule("knock", KNOCK);
        let setup = setup.file("noisy/knock.toml", KNOCK.replace("7000", "7100"));
        let daemon = if one_process { setup.one_process().start() } else { setup.start() };
        // A tenant's rules may be compiled when the host's run already.
        daemon.wait_for("reload", |entry| entry.number("rules") == Some(2.0));
        for client in [STRANGER4, STRANGER6, CLIENT6] {
            lab.knock(client, "7100/udp 8000/tcp");
            let is_second =
                |entry: &Entry| entry.text("src") == client.to_string() && entry.number("stage") == Some(2.0);
            daemon.wait_for("stage", is_second);
        }
        lab.knock(CLIENT4, STEPS);
        daemon.expect_story(CLIENT4, &STORY);
        let found = |told: Vec<(String, Value)>| told.into_iter().map(|(found, _)| found).collect::<String>();
        eventually("the host's command", || {
            found(told(&folder)).contains(" stage host/knock ").then_some(())
        });
        drop(daemon.kill());
    }
}

/// Whether a process runs whose command line has this in it.
fn runs(token: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("it is there").flatten();
    processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok()).any(|line| {
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(token)
    })
}

#[test]
fn what_still_runs_at_the_end_is_ended_with_all_that_came_from_it() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let folder = open_to_all();
        let token = folder.path().display().to_string();
        let line = "setsid sh -c 'echo > $0/started; while :; do sleep 0.1; done' $0 & wait";
        let hook = format!("[[hooks]]\non = \"ready\"\nrun = [\"/bin/sh\", \"-c\", {line:?}, {token:?}]\n");
        let setup = posternd(&lab).config(&config(&hook)).rule("knock", KNOCK);
        let daemon = if one_process { setup.one_process().start() } else { setup.start() };
        eventually("the command", || folder.path().join("started").exists().then_some(()));
        assert!(runs(&token));
        daemon.stop();
        eventually("the end of the command", || (!runs(&token)).then_some(()));
    }
}
