//! How many packets came through an opening, as `postern doors` says.

use postern_tests::{CLIENT4, Daemon, Lab, eventually};
use rustix::process::Signal;
use serde_json::Value;

use super::{CONFIG, ask, objects, said};
use crate::{KNOCK, SOON, STEPS, STORY, posternd};

/// What is said of the one opening; none also if there is none at the moment.
fn packets(daemon: &Daemon<'_>) -> Option<u64> {
    let output = ask(daemon, &["doors", "--json"]);
    // The next engine may not answer yet.
    let doors = if output.status.success() { objects(&output) } else { Vec::new() };
    assert!(doors.len() <= 1, "{doors:?}");
    doors.first()?["packets"].as_u64()
}

/// Connects so often, and how many packets came through at least then.
fn connect(lab: &Lab, times: u64) -> u64 {
    for _ in 0..times {
        assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    }
    // One to ask for the connection and one to confirm it.
    2 * times
}

fn reaches(daemon: &Daemon<'_>, least: u64) -> u64 {
    // A number is told again for a second.
    eventually("the packets", || packets(daemon).filter(|packets| *packets >= least))
}

#[test]
fn what_came_through_a_door_is_told_whichever_process_dies_meanwhile() {
    let Some(lab) = super::lab_with_users() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    let least = connect(&lab, 5);
    let mut counted = reaches(&daemon, least);
    // No packet of a connection that is closed at once counts twice; the kernel may have to send some again.
    assert!(counted <= 5 * 20, "{counted}");
    let table = said(&ask(&daemon, &["doors"]), 0);
    let column = table.lines().next().unwrap().find("PACKETS").expect("it has a column");
    let told = table.lines().nth(1).unwrap()[column..].split_whitespace().next().unwrap().to_owned();
    assert!(told.parse::<u64>().is_ok_and(|packets| packets >= least), "{table}");

    // Whatever happens, it goes on from there.
    lab.knock(CLIENT4, STEPS);
    daemon.wait_for("extend", |_| true);
    counted = reaches(&daemon, counted + connect(&lab, 1));
    for role in ["doorman", "engine"] {
        let killed = daemon.signal_role(role, Signal::KILL);
        daemon.wait_for_settled(role, killed);
        counted = reaches(&daemon, counted + connect(&lab, 1));
    }
    daemon.stop();
}

#[test]
fn a_doorman_that_hangs_keeps_only_the_number_back() {
    let Some(lab) = super::lab_with_users() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    let least = connect(&lab, 2);
    reaches(&daemon, least);
    daemon.signal_role("doorman", Signal::STOP);
    let (table, took) = eventually("an answer without the number", || {
        let begun = std::time::Instant::now();
        let table = said(&ask(&daemon, &["doors"]), 0);
        let is_unknown = table.lines().nth(1)?.split_whitespace().any(|cell| cell == "-");
        is_unknown.then(|| (table, begun.elapsed()))
    });
    assert!(table.lines().nth(1).unwrap().starts_with("ssh   10.77.0.2"), "{table}");
    assert!(took < SOON, "{took:?}");
    daemon.signal_role("doorman", Signal::CONT);
    reaches(&daemon, least + connect(&lab, 1));
    daemon.stop();
}

#[test]
fn one_process_counts_as_well_and_a_command_door_never_does() {
    let Some(lab) = super::lab_with_users() else { return };
    let _ssh = lab.tcp_service(22);
    let config =
        format!("{CONFIG}\n[doors.lamp]\nopen = [\"/bin/true\"]\nclose = [\"/bin/true\"]\nfor = \"60s\"\n");
    let daemon = posternd(&lab).config(&config).rule("knock", KNOCK).one_process().start();
    for door in ["ssh", "lamp"] {
        said(&ask(&daemon, &["open", door, &CLIENT4.to_string()]), 0);
    }
    let least = connect(&lab, 4);
    let doors = eventually("the packets", || {
        let doors = objects(&ask(&daemon, &["doors", "--json"]));
        let of = |name: &str| doors.iter().find(|door| door["door"] == name).cloned();
        let (ssh, lamp) = (of("ssh")?, of("lamp")?);
        (ssh["packets"].as_u64()? >= least).then_some((ssh, lamp))
    });
    assert_eq!((&doors.1["kind"], &doors.1["packets"]), (&"command".into(), &Value::Null), "{doors:?}");
    daemon.stop();
}
