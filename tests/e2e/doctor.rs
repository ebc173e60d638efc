//! `posternd doctor` on real machines: what it says is what becomes of a client, and what it advises mends it.

mod firewalls;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output};

use postern_tests::{Entry, Lab, STRANGER4, Setup, eventually, skip};
use serde_json::Value;

use crate::command_user::has_users;
use crate::disk::Disk;
use crate::{A_WHILE, KNOCK, SOON, SSH_2S, posternd};

/// What it said of one thing.
#[derive(Debug)]
struct Said {
    look: String,
    severity: String,
    what: String,
    remedy: String,
}

/// The looks that are about the lab, and not about the machine that it is on.
const OF_LAB: [&str; 9] = [
    "state folder",
    "configuration",
    "nftables",
    "other daemons",
    "other firewalls",
    "guarded ports",
    "steps",
    "interfaces",
    "address families",
];

fn ssh(lab: &Lab) -> Setup<'_> {
    posternd(lab).config(SSH_2S).rule("knock", KNOCK)
}

/// Everything that was said, in its order, and the exit status.
#[track_caller]
fn read(output: &Output) -> (Vec<Said>, i32) {
    let out = String::from_utf8_lossy(&output.stdout);
    let text = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let said = out.lines().map(|line| {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        Said {
            look: text(&object, "look"),
            severity: text(&object, "severity"),
            what: text(&object, "what"),
            remedy: text(&object, "remedy"),
        }
    });
    (said.collect(), output.status.code().expect("it ended by itself"))
}

/// What is wrong in the lab; that it is well is left out. The exit status fits it.
#[track_caller]
fn wrong(output: &Output) -> Vec<Said> {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let (said, code) = read(output);
    let has_problem = said.iter().any(|it| it.severity == "problem");
    assert_eq!(code, i32::from(has_problem), "{said:?}");
    for look in OF_LAB {
        assert!(said.iter().any(|it| it.look == look), "{look}: {said:?}");
    }
    said.into_iter().filter(|it| OF_LAB.contains(&&*it.look) && it.severity != "fine").collect()
}

#[track_caller]
fn nothing_wrong(setup: &Setup<'_>) {
    let said = wrong(&setup.doctor(&["--json"]));
    assert!(said.is_empty(), "{said:?}");
}

/// The one thing that is wrong.
#[track_caller]
fn only(setup: &Setup<'_>, look: &str, severity: &str) -> Said {
    let mut said = wrong(&setup.doctor(&["--json"]));
    assert_eq!(said.len(), 1, "{said:?}");
    let one = said.remove(0);
    assert_eq!((&*one.look, &*one.severity), (look, severity), "{one:?}");
    one
}

/// Runs the first command that a remedy names.
#[track_caller]
fn follow(lab: &Lab, remedy: &str) {
    let command = remedy.split('`').nth(1).unwrap_or_else(|| panic!("no command: {remedy}"));
    let done = lab.server_exec(&command.split(' ').collect::<Vec<_>>());
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn where_all_is_well_it_says_so_and_changes_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = ssh(&lab);
    nothing_wrong(&setup);
    assert!(lab.server_exec(&["nft", "list", "ruleset"]).stdout.is_empty());
    assert!(!setup.dir().join("state").exists() && !setup.dir().join("run").exists());
    // For people, a line each, and last what is well.
    let output = setup.doctor(&[]);
    let out = String::from_utf8(output.stdout).expect("it is text");
    let last = out.lines().last().unwrap_or_default();
    assert!(last.contains(" looks, all well: ") && last.contains("other firewalls"), "{out}");
    assert_eq!(output.status.code(), Some(0), "{out}");
    // Its own daemon is no other one.
    let daemon = setup.start();
    let said = wrong(&daemon.doctor(&["--json"]));
    assert!(said.is_empty(), "{said:?}");
    daemon.stop();
}

