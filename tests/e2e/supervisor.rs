//! The supervisor: what becomes of the others when it is killed, and what goes on while it stands still.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{
    CLIENT4, CLIENT6, Daemon, Lab, Random, Signal, eventually, eventually_within, is_running, rounds,
    sleep_until,
};

use crate::strangers::while_strangers_try;
use crate::{A_WHILE, KNOCK, LATENESS, SOON, SSH_2S, STEPS, posternd};

/// No role may outlive the supervisor by more than this.
const LAST: Duration = Duration::from_secs(2);
/// A step to the lamp.
const LAMP: &str = "module = \"sequence\"\ndoor = \"lamp\"\n[settings]\nsequence = [\"7001/udp\"]\n";

/// A guarded port, and a door of commands that is open for so long.
fn config(dir: &Path, lasts: &str) -> String {
    let command =
        |verb: &str| format!(r#"["/bin/sh", "-c", "echo {verb} $0 >> {}/ran", "{{ip}}"]"#, dir.display());
    let (on, off) = (command("on"), command("off"));
    format!("{SSH_2S}\n[doors.lamp]\nopen = {on}\nclose = {off}\nfor = \"{lasts}\"\n")
}

/// What ran, a line a command.
fn ran(dir: &Path) -> Vec<String> {
    let ran = fs::read_to_string(dir.join("ran")).unwrap_or_default();
    ran.lines().map(str::to_owned).collect()
}

/// Knocks until the port opens: of what was sent while a process was away nothing is seen.
#[track_caller]
fn opens(lab: &Lab, client: std::net::IpAddr) {
    eventually("a knock opens", || {
        lab.knock(client, STEPS);
        lab.tcp_connects(client, 22, A_WHILE).then_some(())
    });
}

/// The rounds are many more when `POSTERN_ROUNDS` says so.
#[test]
fn when_the_supervisor_is_killed_no_role_outlives_it_and_the_next_start_takes_up_what_was_open() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let rounds = rounds(4);
    let mut random = Random::of_environment(20_261_127);
    let setup = posternd(&lab);
    let dir: PathBuf = setup.dir().to_owned();
    let count = |verb: &str| ran(&dir).iter().filter(|line| line.starts_with(verb)).count();
    let mut setup = setup.config(&config(&dir, "1h")).rule("knock", KNOCK).rule("lamp", LAMP);
    // The guard is up before the first stranger comes.
    setup = setup.start().kill().0;
    let setup = while_strangers_try(&lab, || {
        for round in 0..rounds {
            let daemon = setup.start();
            let client = if round % 2 == 0 { CLIENT4 } else { CLIENT6 };
            opens(&lab, client);
            let roles = daemon.roles();
            assert!(roles.len() >= 3, "{roles:?}");
            let lit = count("on ");
            lab.knock(client, "7001/udp");
            eventually("the lamp is lit", || (count("on ") > lit).then_some(()));
            // More is under way.
            lab.knock(if round % 2 == 0 { CLIENT6 } else { CLIENT4 }, &format!("7001/udp {STEPS}"));
            thread::sleep(Duration::from_micros(random.number() % 40_000));
            setup = daemon.kill().0;
            for (role, pid) in roles {
                eventually_within(LAST, &format!("the end of the {role}"), || {
                    (!is_running(pid)).then_some(())
                });
            }
            eventually("the client's time is over", || {
                lab.tcp(client, 22, A_WHILE).is_silence().then_some(())
            });
        }
        setup
    });
    // What all of them left open is closed by the stop of the last: each at least once, since what a runner notes goes with the supervisor.
    let daemon = setup.start();
    opens(&lab, CLIENT4);
    // With it goes its folder.
    let (_setup, _) = daemon.stop();
    println!("{} times on and {} times off over {rounds} kill -9", count("on "), count("off "));
    assert!(count("on ") > 0 && count("off ") >= count("on "), "{:?}", ran(&dir));
}

#[test]
fn while_the_supervisor_stands_still_doors_open_and_close_on_time() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = posternd(&lab);
    let dir = setup.dir().to_owned();
    let daemon = setup.config(&config(&dir, "1s")).rule("knock", KNOCK).rule("lamp", LAMP).start();
    opens(&lab, CLIENT4);
    let before = daemon.roles();
    let still_for = Duration::from_secs(5);
    while_strangers_try(&lab, || {
        daemon.signal(Signal::STOP);
        let until = Instant::now() + still_for;
        while_still(&daemon, &lab, &dir);
        sleep_until(until);
        daemon.signal(Signal::CONT);
    });
    lab.knock(CLIENT6, STEPS);
    assert!(lab.tcp_connects(CLIENT6, 22, SOON));
    // It says what happened meanwhile, and has replaced nobody.
    daemon.wait_for("close", |entry| entry.text("door") == "lamp");
    assert_eq!(daemon.roles(), before);
    daemon.stop();
}

/// Both doors open once and close again.
#[track_caller]
fn while_still(daemon: &Daemon<'_>, lab: &Lab, dir: &Path) {
    let knocked = Instant::now();
    lab.knock(CLIENT6, STEPS);
    lab.knock(CLIENT6, "7001/udp");
    // A client whose first packet came too soon tries again after a second, and the lamp is out by then.
    assert!(lab.tcp_connects(CLIENT6, 22, SOON), "the port is opened");
    eventually("the lamp is lit", || (!ran(dir).is_empty()).then_some(()));
    // What was said before it stood still has been read by now.
    let mark = daemon.log().mark();
    eventually("the lamp is put out", || (ran(dir).len() == 2).then_some(()));
    assert_eq!(ran(dir), [format!("on {CLIENT6}"), format!("off {CLIENT6}")]);
    let lasted = knocked.elapsed();
    assert!((Duration::from_secs(1)..Duration::from_secs(1) + LATENESS).contains(&lasted), "{lasted:?}");
    eventually("the port is closed", || lab.tcp(CLIENT6, 22, A_WHILE).is_silence().then_some(()));
    let lasted = knocked.elapsed();
    assert!(lasted < Duration::from_secs(2) + LATENESS, "{lasted:?}");
    assert_eq!(daemon.log().mark(), mark, "the supervisor says nothing, since it stands still");
}
