//! A daemon that is not root, as in a container: it is one process, with what capabilities it was given.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};

use postern_tests::{CLIENT4, Lab, STRANGER4, Setup, eventually, skip};

use crate::command_user::has_users;
use crate::{A_WHILE, KNOCK, SOON, SSH_2S, STEPS, STORY, posternd};

/// A user who has no account here.
const SOMEBODY: u32 = 64_997;
/// As the kernel writes CAP_NET_RAW with CAP_NET_ADMIN, and alone.
const BOTH: &str = "0000000000003000";
const RAW: &str = "0000000000002000";

/// A configuration that this user can read, with folders of its own for what it keeps.
fn of_somebody<'lab>(lab: &'lab Lab, capabilities: &[&str]) -> Setup<'lab> {
    let setup = posternd(lab).own_code().user(SOMEBODY, capabilities);
    fs::set_permissions(setup.dir(), Permissions::from_mode(0o755)).expect("the folder is ours");
    for name in ["state", "code"] {
        let folder = setup.dir().join(name);
        fs::create_dir(&folder).expect("the folder is ours");
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("the folder is ours");
        chown(&folder, Some(SOMEBODY), Some(SOMEBODY)).expect("this is root");
    }
    setup
}

fn lab() -> Option<Lab> {
    let lab = Lab::if_possible()?;
    if has_users() {
        return Some(lab);
    }
    skip("only one user here");
    None
}

#[test]
fn with_both_capabilities_it_keeps_doors_in_one_process_and_says_what_that_lacks() {
    let Some(lab) = lab() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = of_somebody(&lab, &["net_raw", "net_admin"]);
    let daemon = setup.config(SSH_2S).rule("knock", KNOCK).start();
    let said = daemon.wait_for("one-process", |_| true);
    for lacking in
        ["not started as root", "change the packet filter", "no list of system calls", "user 64997"]
    {
        assert!(said.text("detail").contains(lacking), "{lacking}: {said}");
    }
    for role in ["engine", "doorman", "runner"] {
        assert_eq!(daemon.role(role), None, "{role}");
    }
    let status = daemon.status();
    assert_eq!((status.field("CapEff"), status.field("CapPrm")), (BOTH, BOTH));
    assert!(status.field("Uid").starts_with(&SOMEBODY.to_string()), "{status:?}");
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence(), "the port is guarded");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence(), "it is open for one");
    daemon.stop();
}

#[test]
fn with_one_capability_it_runs_commands_as_the_user_that_it_is() {
    let Some(lab) = lab() else { return };
    let setup = of_somebody(&lab, &["net_raw"]);
    let ran = setup.dir().join("state/ran");
    let command = |verb: &str| {
        format!(r#"["/bin/sh", "-c", "echo {verb} $0 $(id -u) >> {}", "{{ip}}"]"#, ran.display())
    };
    let config = format!(
        "interfaces = [\"eth0\"]\n[doors.lamp]\nopen = {}\nclose = {}\nfor = \"1s\"\n",
        command("on"),
        command("off")
    );
    let daemon = setup.config(&config).rule("knock", &KNOCK.replace("\"ssh\"", "\"lamp\"")).start();
    let said = daemon.wait_for("one-process", |_| true);
    assert!(!said.text("detail").contains("packet filter"), "it may not do that: {said}");
    assert!(said.text("detail").contains("run programs"), "{said}");
    assert_eq!(daemon.status().field("CapEff"), RAW);
    lab.knock(CLIENT4, STEPS);
    let expected = format!("on {CLIENT4} {SOMEBODY}\noff {CLIENT4} {SOMEBODY}\n");
    eventually("both commands", || {
        let said = fs::read_to_string(&ran).unwrap_or_default();
        (said == expected).then_some(())
    });
    daemon.stop();
}

#[test]
fn with_one_capability_a_guarded_port_is_refused() {
    let Some(lab) = lab() else { return };
    let mut daemon = of_somebody(&lab, &["net_raw"]).config(SSH_2S).rule("knock", KNOCK).launch();
    assert!(!daemon.wait_for_end().success());
    daemon.expect_none("ready", |_| true);
}

#[test]
fn where_every_barrier_is_asked_for_it_does_not_run() {
    let Some(lab) = lab() else { return };
    let setup = of_somebody(&lab, &["net_raw", "net_admin"]);
    let config = format!("sandbox = \"strict\"\n{SSH_2S}");
    let mut daemon = setup.config(&config).rule("knock", KNOCK).launch();
    let status = daemon.wait_for_end();
    assert_eq!(status.code(), Some(1), "a mistake of the configuration");
    let refused = daemon.wait_for("mistake", |_| true);
    assert!(refused.to_string().contains("more than one process"), "{refused}");
    daemon.expect_none("ready", |_| true);
}
