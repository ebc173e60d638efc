//! How a daemon starts and ends, and what it leaves behind.

use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, CLIENT6, Lab, STRANGER4, Signal, eventually};

use crate::{A_WHILE, KNOCK, LATENESS, SOON, SSH_2S, STEPS, STORY, posternd};

#[test]
fn after_a_kill_the_kernel_closes_on_time_and_no_client_gets_in() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, STEPS);
    let opened = daemon.wait_for("open", |_| true).read_at;
    let (setup, _) = daemon.kill();
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence());
    let closed = eventually("the kernel closes the door", || {
        lab.tcp(CLIENT4, 22, Duration::from_millis(20)).is_silence().then(Instant::now)
    });
    let lasted = closed - opened;
    assert!(lasted > Duration::from_millis(1900) && lasted < Duration::from_secs(2) + LATENESS, "{lasted:?}");
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    // Not even those who knock.
    lab.knock(CLIENT4, STEPS);
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());

    let daemon = setup.start();
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    daemon.stop();
}

#[test]
fn a_new_daemon_takes_over_what_a_killed_one_left_open() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let config = SSH_2S.replace("2s", "5s");
    let daemon = posternd(&lab).config(&config).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, STEPS);
    lab.knock(CLIENT6, STEPS);
    let opened = daemon.wait_for("open", |entry| entry.text("src") == CLIENT4.to_string()).read_at;
    daemon.expect_story(CLIENT6, &STORY);
    let (setup, _) = daemon.kill();
    let daemon = setup.start();
    for client in [CLIENT4, CLIENT6] {
        assert!(lab.tcp_connects(client, 22, SOON), "{client}");
    }
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence());
    let close = daemon.wait_for("close", |entry| entry.text("src") == CLIENT4.to_string());
    assert_eq!((close.text("door"), close.text("reason")), ("ssh", "expired"));
    let lasted = close.since(opened);
    assert!(lasted > Duration::from_millis(4900) && lasted < Duration::from_secs(5) + LATENESS, "{lasted:?}");
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    daemon.stop();
}

#[test]
fn a_second_daemon_says_that_there_is_a_first_and_waits() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let first = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let mut second = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).launch();
    second.wait_for("table-taken", |_| true);
    lab.knock(CLIENT4, STEPS);
    first.expect_story(CLIENT4, &STORY);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    second.signal(Signal::TERM);
    assert!(second.wait_for_end().success());
    first.stop();
}

#[test]
fn a_stop_leaves_guarded_ports_closed_and_openings_to_the_kernel_and_undoes_commands() {
    for signal in [Signal::TERM, Signal::INT] {
        let Some(lab) = Lab::if_possible() else { return };
        let _ssh = lab.tcp_service(22);
        let setup = posternd(&lab);
        let journal = setup.dir().join("journal");
        let config = format!(
            "{SSH_2S}\n[doors.lamp]\nopen = [\"/bin/true\"]\nclose = [\"/usr/bin/touch\", {journal:?}]\nfor = \"1h\"\n"
        );
        let rule = KNOCK.replace("door = \"ssh\"", "door = \"lamp\"").replace("000/", "001/");
        let mut daemon = setup.config(&config).rule("knock", KNOCK).rule("lamp", &rule).start();
        lab.knock(CLIENT4, "7001/udp 8001/tcp 9001/udp");
        daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "open lamp"]);
        lab.knock(CLIENT6, STEPS);
        daemon.expect_story(CLIENT6, &STORY);

        let asked = Instant::now();
        daemon.signal(signal);
        let status = daemon.wait_for_end();
        assert!(status.success() && asked.elapsed() < SOON, "{status} after {:?}", asked.elapsed());
        daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "open lamp", "close lamp stopping"]);
        assert!(journal.exists());
        let events: Vec<_> = daemon.log().entries().iter().map(|entry| entry.event().to_owned()).collect();
        assert_eq!(events.last().map(String::as_str), Some("stop"), "{events:?}");

        assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
        eventually("the kernel closes what was left open", || {
            lab.tcp(CLIENT6, 22, Duration::from_millis(20)).is_silence().then_some(())
        });
    }
}

#[test]
fn check_says_every_mistake_and_starts_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S).rule("knock", KNOCK);
    let good = setup.check();
    let (out, err) = (String::from_utf8_lossy(&good.stdout), String::from_utf8_lossy(&good.stderr));
    assert!(good.status.success() && !out.is_empty() && err.is_empty(), "{good:?}");

    let setup = setup.rule("knock", &KNOCK.replace("\"ssh\"", "\"shh\"")).rule("other", "module = 7\n");
    let bad = setup.check();
    let (out, err) = (String::from_utf8_lossy(&bad.stdout), String::from_utf8_lossy(&bad.stderr));
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    assert!(
        out.is_empty() && err.contains("rules/knock.toml:3") && err.contains("rules/other.toml:1"),
        "{err}"
    );
    let tables = lab.server_exec(&["nft", "list", "tables"]);
    assert_eq!(String::from_utf8_lossy(&tables.stdout), "", "check touched the firewall");

    let mut daemon = setup.launch();
    assert!(!daemon.wait_for_end().success(), "a daemon does not start with mistakes");
}
