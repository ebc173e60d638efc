//! `posternd try`: whatever becomes of the daemon, what it closed is open again at the end, unless it was confirmed. Seen with real connections.

mod terminal;

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{
    CLIENT4, CLIENT6, Daemon, Lab, STRANGER4, STRANGER6, Setup, Signal, eventually, eventually_within,
    sleep_until,
};

use rustix::process::kill_process;

use crate::client::postern;
use crate::{A_WHILE, KNOCK, LATENESS, SOON, STEPS, STORY, greeted, is_alive, posternd};

/// Long enough to start within, on a machine that is busy with other tests.
const LASTS: Duration = Duration::from_secs(6);
/// As long as nothing ends by itself in a test.
const LONG: &str = "10m";

/// A door that stays open longer than anything is tried.
const CONFIG: &str = r#"
    interfaces = ["eth0"]
    [doors.ssh]
    guard = "tcp/22"
    for = "60s"
"#;

/// Something to try.
fn setup(lab: &Lab) -> Setup<'_> {
    posternd(lab).config(CONFIG).rule("knock", KNOCK)
}

/// Starts to try for [`LASTS`], and until when at the latest what is closed is open again.
fn try_briefly(setup: Setup<'_>) -> (Daemon<'_>, Instant) {
    let end = Instant::now() + LASTS + LATENESS;
    (setup.tried("6s").start(), end)
}

fn is_closed(lab: &Lab) -> bool {
    [STRANGER4, STRANGER6].iter().all(|stranger| lab.tcp(*stranger, 22, A_WHILE).is_silence())
}

fn is_open(lab: &Lab) -> bool {
    [STRANGER4, STRANGER6].iter().all(|stranger| lab.tcp_connects(*stranger, 22, A_WHILE))
}

/// That strangers get in at that time at the latest.
#[track_caller]
fn is_open_by(lab: &Lab, end: Instant) {
    let patience = end.saturating_duration_since(Instant::now());
    eventually_within(patience, "the port is open again", || is_open(lab).then_some(()));
}

fn has_table(lab: &Lab) -> bool {
    String::from_utf8_lossy(&lab.server_exec(&["nft", "list", "tables"]).stdout).contains("inet postern")
}

fn ask(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(postern());
    command.args(arguments).env("POSTERN_SOCKET", dir.join("run/control.sock"));
    command.output().expect("postern runs")
}

#[track_caller]
fn confirm(dir: &Path) {
    let said = ask(dir, &["confirm"]);
    assert!(said.status.success(), "{said:?}");
}

/// That the guard outlives the end of what was tried, and the daemon.
#[track_caller]
fn stays(lab: &Lab, daemon: Daemon<'_>, end: Instant) {
    sleep_until(end);
    assert!(is_closed(lab), "it was confirmed");
    let rules = lab.server_exec(&["nft", "list", "table", "inet", "postern"]);
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    assert!(!rules.contains("trial"), "{rules}");
    daemon.expect_none("try-over", |_| true);
    // It runs on, and stops as `posternd run` does.
    lab.knock(CLIENT6, STEPS);
    daemon.expect_story(CLIENT6, &STORY);
    daemon.stop();
    assert!(is_closed(lab), "it was confirmed");
}

/// All processes of a daemon, the first one first.
fn everything(daemon: &Daemon<'_>) -> Vec<String> {
    let roles = daemon.roles().into_iter().map(|(_, pid)| pid.as_raw_nonzero().to_string());
    std::iter::once(daemon.id().to_string()).chain(roles).collect()
}

fn signal_all(processes: &[String], signal: &str) {
    let sent = Command::new("kill").arg(signal).args(processes).output().expect("kill is there");
    // The first one takes the others with it.
    assert!(sent.status.success() || signal == "-KILL", "{sent:?}");
}

#[test]
fn unconfirmed_it_is_all_over_at_the_end() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let mut before = greeted(lab.tcp(STRANGER4, 22, SOON).connected());
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) };
        let (mut daemon, end) = try_briefly(setup);
        assert!(is_closed(&lab), "while it is tried");
        assert!(is_alive(&mut before), "what was there lives on");
        is_open_by(&lab, end);
        assert_eq!(daemon.wait_for_end().code(), Some(1));
        daemon.wait_for("try-over", |entry| entry.text("detail").contains("nobody confirmed within 6s"));
        assert!(is_open(&lab) && !has_table(&lab), "nothing is left of it");
        assert!(is_alive(&mut before));
    }
}

