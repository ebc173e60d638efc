//! Modules from files: replaced while clients knock, and misbehaving.

use std::fs;

use postern_tests::guest::guest;
use postern_tests::{CLIENT4, Lab};

use crate::{KNOCK, SSH_2S, STEPS, STORY, posternd};

/// A rule by hand: 1111/udp, 2222/udp and a SYN to 3333/tcp within five seconds.
pub(crate) const BY_HAND: &str = include_str!("../guests/sequence.wat");
const RULE: &str = "module = \"knock.wasm\"\ndoor = \"ssh\"\n";
pub(crate) const BY_HAND_STEPS: &str = "1111/udp 2222/udp 3333/tcp";

/// Under systemd a service may have 1,024 open files until it asks for more.
#[test]
fn more_modules_run_than_files_may_be_open_at_first() {
    const MODULES: u8 = 80;
    const FILES: u32 = 64;
    for is_one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let mut setup = posternd(&lab).config(SSH_2S).open_files(FILES);
        if is_one_process {
            setup = setup.one_process();
        }
        for n in 0..MODULES {
            // With a custom section, so that no two are the same.
            let bytes = [module(BY_HAND), vec![0, 3, 1, b'n', n]].concat();
            let rule = format!("module = \"{n}.wasm\"\ndoor = \"ssh\"\n");
            setup = setup.file(&format!("rules/{n}.wasm"), bytes).rule(&format!("r{n}"), &rule);
        }
        let daemon = setup.start();
        let engine = daemon
            .role("engine")
            .map_or_else(|| i32::try_from(daemon.id()), |pid| Ok(pid.as_raw_nonzero().get()));
        let open = fs::read_dir(format!("/proc/{}/fd", engine.expect("the kernel's numbers are small")));
        assert!(open.expect("it runs").count() > FILES as usize, "each takes one");
        daemon.stop();
    }
}

fn module(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("a module in good order")
}

/// The module with one place of its text changed.
#[track_caller]
fn changed(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(BY_HAND.matches(from).count(), 1, "{from:?} is not there once");
    module(&BY_HAND.replace(from, to))
}

#[test]
fn a_module_is_replaced_while_a_client_is_half_way() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S).rule("knock", RULE);
    let daemon = setup.file("rules/knock.wasm", module(BY_HAND)).start();
    lab.knock(CLIENT4, "1111/udp");
    daemon.expect_story(CLIENT4, &["stage 1"]);
    let mark = daemon.log().mark();
    // Another module with the same meaning of what is remembered.
    daemon.write("rules/knock.wasm", changed("\"wrong step\"", "\"wrong port\""));
    daemon.wait_since(mark, "reload", |entry| entry.number("generation") == Some(2.0));
    lab.knock(CLIENT4, "2222/udp 3333/tcp");
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

#[test]
fn a_module_with_another_memory_starts_without_any() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S).rule("knock", RULE);
    let daemon = setup.file("rules/knock.wasm", module(BY_HAND)).start();
    lab.knock(CLIENT4, "1111/udp");
    daemon.expect_story(CLIENT4, &["stage 1"]);
    let mark = daemon.log().mark();
    let other =
        changed("\"\\01\\00\\00\\00\")                     ;; memory", "\"\\02\\00\\00\\00\") ;; memory");
    daemon.write("rules/knock.wasm", other);
    daemon.wait_since(mark, "reload", |entry| entry.number("generation") == Some(2.0));
    lab.knock(CLIENT4, "2222/udp 3333/tcp");
    lab.knock(CLIENT4, BY_HAND_STEPS);
    daemon.expect_story(CLIENT4, &["stage 1", "stage 1", "stage 2", "open ssh"]);
    daemon.stop();
}

#[test]
fn a_rule_that_asks_sees_the_tcp_header_of_a_real_syn() {
    // It ignores TCP packets but those with the 20 bytes of options that a SYN of Linux has.
    let options = "    (local $watch i32)
    (if (i32.eqz (i32.load8_u offset=58 (local.get $call)))
      (then (if (i32.ne (i32.load offset=92 (local.get $call)) (i32.const 20)) (then (return (call $ignore))))))\n";
    let blind = BY_HAND.replace("    (local $watch i32)\n", options);
    let asking = blind
        .replace("\"\\00\\00\\00\\00\"                      ;; no TCP", "\"\\01\\00\\00\\00\" ;; the TCP");
    assert!(blind != BY_HAND && asking != blind);
    for (text, story) in [(blind, &STORY[..2]), (asking, &STORY[..])] {
        let Some(lab) = Lab::if_possible() else { return };
        let setup = posternd(&lab).config(SSH_2S).rule("knock", RULE);
        let daemon = setup.file("rules/knock.wasm", module(&text)).start();
        lab.knock(CLIENT4, BY_HAND_STEPS);
        daemon.expect_story(CLIENT4, story);
        daemon.stop();
    }
}

#[test]
fn a_rule_that_never_ends_is_stopped_and_hurts_no_other() {
    let Some(lab) = Lab::if_possible() else { return };
    let spin = changed("    (local $watch i32)\n", "    (local $watch i32)\n    (loop $ever (br $ever))\n");
    let setup = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).rule("spin", RULE);
    let daemon = setup.file("rules/knock.wasm", spin).start();
    lab.knock(CLIENT4, BY_HAND_STEPS);
    let fault = daemon.wait_for("fault", |_| true);
    assert_eq!(fault.text("module").len(), 64, "{fault}");
    assert_eq!(fault.text("rule"), "spin", "{fault}");
    assert!(!fault.text("detail").is_empty(), "{fault}");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

#[test]
fn check_has_a_rule_judge_what_it_asked_for() {
    const LOG: &str = "(import \"postern:rule/host@0.2.0\" \"log\" (func $log (param i32 i32 i32)))
        (data (i32.const 300) \"no such step\")";
    let Some(lab) = Lab::if_possible() else { return };
    let fails = "(call $log (i32.const 0) (i32.const 300) (i32.const 12)) (unreachable)";
    let [good, bad] = ["(i32.const 96)", fails].map(|judge| {
        let setup = posternd(&lab).config(SSH_2S).rule("knock", RULE);
        let output = setup.file("rules/knock.wasm", guest(LOG, "(i32.const 48)", judge)).check();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    });
    assert_eq!(good.0, Some(0), "{}", good.1);
    let (status, said) = bad;
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("rule knock: no such step\n"), "{said}");
    let mistake =
        "module: the module fails at a packet to udp/7, which it asks for: `judge` panicked: no such step";
    assert!(said.contains(mistake), "{said}");
}