#[test]
fn a_port_that_leads_to_one_that_needs_no_knock_is_a_problem() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    lab.firewall(
        "table ip own { chain before { type nat hook prerouting priority dstnat; tcp dport 2201 redirect to :22; }; }",
    );
    // Guarded where it is dialled, and there alone.
    let setup = ssh(&lab).config(&SSH_2S.replace("tcp/22", "tcp/2201"));
    let one = only(&setup, "guarded ports", "problem");
    assert!(one.what.contains("tcp/2201 of door ssh leads to tcp/22"), "{one:?}");
    let daemon = setup.start();
    assert!(lab.tcp(STRANGER4, 2201, A_WHILE).is_silence());
    assert!(lab.tcp_connects(STRANGER4, 22, SOON), "it is so");
    let (setup, _) = daemon.stop();
    nothing_wrong(&setup.config(SSH_2S));
}

#[test]
fn a_published_port_of_a_container_that_passes_the_guard_by_is_said_as_check_says_it() {
    let Some(lab) = Lab::if_possible() else { return };
    lab.firewall(
        "table ip own { chain before { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 192.0.2.99:22; }; }",
    );
    let setup = ssh(&lab);
    let said = wrong(&setup.doctor(&["--json"]));
    let one = said.iter().find(|it| it.severity == "problem").unwrap_or_else(|| panic!("{said:?}"));
    let checked = String::from_utf8(setup.check().stderr).expect("it is text");
    assert_eq!(
        checked,
        format!(
            "warning: {}; {}
",
            one.what, one.remedy
        )
    );
    assert!(one.remedy.contains("guard tcp/8080"), "{one:?}");
}

#[test]
fn a_listener_on_a_step_and_none_behind_a_door_are_warnings() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = ssh(&lab);
    let one = only(&setup, "guarded ports", "warning");
    assert!(one.what.contains("nobody listens at tcp/22, which door ssh guards"), "{one:?}");
    let _ssh = lab.tcp_service(22);
    nothing_wrong(&setup);
    let _step = lab.tcp_service(8000);
    let one = only(&setup, "steps", "warning");
    assert!(one.what.contains("tcp/8000 is a step of rule knock"), "{one:?}");
}

#[test]
fn an_interface_that_is_not_there_is_said_as_check_says_it() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = ssh(&lab).config(&SSH_2S.replace("eth0", "ens3"));
    let one = only(&setup, "interfaces", "problem");
    let checked = String::from_utf8(setup.check().stderr).expect("it is text");
    assert_eq!(
        checked,
        format!(
            "warning: {}; {}
",
            one.what, one.remedy
        )
    );
    // Others hear knocks.
    let setup = setup.config(&SSH_2S.replace("\"eth0\"", "\"eth0\", \"ens3\""));
    only(&setup, "interfaces", "warning");
    let setup = setup.config(&SSH_2S.replace("\"eth0\"", "\"bond7\", \"eth0\""));
    assert!(lab.server_exec(&["ip", "link", "add", "bond7", "type", "bridge"]).status.success());
    let one = only(&setup, "interfaces", "warning");
    assert!(one.what.contains("bond7 is down"), "{one:?}");
    // What is captured on a part of a bridge is not all that comes to it.
    let setup = setup.config(SSH_2S);
    for set in ["dev eth0 master bond7", "dev bond7 up"] {
        let set: Vec<_> = ["ip", "link", "set"].into_iter().chain(set.split(' ')).collect();
        assert!(lab.server_exec(&set).status.success());
    }
    let one = only(&setup, "interfaces", "note");
    assert!(one.what.contains("eth0 is a part of the bridge bond7"), "{one:?}");
}

#[test]
fn a_full_disk_and_one_that_is_read_only_are_problems() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let disk = Disk::new();
    let setup = ssh(&lab).env("STATE_DIRECTORY", disk.state());
    only(&setup, "state folder", "warning");
    disk.fill();
    let one = only(&setup, "state folder", "problem");
    assert!(one.what.contains("is full"), "{one:?}");
    disk.free();
    disk.make_read_only();
    let one = only(&setup, "state folder", "problem");
    assert!(one.what.contains("read-only"), "{one:?}");
    disk.make_writable();
}