#[test]
fn a_confirmation_that_was_not_answered_confirms_nothing_later() {
    for is_killed in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let lasts = Duration::from_secs(14);
        let end = Instant::now() + lasts + LATENESS;
        let mut daemon = setup(&lab).tried("14s").start();
        let stopped = daemon.signal_role("doorman", Signal::STOP);
        let said = ask(daemon.dir(), &["confirm"]);
        assert!(!said.status.success(), "{said:?}");
        daemon.wait_for("try-not-confirmed", |_| true);
        // If it is still there it does now what it was asked for.
        let _ = kill_process(stopped, Signal::CONT);
        daemon.wait_for_next("doorman", stopped);
        if is_killed {
            signal_all(&everything(&daemon), "-KILL");
        }
        is_open_by(&lab, end);
        daemon.wait_for_end();
        sleep_until(end);
        assert!(is_open(&lab), "it was not confirmed");
    }
}

#[test]
fn killed_the_kernel_opens_it_all_the_same() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) };
        let (mut daemon, end) = try_briefly(setup);
        signal_all(&everything(&daemon), "-KILL");
        daemon.wait_for_end();
        assert!(is_closed(&lab) && has_table(&lab), "the guard outlives the daemon");
        is_open_by(&lab, end);
        // What is left can be tried again, and be put in force for good.
        let (again, _) = try_briefly(daemon.ended());
        assert!(is_closed(&lab));
        let (setup, _) = again.kill();
        let for_good = setup.for_good().start();
        sleep_until(Instant::now() + LASTS);
        assert!(is_closed(&lab), "`posternd run` is for good");
        for_good.stop();
    }
}

#[test]
fn hung_the_kernel_opens_it_all_the_same() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) };
        let (mut daemon, end) = try_briefly(setup);
        let processes = everything(&daemon);
        signal_all(&processes, "-STOP");
        assert!(is_closed(&lab));
        is_open_by(&lab, end);
        assert!(has_table(&lab), "nobody has touched it");
        // It goes on too late, and ends without closing anything again.
        signal_all(&processes, "-CONT");
        assert_eq!(daemon.wait_for_end().code(), Some(1));
        assert!(is_open(&lab) && !has_table(&lab));
    }
}

#[test]
fn a_doorman_that_hangs_or_dies_makes_it_no_longer() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let (mut daemon, end) = try_briefly(setup(&lab));
    let second = daemon.wait_for_next("doorman", daemon.signal_role("doorman", Signal::KILL));
    eventually("the next doorman is in place", || is_closed(&lab).then_some(()));
    daemon.signal_role("doorman", Signal::STOP);
    is_open_by(&lab, end);
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    assert!(!postern_tests::is_running(second), "it was ended");
    assert!(is_open(&lab) && !has_table(&lab), "it is removed without a doorman, too");
}

#[test]
fn what_a_reload_closes_meanwhile_goes_with_the_rest() {
    let Some(lab) = Lab::if_possible() else { return };
    let (_ssh, _web) = (lab.tcp_service(22), lab.tcp_service(80));
    let (mut daemon, end) = try_briefly(setup(&lab));
    let mark = daemon.log().mark();
    daemon.write("postern.toml", format!("{CONFIG}\n[doors.web]\nguard = \"tcp/80\"\n"));
    daemon.wait_since(mark, "reload", |_| true);
    assert!(is_closed(&lab) && lab.tcp(STRANGER4, 80, A_WHILE).is_silence());
    is_open_by(&lab, end);
    assert!(lab.tcp_connects(STRANGER4, 80, SOON), "it goes with the rest");
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    assert!(!has_table(&lab));
}

#[test]
fn confirmed_over_the_control_socket_it_stays() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) };
        let (daemon, end) = try_briefly(setup);
        let status = |part: &str| {
            let said = ask(daemon.dir(), &["status"]);
            String::from_utf8_lossy(&said.stdout).contains(part)
        };
        assert!(status("postern confirm keeps it"));
        confirm(daemon.dir());
        daemon.wait_for("try-confirmed", |_| true);
        assert!(is_closed(&lab), "at every moment");
        assert!(!status("postern confirm keeps it"));
        // There is nothing to confirm any more.
        assert!(!ask(daemon.dir(), &["confirm"]).status.success());
        stays(&lab, daemon, end);
    }
}

#[test]
fn a_knock_that_lets_somebody_in_confirms_it() {
    for (one_process, client) in [(false, CLIENT4), (true, CLIENT4), (false, CLIENT6)] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) };
        let (daemon, end) = try_briefly(setup);
        lab.knock(client, STEPS);
        daemon.expect_story(client, &STORY);
        let came_in = greeted(lab.tcp(client, 22, SOON).connected());
        daemon.wait_for("try-confirmed", |entry| entry.text("src") == client.to_string());
        drop(came_in);
        if client == CLIENT4 {
            stays(&lab, daemon, end);
        }
    }
}

