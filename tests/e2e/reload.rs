//! Rules change while the daemon runs and clients knock.

use postern_tests::{CLIENT4, CLIENT6, Daemon, Entry, Lab, Signal, eventually};

use crate::{A_WHILE, KNOCK, LATENESS, SOON, SSH_2S, STEPS, STORY, posternd};

#[test]
fn an_edit_between_two_steps_loses_no_progress() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(&format!("workers = 2\n{SSH_2S}")).rule("knock", KNOCK).start();
    for (stage, step) in [(1_u32, "7000/udp"), (2, "8000/tcp")] {
        lab.knock(CLIENT4, step);
        daemon.wait_for("stage", |entry| entry.number("stage") == Some(stage.into()));
        let generation = stage + 1;
        let reload = daemon.change_rule("knock", &format!("for = \"{generation}s\"\n{KNOCK}"));
        assert_eq!(reload.number("generation"), Some(generation.into()));
    }
    lab.knock(CLIENT4, "9000/udp");
    daemon.expect_story(CLIENT4, &STORY);
    assert_eq!(daemon.wait_for("open", |_| true).number("lasts_s").map(f64::round), Some(3.0));
    daemon.stop();
}

#[test]
fn a_new_sequence_works_at_once_and_the_old_one_no_more() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    daemon.change_rule("knock", &KNOCK.replace("7000/udp", "7001/udp"));
    lab.knock(CLIENT4, STEPS);
    lab.knock(CLIENT4, "7001/udp 8000/tcp 9000/udp");
    daemon.expect_story(CLIENT4, &STORY);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    daemon.stop();
}

#[test]
fn a_rule_that_is_added_works_and_one_that_is_removed_leaves_its_opening() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(&SSH_2S.replace("2s", "3s")).rule("knock", KNOCK).start();
    daemon.change_rule("other", &KNOCK.replace("000/", "001/"));
    lab.knock(CLIENT6, "7001/udp 8001/tcp 9001/udp");
    daemon.expect_story(CLIENT6, &STORY);

    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    let mark = daemon.log().mark();
    daemon.remove("rules/knock.toml");
    daemon.wait_since(mark, "reload", |_| true);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "open ssh", "close ssh expired"]);
    let open = daemon.wait_for("open", |entry| entry.text("src") == CLIENT4.to_string());
    let close = daemon.wait_for("close", |entry| entry.text("src") == CLIENT4.to_string());
    let lasted = close.since(open.read_at).as_secs_f64();
    assert!(lasted > 2.9 && lasted < 3.0 + LATENESS.as_secs_f64(), "{lasted}");
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    daemon.stop();
}

#[test]
fn a_mistake_changes_nothing_and_is_explained() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();

    // (file, what it says now, what the refusal must say)
    let mistakes: [(&str, &[u8], &[&str]); 5] = [
        ("rules/knock.toml", b"module = \"sequence\"\ndoor = \"ssh\n", &["rules/knock.toml:2"]),
        ("rules/knock.toml", b"module = \"sequence\"\ndoor = \"shh\"\n", &["rules/knock.toml:2", "shh"]),
        ("rules/knock.toml", b"module = \"broken.wasm\"\ndoor = \"ssh\"\n", &["rules/knock.toml:1: module"]),
        (
            "rules/knock.toml",
            b"module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"70000/udp\"]\n",
            &["rules/knock.toml", "70000"],
        ),
        ("postern.toml", b"interfaces = [\"eth0\"]\nworker = 2\n", &["postern.toml:2", "worker"]),
    ];
    daemon.write("rules/broken.wasm", b"\0asm\x01\0\0\0 and then nonsense");
    for (file, contents, words) in mistakes {
        expect_refusal(&daemon, file, contents, words);
        let mark = daemon.log().mark();
        lab.knock(CLIENT4, STEPS);
        let is_ours = |entry: &Entry| entry.text("src") == CLIENT4.to_string();
        daemon.wait_since(mark, "stage", |entry| is_ours(entry) && entry.number("stage") == Some(2.0));
        eventually("the door opens or stays open by the running generation", || {
            let entries = daemon.log().entries();
            entries[mark..].iter().find(|e| matches!(e.event(), "open" | "extend") && is_ours(e)).cloned()
        });
        // As if nothing had been written.
        daemon.write("rules/knock.toml", KNOCK);
        daemon.write("postern.toml", SSH_2S);
    }
    daemon.change_rule("knock", &format!("for = \"7s\"\n{KNOCK}"));
    lab.knock(CLIENT6, STEPS);
    let open = daemon.wait_for("open", |entry| entry.text("src") == CLIENT6.to_string());
    assert_eq!(open.number("lasts_s").map(f64::round), Some(7.0), "what is right again is taken");
    daemon.stop();
}

#[track_caller]
fn expect_refusal(daemon: &Daemon<'_>, file: &str, contents: &[u8], words: &[&str]) {
    let mark = daemon.log().mark();
    daemon.write(file, contents);
    let refusal = daemon.wait_for_refusal(mark);
    for word in words {
        assert!(refusal.text("detail").contains(word), "no {word:?} in {refusal}");
    }
}

#[test]
fn a_hangup_reloads() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let mark = daemon.log().mark();
    daemon.signal(Signal::HUP);
    daemon.wait_since(mark, "reload", |_| true);
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}
