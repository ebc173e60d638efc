//! What knockd's log says of a journal that cannot be written, and what runs all the same.

use postern_tests::{CLIENT4, CLIENT6, Lab, Signal, eventually};
use tempfile::TempDir;

use super::{ARTICLE, Knockd};
use crate::disk::Disk;

fn start(lab: &Lab, state: &std::path::Path, conf: &str) -> Knockd {
    let dir = TempDir::with_prefix("postern-").unwrap();
    let conf = conf.replace("UseSyslog", "LogFile = DIR/log");
    let knockd = Knockd::launch_in(lab, dir, state, &conf, &[], &[]);
    eventually("knockd listens", || knockd.read("stdout").contains("listening on").then_some(()));
    knockd
}

#[test]
fn on_a_full_disk_commands_run_as_knockds_do_and_the_log_says_what_a_crash_would_leave() {
    let Some(lab) = Lab::if_possible() else { return };
    let disk = Disk::new();
    let knockd = start(&lab, &disk.state(), &ARTICLE.replace("cmd_timeout = 1", "cmd_timeout = 3"));
    let command = |verb: &str, client| {
        format!("-{verb} INPUT -s {client} -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT")
    };
    disk.fill();
    lab.knock(CLIENT4, "1111/udp 2222/udp");
    assert_eq!(knockd.lines("journal", 2), [command("I", CLIENT4), command("D", CLIENT4)]);
    let log = knockd.read("log");
    let said =
        format!("SSH is opened for {CLIENT4} all the same, but the journal {}", disk.state().display());
    for said in
        [&*said, "No space left on device", "if this daemon is killed, it stays open", "SSH: OPEN SESAME"]
    {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert!(!log.contains("0:SSH") && !knockd.read("stderr").contains("0:SSH"), "{log}");

    disk.free();
    eventually("the journal can be written again", || {
        knockd.read("log").contains("can be written again").then_some(())
    });
    lab.knock(CLIENT6, "1111/udp 2222/udp");
    knockd.lines("journal", 3);
    let before = knockd.read("log").matches("all the same").count();
    assert_eq!(before, 1, "the second one is written down");
    assert_eq!(knockd.end(Signal::KILL).code(), None);
    // Its folder is gone with it, but not what it wrote down.
    let next = start(&lab, &disk.state(), "[options]\nUseSyslog\nInterface = eth0\n");
    let said = "running command: ";
    eventually("the stop command", || next.read("stdout").contains(said).then_some(()));
    assert!(next.read("stdout").contains(&command("D", CLIENT6)), "{}", next.read("stdout"));
    assert_eq!(next.end(Signal::TERM).code(), Some(15));
}

#[test]
fn without_a_journal_commands_run_and_the_log_says_so_at_the_start() {
    let Some(lab) = Lab::if_possible() else { return };
    let no_folder = tempfile::NamedTempFile::new().unwrap();
    let knockd = start(&lab, no_folder.path(), ARTICLE);
    let log = knockd.read("log");
    let said = format!("the state folder {} cannot be made", no_folder.path().display());
    assert!(log.contains(&said) && log.contains("if this daemon is killed"), "{log}");
    lab.knock(CLIENT4, "1111/udp 2222/udp");
    assert_eq!(knockd.lines("journal", 2).len(), 2);
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}