#[test]
fn a_state_folder_that_the_daemon_would_refuse_is_a_problem() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = ssh(&lab);
    let state = setup.dir().join("state");
    fs::create_dir(&state).expect("the folder is ours");
    let set_mode = |mode| fs::set_permissions(&state, fs::Permissions::from_mode(mode)).expect("it is ours");
    set_mode(0o1777);
    let one = only(&setup, "state folder", "problem");
    assert!(one.what.contains("is for everybody's files"), "{one:?}");
    // This the daemon would put right by itself; a look does not.
    set_mode(0o755);
    nothing_wrong(&setup);
    assert_eq!(fs::metadata(&state).expect("it is there").permissions().mode() & 0o7777, 0o755);
    setup.start().stop();
}

/// For the same the daemon does not start, if it has doors that would not be closed after a crash.
#[test]
fn a_check_warns_of_a_state_folder_that_the_daemon_would_refuse() {
    let Some(lab) = Lab::if_possible() else { return };
    let lamp = "[doors.lamp]\nopen = [\"/bin/true\"]\nclose = [\"/bin/true\"]\n";
    let setup = ssh(&lab).config(&format!("{SSH_2S}{lamp}"));
    let state = setup.dir().join("state");
    fs::create_dir(&state).expect("the folder is ours");
    let check = || {
        let output = setup.check();
        assert!(output.status.success(), "{output:?}");
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("it is text"));
        assert!(out.ends_with(" opens ssh, and watches udp/7000, tcp/8000, udp/9000\n"), "{out}");
        err
    };
    assert_eq!(check(), "");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o1777)).expect("it is ours");
    let said = check();
    let is_it =
        said.starts_with("warning: ") && said.contains(": doors.lamp: nobody would close it after a crash: ");
    assert!(is_it && said.contains("is for everybody's files") && said.lines().count() == 1, "{said}");
}

#[test]
fn another_daemon_that_guards_is_a_problem() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let other = ssh(&lab).start();
    let setup = ssh(&lab);
    let one = only(&setup, "other daemons", "problem");
    assert!(one.what.contains("another posternd owns the table inet postern"), "{one:?}");
    other.kill();
    let one = only(&setup, "other daemons", "problem");
    assert!(one.what.contains("posternd reset --config"), "{one:?}");
}

#[test]
fn knockd_beside_is_a_warning() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = ssh(&lab);
    let of_knockd = || {
        let (said, _) = read(&setup.doctor(&["--json"]));
        said.into_iter().find(|it| it.look == "knockd").expect("it is looked at")
    };
    assert_eq!(of_knockd().severity, "fine");
    // Any program of that name.
    let program = setup.dir().join("knockd");
    fs::copy("/bin/sleep", &program).expect("every machine has it");
    let start = |at: &dyn Fn(&mut Command) -> io::Result<Child>| {
        at(Command::new(&program).arg("60")).expect("it can be executed")
    };
    // One on another network, as in a container, hears none of these knocks.
    let mut elsewhere = start(&|command| lab.client().spawn(command));
    let comm = format!("/proc/{}/comm", elsewhere.id());
    eventually("it is called so", || {
        fs::read_to_string(&comm).is_ok_and(|it| it == "knockd\n").then_some(())
    });
    assert_eq!(of_knockd().severity, "fine");
    elsewhere.kill().and_then(|()| elsewhere.wait()).expect("a child of ours");
    let mut running = start(&|command| lab.server().spawn(command));
    let said = eventually("it is called so", || Some(of_knockd()).filter(|said| said.severity != "fine"));
    // What has ended opens nothing, even before its parent has noticed.
    running.kill().expect("a child of ours");
    eventually("it has ended", || (of_knockd().severity == "fine").then_some(()));
    running.wait().expect("a child of ours");
    assert!(said.severity == "warning" && said.what.contains(&running.id().to_string()), "{said:?}");
    assert_eq!(of_knockd().severity, "fine");
}

