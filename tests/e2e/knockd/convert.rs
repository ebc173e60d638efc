//! `posternd knockd --convert`: what its status and its last line say is so.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::PROGRAM;

/// Converts this knockd.conf; the folder has a file `once` of one-time sequences.
fn convert(conf: &str) -> (Output, String) {
    let dir = TempDir::with_prefix("postern-").unwrap();
    let path = dir.path().join("knockd.conf");
    fs::write(dir.path().join("once"), "1,2,3\n").unwrap();
    fs::write(&path, conf.replace("DIR", dir.path().to_str().unwrap())).unwrap();
    let done = Command::new(PROGRAM).args(["knockd", "--convert", "-c"]).arg(&path).output().unwrap();
    let last = String::from_utf8_lossy(&done.stderr).lines().last().unwrap_or_default().to_owned();
    (done, last)
}

/// Cuts what was printed into files, and has `posternd check` look at them.
fn check(printed: &[u8]) -> Output {
    let dir = TempDir::with_prefix("postern-").unwrap();
    fs::create_dir(dir.path().join("rules")).unwrap();
    let text = format!("\n{}", String::from_utf8_lossy(printed));
    for file in text.split("\n# --- ").skip(1) {
        let (name, content) = file.split_once(" ---\n").unwrap();
        fs::write(dir.path().join(name), content).unwrap();
    }
    Command::new(PROGRAM).args(["check", "-c"]).arg(dir.path().join("postern.toml")).output().unwrap()
}

const SSH: &str = "\
[options]
UseSyslog
[SSH]
sequence = 1111:udp,2222:udp
start_command = /sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
cmd_timeout = 600
stop_command = /sbin/iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
";
const ONCE: &str = "[once]\none_time_sequences = DIR/once\ncommand = true\ncommand_6 = true\n";

#[test]
fn what_is_whole_has_status_0_and_passes() {
    let (done, last) = convert(SSH);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(
        last,
        "knockd: what is printed passes `posternd check`; nothing is left out; not needed any more: UseSyslog"
    );
    let checked = check(&done.stdout);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn what_is_left_out_is_named_with_status_2() {
    let script = "[script]\nsequence = 5\ncommand = /usr/local/bin/open %IP%\n";
    let (done, last) = convert(&[SSH, ONCE, script].concat());
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    for said in [
        "passes `posternd check`; left out: ",
        "the section [once] (One_Time_Sequences cannot be said",
        "clients of the section [script] (without Start_Command_6 clients of IPv6 open nothing)",
    ] {
        assert!(last.contains(said), "{said}: {last}");
    }
    let checked = check(&done.stdout);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn what_does_not_pass_has_status_1() {
    let (done, last) = convert(ONCE);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(last.contains("does not pass `posternd check`; left out: the section [once]"), "{last}");
    let (done, last) = convert("[a]\nsequence = 1\ntarget = host\ncommand = true\n");
    assert_eq!((done.status.code(), &*done.stdout), (Some(1), &b""[..]), "{done:?}");
    assert!(
        String::from_utf8_lossy(&done.stderr).contains("the target `host` is not an address"),
        "{done:?}"
    );
    assert_eq!(last, "knockd: nothing is printed");
}

#[test]
fn what_cannot_be_printed_has_status_1() {
    let dir = TempDir::with_prefix("postern-").unwrap();
    let path = dir.path().join("knockd.conf");
    fs::write(&path, SSH).unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(PROGRAM);
    let done = command.args(["knockd", "--convert", "-c"]).arg(&path).stdout(full).output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.ends_with("knockd: not all could be printed: No space left on device\n"), "{said}");
}