#[test]
fn what_was_opened_by_hand_or_was_there_before_confirms_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let mut before = greeted(lab.tcp(CLIENT4, 22, SOON).connected());
    let (mut daemon, end) = try_briefly(setup(&lab));
    // A knock alone, with the connection of before.
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    assert!(is_alive(&mut before));
    // And an opening by hand with a new one.
    let said = ask(daemon.dir(), &["open", "ssh", &CLIENT6.to_string()]);
    assert!(said.status.success(), "{said:?}");
    let _by_hand = greeted(lab.tcp(CLIENT6, 22, SOON).connected());
    is_open_by(&lab, end);
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    daemon.expect_none("try-confirmed", |_| true);
}

#[test]
fn a_client_of_a_tenants_confirms_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let (_ssh, _web) = (lab.tcp_service(22), lab.tcp_service(80));
    // The tenant may even open the administrator's door.
    let config = format!(
        "{CONFIG}\n[doors.web]\nguard = \"tcp/80\"\nfor = \"60s\"\n[tenants.web]\nrules = \"web\"\n\
         grant.doors = [\"web\", \"ssh\"]\ngrant.any_port = true\ngrant.interfaces = [\"any\"]\n"
    );
    let rule = |door: &str, port: u16| {
        format!(
            "module = \"sequence\"\ndoor = \"{door}\"\n[settings]\nsequence = [\"{port}/udp\"]\nwithin = \"5s\"\n"
        )
    };
    let setup = setup(&lab).config(&config).file("web/web.toml", rule("web", 7100));
    let (mut daemon, end) = try_briefly(setup.file("web/ssh.toml", rule("ssh", 7101)));
    let mut inside = Vec::new();
    for (client, knock, port) in [(CLIENT4, "7100/udp", 80), (CLIENT6, "7101/udp", 22)] as [(IpAddr, _, _); 2]
    {
        lab.knock(client, knock);
        daemon.wait_for("open", |entry| entry.text("src") == client.to_string());
        inside.push(greeted(lab.tcp(client, port, SOON).connected()));
    }
    // They are there for as long as it is looked who has come in.
    is_open_by(&lab, end);
    assert_eq!(inside.len(), 2);
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    daemon.expect_none("try-confirmed", |_| true);
}

#[test]
fn stopped_before_it_is_confirmed_it_is_over_at_once() {
    for (one_process, signal) in
        [(false, Signal::TERM), (false, Signal::HUP), (true, Signal::INT), (true, Signal::HUP)]
    {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) };
        let mut daemon = setup.tried(LONG).start();
        assert!(is_closed(&lab));
        daemon.signal(signal);
        eventually("the port is open again", || is_open(&lab).then_some(()));
        assert_eq!(daemon.wait_for_end().code(), Some(1), "{signal:?}");
        assert!(!has_table(&lab));
    }
}

#[test]
fn a_configuration_with_mistakes_leaves_nothing_closed() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) };
        let mut daemon = setup.rule("knock", "module = \"sequence\"\ndoor = \"shs\"\n").tried(LONG).launch();
        assert_eq!(daemon.wait_for_end().code(), Some(1));
        assert!(is_open(&lab) && !has_table(&lab));
        // Not that it stays closed.
        daemon.wait_for("start-refused", |entry| entry.text("guards").is_empty());
    }
}

#[test]
fn without_a_guard_there_is_nothing_to_try() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) };
        let lamp = "interfaces = [\"eth0\"]\n[doors.ssh]\nopen = [\"/bin/true\"]\n";
        let mut daemon = setup.config(lamp).tried(LONG).launch();
        daemon.wait_for("try-over", |entry| entry.text("detail").contains("no door guards a port"));
        assert_eq!(daemon.wait_for_end().code(), Some(1));
    }
}

#[test]
fn what_is_closed_for_good_is_not_tried() {
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = if one_process { setup(&lab).one_process() } else { setup(&lab) };
        let running = setup.start();
        // Beside a daemon that runs, with its configuration.
        let other = posternd(&lab).config(CONFIG).rule("knock", KNOCK);
        let mut other = if one_process { other.one_process() } else { other }.tried(LONG).launch();
        assert_eq!(other.wait_for_end().code(), Some(3), "it does not wait");
        assert!(is_closed(&lab));
        // And after it has stopped.
        let (setup, _) = running.stop();
        let mut again = setup.tried(LONG).launch();
        assert_eq!(again.wait_for_end().code(), Some(3));
        assert!(is_closed(&lab) && has_table(&lab));
    }
}

#[test]
fn the_door_works_while_it_is_tried() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let short = CONFIG.replace("60s", "2s");
    let daemon = setup(&lab).config(&short).tried(LONG).start();
    for client in [CLIENT4, CLIENT6] as [IpAddr; 2] {
        lab.knock(client, STEPS);
        daemon.expect_story(client, &STORY);
        assert!(lab.tcp_connects(client, 22, SOON));
        thread::sleep(Duration::from_secs(2));
        eventually("its time is over", || lab.tcp(client, 22, A_WHILE).is_silence().then_some(()));
    }
    drop(daemon.kill());
}