/// What a kernel has, it may lack; whether the user is one of its own is known everywhere.
#[test]
fn barriers_are_tried_and_what_strict_would_refuse_is_a_problem() {
    let Some(lab) = Lab::if_possible() else { return };
    let of_barriers = |user: &str, sandbox: &str| -> Vec<Said> {
        let text = format!("user = \"{user}\"\nsandbox = \"{sandbox}\"\n{SSH_2S}");
        let (said, _) = read(&ssh(&lab).config(&text).doctor(&["--json"]));
        said.into_iter().filter(|it| it.look == "barriers").collect()
    };
    let of_root = |sandbox| of_barriers("root", sandbox).into_iter().find(|it| it.what.contains("own user"));
    let said = of_root("best-effort").expect("root is no user of its own");
    assert!(said.severity == "warning" && said.remedy.contains("account"), "{said:?}");
    assert_eq!(of_root("strict").expect("nor is it here").severity, "problem");
    let said = of_barriers("nobody", "strict");
    assert!(!said.iter().any(|it| it.what.contains("own user") || it.severity == "note"), "{said:?}");
    // The daemon finds the same.
    let strict = format!("user = \"nobody\"\nsandbox = \"strict\"\n{SSH_2S}");
    let daemon = ssh(&lab).own_code().config(&strict).launch();
    let has_begun = |entries: &[Entry]| {
        entries.iter().map(Entry::event).find(|event| ["ready", "mistake"].contains(event)).map(str::to_owned)
    };
    let begun = daemon.log().wait(SOON * 10, has_begun).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(begun == "ready", said.iter().all(|it| it.severity == "fine"), "{said:?}");
}

#[test]
fn mistakes_are_said_as_check_says_them_behind_what_can_be_looked_at() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = ssh(&lab).rule("knock", &KNOCK.replace("7000/udp", "70000/udp"));
    let output = setup.doctor(&["--json"]);
    let (said, code) = read(&output);
    assert_eq!(code, 2, "{said:?}");
    assert_eq!(output.stderr, setup.check().stderr);
    assert!(said.iter().any(|it| it.look == "guarded ports" && it.severity == "warning"), "{said:?}");
    assert!(said.iter().any(|it| it.look == "steps" && it.what.contains("not looked at")), "{said:?}");
    let setup = setup.config(
        "interfaces = 7
",
    );
    let (said, code) = read(&setup.doctor(&["--json"]));
    assert_eq!(code, 2, "{said:?}");
    assert!(said.iter().any(|it| it.look == "clock"), "{said:?}");
}

#[test]
fn without_root_it_says_what_it_could_not_look_at() {
    let Some(lab) = Lab::if_possible() else { return };
    if !has_users() {
        return skip("only one user here");
    }
    let _ssh = lab.tcp_service(22);
    let setup = ssh(&lab).user(64_997, &[]);
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(setup.dir(), everybody).expect("the folder is ours");
    let said = wrong(&setup.doctor(&["--json"]));
    let not_looked: Vec<_> = said
        .iter()
        .filter(|it| it.severity == "note" && it.what.contains("that takes root"))
        .map(|it| &*it.look)
        .collect();
    assert_eq!(not_looked, ["nftables", "other daemons", "other firewalls", "guarded ports"], "{said:?}");
    assert!(!said.iter().any(|it| it.look == "interfaces"), "{said:?}");
}

#[test]
fn a_program_that_others_can_write_is_a_warning_everywhere_it_is_looked_for_and_its_remedy_mends_it() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = ssh(&lab).file("tell", "#!/bin/sh\n");
    let program = setup.dir().join("tell");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let setup = setup.config(&format!("{SSH_2S}[[hooks]]\non = \"open\"\nrun = \"{}\"\n", program.display()));
    nothing_wrong(&setup);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o757)).expect("it is ours");
    let said = only(&setup, "configuration", "warning");
    let what = format!(
        "hooks[0].run: {}: everybody may write it, and could have something else run",
        program.display()
    );
    assert_eq!(said.what, what);
    let warned = String::from_utf8(setup.check().stderr).expect("it is text");
    assert_eq!(warned, format!("warning: {what}; {}\n", said.remedy));
    let daemon = setup.start();
    daemon.wait_for("advice", |entry| entry.text("detail") == format!("{what}; {}", said.remedy));
    let (setup, _) = daemon.stop();
    let done = lab.server_exec(&said.remedy.split(' ').collect::<Vec<_>>());
    assert!(done.status.success(), "{}", said.remedy);
    nothing_wrong(&setup);
}
