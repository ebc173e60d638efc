//! What `posternd knockd` says besides knockd's words, and what it does not say.

use postern_tests::{CLIENT4, Lab, Signal, eventually, skip};

use super::Knockd;
use crate::PROGRAM;

const CONF: &str = "[SSH]\nsequence = 1111:udp,2222:udp\ncommand = true\n";

#[test]
fn debug_lines_tell_why_a_client_starts_over() {
    let Some(lab) = Lab::if_possible() else { return };
    let knockd = Knockd::start(&lab, &format!("[options]\nlogfile = DIR/log\n{CONF}"), &["-D"], &[]);
    lab.knock(CLIENT4, "1111/udp 1111/udp");
    let said = format!("{CLIENT4}: SSH: starts over: step 2 should be 2222/udp, was 1111/udp\n");
    eventually("why", || knockd.read("stdout").contains(&said).then_some(()));
    // As with knockd, that is said only on request.
    assert!(!knockd.read("log").contains("starts over"), "{}", knockd.read("log"));
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

#[test]
fn a_reload_with_mistakes_names_them_in_the_log() {
    let Some(lab) = Lab::if_possible() else { return };
    let knockd = Knockd::start(&lab, &format!("[options]\nlogfile = DIR/log\n{CONF}"), &[], &[]);
    std::fs::write(knockd.path("knockd.conf"), "[a]\nsequenc = 7:udp\nsequence = 0\n").unwrap();
    knockd.signal(Signal::HUP);
    let path = knockd.path("knockd.conf");
    let said = format!("config: 2 mistakes in {}; the running configuration is unchanged\n", path.display());
    eventually("that nothing changed", || knockd.read("log").contains(&said).then_some(()));
    for said in [":2: config: line 2: syntax error; ", ":3: config: section a: port 0 is invalid; "] {
        assert!(knockd.read("log").contains(said), "{said}: {}", knockd.read("log"));
    }
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

/// Only SIGHUP reloads a knockd.conf, so nothing is watched, and no message says that it cannot be.
#[test]
fn no_instance_of_inotify_is_needed() {
    let Some(lab) = Lab::if_possible() else { return };
    let dir = tempfile::TempDir::with_prefix("postern-").unwrap();
    let conf = dir.path().join("knockd.conf");
    std::fs::write(&conf, CONF).unwrap();
    // In a user namespace of its own the limit affects no other process. There it may capture on nothing, and goes on all the same.
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" knockd -d -c \"$1\" -p \"$2/pid\" -i lo";
    let run = ["unshare", "--user", "--map-root-user", "--", "sh", "-c", script, PROGRAM];
    let [conf, folder] = [conf.as_path(), dir.path()].map(|path| path.to_str().unwrap());
    let done = lab.server_exec(&[&run[..], &[conf, folder]].concat());
    let said = String::from_utf8_lossy(&done.stderr);
    if said.contains("max_inotify_instances") || said.contains("unshare") {
        return skip(&format!("no limit of its own for inotify: {said}"));
    }
    assert!(done.status.success(), "{said}");
    for wrong in ["mistake", "unchanged", "noticed", "inotify"] {
        assert!(!said.contains(wrong), "{wrong}: {said}");
    }
    let pid: i32 = std::fs::read_to_string(dir.path().join("pid")).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
}
