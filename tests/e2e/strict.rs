//! `sandbox = "strict"`: a barrier that is missing refuses the configuration, and nothing else does.

use postern_tests::{CLIENT4, Entry, Lab, STRANGER4, Signal, skip_everywhere};

use crate::{A_WHILE, KNOCK, SOON, SSH_2S, STEPS, STORY, posternd};

/// With this user, and every barrier wanted.
fn strict(user: &str) -> String {
    format!("user = \"{user}\"\nsandbox = \"strict\"\n{SSH_2S}")
}

#[test]
fn a_missing_barrier_refuses_the_start_in_one_line_and_ports_stay_guarded() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    // The daemon's own account is none of their own.
    let mut daemon = posternd(&lab).config(&strict("root")).rule("knock", KNOCK).launch();
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    let entries = daemon.log().entries();
    let mistakes: Vec<_> = entries.iter().filter(|entry| entry.event() == "mistake").collect();
    let [mistake] = mistakes[..] else { panic!("{mistakes:?}") };
    let detail = mistake.text("detail");
    assert!(detail.contains("postern.toml: sandbox: \"strict\"") && detail.contains("own user"), "{detail}");
    assert!(!entries.iter().any(|entry| entry.event() == "ready"));
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence());
}

#[test]
fn with_every_barrier_it_runs_and_all_but_the_supervisor_and_the_runner_are_another_user() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).own_code().config(&strict("nobody")).rule("knock", KNOCK).launch();
    let has_begun = |entries: &[Entry]| {
        entries.iter().find(|entry| ["ready", "mistake"].contains(&entry.event())).cloned()
    };
    let first = daemon.log().wait(SOON * 10, has_begun).unwrap_or_else(|why| panic!("{why}"));
    if first.event() == "mistake" {
        // What a kernel has, all processes have; an account of their own they have everywhere.
        let detail = first.text("detail");
        assert!(detail.contains("sandbox") && !detail.contains("own user"), "{detail}");
        return skip_everywhere(detail);
    }
    let user = String::from_utf8(lab.server_exec(&["id", "-u", "nobody"]).stdout).expect("a number");
    let user = [user.trim(); 4].join("\t");
    for role in ["engine", "doorman"] {
        assert_eq!(daemon.role_status(role).field("Uid"), user, "{role}");
    }
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

#[test]
fn a_reload_that_wants_what_is_missing_is_refused() {
    let Some(lab) = Lab::if_possible() else { return };
    let best_effort = strict("root").replace("strict", "best-effort");
    let daemon = posternd(&lab).config(&best_effort).rule("knock", KNOCK).start();
    let mark = daemon.log().mark();
    daemon.write("postern.toml", strict("root"));
    daemon.wait_for_refusal(mark);
    let mistake = daemon.wait_since(mark, "mistake", |_| true);
    assert!(mistake.text("detail").contains("own user"), "{mistake}");
    // Also by an engine that begins with it; what was guarded stays so.
    let mark = daemon.log().mark();
    let killed = daemon.signal_role("engine", Signal::KILL);
    daemon.wait_since(mark, "mistake", |entry| entry.text("detail").contains("own user"));
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence());
    daemon.write("postern.toml", &best_effort);
    daemon.wait_for_next("engine", killed);
    daemon.wait_since(mark, "ready", |_| true);
    daemon.stop();
}

#[test]
fn one_process_is_never_strict() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).one_process().config(&strict("nobody")).rule("knock", KNOCK);
    let mut daemon = setup.launch();
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    let mistake = daemon.wait_for("mistake", |_| true);
    assert!(mistake.text("detail").contains("sandbox: \"strict\""), "{mistake}");
    assert!(mistake.text("detail").contains("more than one process"), "{mistake}");
    // It is the same configuration that is refused.
    let setup = daemon.ended().config(&strict("nobody").replace("strict", "best-effort"));
    setup.start().stop();
}
