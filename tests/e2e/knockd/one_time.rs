//! One-time sequences under `posternd knockd`: each opens once, and nothing but the line that was used is crossed out.

use std::fs;
use std::process::Command;

use postern_tests::{CLIENT4, CLIENT6, Lab, Signal, eventually};

use super::Knockd;

#[test]
fn one_time_sequences_open_once_each_and_the_last_one_leaves_the_daemon_running() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "[once]\none_time_sequences = DIR/once\ncommand = echo %IP% $(head -c 40 DIR/once | tr '\\n' ' ') >> DIR/journal\n[other]\nsequence = 9:udp\ncommand = echo other >> DIR/journal\n";
    let knockd = Knockd::start(&lab, conf, &[], &[("once", "junk:x\n1:udp,2:udp\n 3:udp\n")]);
    lab.knock(CLIENT4, "1/udp 2/udp");
    // Crossed out before the command runs, and the broken line before it stays.
    assert_eq!(knockd.lines("journal", 1), [format!("{CLIENT4} junk:x #:udp,2:udp 3:udp")]);
    lab.knock(CLIENT4, "1/udp 2/udp");
    eventually("the next sequence", || {
        lab.knock(CLIENT6, "3/udp");
        (knockd.read("journal").lines().count() > 1).then_some(())
    });
    assert_eq!(knockd.read("once"), "junk:x\n#:udp,2:udp\n#3:udp\n");
    eventually("the door is disabled", || knockd_is_disabled(&lab, &knockd).then_some(()));
    lab.knock(CLIENT4, "9/udp");
    let journal = knockd.lines("journal", 3);
    assert_eq!((journal.len(), journal[2].as_str()), (3, "other"), "{journal:?}");
    assert_eq!(knockd.end(Signal::INT).code(), Some(2));
}

/// Whether a used sequence is not even noticed any more.
fn knockd_is_disabled(lab: &Lab, knockd: &Knockd) -> bool {
    let before = knockd.read("stdout").matches("once: Stage 1").count();
    lab.knock(CLIENT4, "3/udp 9999/udp");
    knockd.read("stdout").matches("once: Stage 1").count() == before
}

#[test]
fn a_file_that_was_replaced_opens_nothing_and_stays_as_it_is_until_sighup() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "[options]\nlogfile = DIR/log\n[once]\none_time_sequences = DIR/once\ncommand = echo open >> DIR/journal\n\
                [other]\nsequence = 9:udp\ncommand = echo other >> DIR/journal\n";
    let knockd = Knockd::start(&lab, conf, &[], &[("once", "1:udp,2:udp\n3:udp,4:udp\n")]);
    let (other, path) = ("5:udp,6:udp\n7:udp,8:udp\n", knockd.path("once"));
    fs::write(knockd.path("new"), other).unwrap();
    fs::rename(knockd.path("new"), &path).unwrap();
    lab.knock(CLIENT4, "1/udp 2/udp");
    let words = format!(
        "error while disabling used one time sequence for door once --> disabling the door: {} was changed or replaced and has \
         another line in the place of the one that was used; SIGHUP reads it anew",
        path.display()
    );
    eventually("why it is disabled", || knockd.read("stderr").contains(&words).then_some(()));
    assert_eq!(knockd.read("log").matches(&words).count(), 1, "{}", knockd.read("log"));
    // Neither the old sequence nor the new one opens.
    lab.knock(CLIENT4, "1/udp 2/udp");
    lab.knock(CLIENT6, "5/udp 6/udp");
    lab.knock(CLIENT4, "9/udp");
    assert_eq!(knockd.lines("journal", 1), ["other"]);
    assert_eq!(knockd.read("once"), other);

    knockd.signal(Signal::HUP);
    eventually("the new sequence", || {
        lab.knock(CLIENT6, "5/udp 6/udp");
        knockd.read("journal").contains("open").then_some(())
    });
    assert_eq!(knockd.read("once"), "#:udp,6:udp\n7:udp,8:udp\n");
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}

/// A line that is spelled in another way, or has moved behind another, is the same or not by what it says and where.
#[test]
fn a_file_that_was_written_anew_with_the_same_line_at_its_place_goes_on() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "[once]\none_time_sequences = DIR/once\ncommand = echo open >> DIR/journal\n";
    let knockd = Knockd::start(&lab, conf, &[], &[("once", "1:udp,2:udp\n")]);
    fs::write(knockd.path("once"), "1:UDP,2:UDP\n3:udp\n").unwrap();
    lab.knock(CLIENT4, "1/udp 2/udp");
    assert_eq!(knockd.lines("journal", 1), ["open"]);
    assert_eq!(knockd.read("once"), "#:UDP,2:UDP\n3:udp\n");
}

#[test]
fn a_line_that_is_no_sequence_is_told_at_the_start_and_skipped() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "[once]\none_time_sequences = DIR/once\ncommand = echo open >> DIR/journal\n";
    let knockd = Knockd::start(&lab, conf, &[], &[("once", "PORTS\n1:udp\n")]);
    let said = "config: section once: port PORTS is invalid\n";
    assert!(knockd.read("stderr").contains(said), "{}", knockd.read("stderr"));
    lab.knock(CLIENT4, "1/udp");
    assert_eq!(knockd.lines("journal", 1), ["open"]);
    assert_eq!(knockd.read("once"), "PORTS\n#:udp\n");
}

#[test]
fn a_half_finished_knock_is_none_at_the_next_one_time_sequence_though_it_has_the_same_steps() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf =
        "[once]\none_time_sequences = DIR/once\nseq_timeout = 60\ncommand = echo %IP% >> DIR/journal\n";
    let knockd = Knockd::start(&lab, conf, &[], &[("once", &"1:udp,2:udp\n".repeat(3))]);
    lab.knock(CLIENT6, "1/udp");
    // With the next sequence comes a door that tells when it is there.
    let there = format!("{conf}[there]\nsequence = 9:udp\ncommand = touch DIR/there\n");
    let there = there.replace("DIR", knockd.path("").to_str().unwrap());
    fs::write(knockd.path("knockd.conf"), there).unwrap();
    lab.knock(CLIENT4, "1/udp 2/udp");
    eventually("the next sequence", || {
        lab.knock(CLIENT4, "9/udp");
        knockd.path("there").exists().then_some(())
    });
    lab.knock(CLIENT6, "2/udp");
    lab.knock(CLIENT4, "1/udp 2/udp");
    assert_eq!(knockd.lines("journal", 2), [CLIENT4.to_string(), CLIENT4.to_string()]);
}

#[test]
fn a_pipe_in_the_place_of_the_file_disables_its_door_and_holds_up_no_other() {
    let Some(lab) = Lab::if_possible() else { return };
    let conf = "[once]\none_time_sequences = DIR/once\ncommand = echo once >> DIR/journal\n[other]\nsequence = 9:udp\ncommand = echo other >> DIR/journal\n";
    let knockd = Knockd::start(&lab, conf, &[], &[("once", "1:udp,2:udp\n")]);
    fs::remove_file(knockd.path("once")).unwrap();
    assert!(Command::new("mkfifo").arg(knockd.path("once")).status().unwrap().success());
    lab.knock(CLIENT4, "1/udp 2/udp");
    lab.knock(CLIENT6, "9/udp");
    assert_eq!(knockd.lines("journal", 1), ["other"]);
    let said = "Not a regular file";
    eventually(said, || knockd.read("stderr").contains(said).then_some(()));
    assert_eq!(knockd.end(Signal::TERM).code(), Some(15));
}
