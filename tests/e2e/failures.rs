//! What goes wrong around the daemon: it stays harmless, and goes on as soon as it can.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use postern_tests::{CLIENT4, CLIENT6, Lab, SERVER4, Signal, eventually, frame};

use crate::{A_WHILE, KNOCK, SOON, SSH_2S, STEPS, posternd};

#[test]
fn a_mistake_at_the_start_leaves_the_guarded_ports_closed() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    let mut daemon = posternd(&lab).config(SSH_2S).rule("knock", "module = 7\n").launch();
    assert_eq!(daemon.wait_for_end().code(), Some(1));
    let last = daemon.wait_for("start-refused", |_| true);
    let config = daemon.dir().join("postern.toml");
    assert_eq!(last.text("guards"), config.to_str().unwrap(), "{last}");
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    let reset = lab.server_exec(&[crate::PROGRAM, "reset", "--config", config.to_str().unwrap()]);
    assert!(reset.status.success(), "{reset:?}");
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
}

#[test]
fn a_guard_of_before_lets_go_of_ports_that_are_not_guarded_any_more() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let (setup, _) = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start().stop();
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    let lamp = "interfaces = [\"eth0\"]\n[doors.ssh]\nopen = [\"/bin/true\"]\n";
    let daemon = setup.config(lamp).start();
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    daemon.stop();
}

/// What the documents say of a flush.
#[test]
fn a_flush_takes_the_guard_from_a_daemon_that_is_stopped_and_from_no_other() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    lab.firewall("flush ruleset");
    eventually("the guard is there, or there again", || {
        lab.tcp(CLIENT4, 22, A_WHILE).is_silence().then_some(())
    });
    let (setup, _) = daemon.stop();
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    lab.firewall("flush ruleset");
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    let daemon = setup.start();
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    daemon.stop();
}

#[test]
fn a_guard_that_anybody_may_flush_is_put_up_again_and_that_is_told() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    // A table that was there before has no owner.
    lab.firewall("add table inet postern");
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    lab.firewall("flush ruleset");
    let restored = daemon.wait_for("guard-restored", |_| true);
    assert_eq!(restored.number("ports"), Some(1.0));
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    // What others change elsewhere is no repair.
    lab.firewall("add table inet other");
    daemon.change_rule("knock", &KNOCK.replace("10s", "11s"));
    let (_, log) = daemon.stop();
    assert_eq!(log.entries().iter().filter(|entry| entry.event() == "guard-restored").count(), 1);
}

#[test]
fn a_log_without_a_reader_does_not_end_the_daemon() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let mut daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).launch_unheard();
    eventually("the guard is up", || lab.tcp(CLIENT4, 22, A_WHILE).is_silence().then_some(()));
    eventually("the daemon opens, unheard", || {
        lab.knock(CLIENT4, STEPS);
        lab.tcp_connects(CLIENT4, 22, Duration::from_millis(100)).then_some(())
    });
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::TERM);
    let status = daemon.wait_for_end();
    assert!(status.success(), "{status}");
}

/// More lines than a pipe holds: a reader that does not read must not block the daemon.
#[test]
fn a_log_that_is_not_read_holds_up_no_packet() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let mut daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).launch_unread();
    eventually("the daemon opens", || {
        lab.knock(CLIENT4, STEPS);
        lab.tcp_connects(CLIENT4, 22, Duration::from_millis(100)).then_some(())
    });
    let mut wire = lab.injector();
    for number in 0..600_u32 {
        // No machine has a route to 198.18.0.0/15, which is for tests (RFC 2544).
        let from = SocketAddr::new(Ipv4Addr::from_bits(0xc612_0000 + number).into(), 4000);
        let to = |port| SocketAddr::new(SERVER4, port);
        for frame in [
            frame::udp(from, to(7000), b""),
            frame::tcp(from, to(8000), frame::SYN),
            frame::udp(from, to(9000), b""),
        ] {
            wire.send(&frame);
        }
    }
    // The main loop has reported all these when it comes to this.
    daemon.write("rules/knock.toml", KNOCK.replace("7000", "7001"));
    eventually("the daemon opens, and has read its rules again, unread", || {
        lab.knock(CLIENT6, &STEPS.replace("7000", "7001"));
        lab.tcp_connects(CLIENT6, 22, Duration::from_millis(100)).then_some(())
    });
    daemon.signal(Signal::TERM);
    let status = daemon.wait_for_end();
    assert!(status.success(), "{status}");
}

#[test]
fn a_module_that_comes_after_its_rule_is_noticed() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S).rule("knock", KNOCK);
    fs::create_dir(setup.dir().join("late")).expect("the folder is ours");
    let daemon = setup.start();
    let mark = daemon.log().mark();
    daemon.write("rules/late.toml", "module = \"../late/rule.wasm\"\ndoor = \"ssh\"\n");
    let refusal = daemon.wait_for_refusal(mark);
    let missing = format!(
        "late.toml:1: module: the module {}/rules/../late/rule.wasm cannot be read",
        daemon.dir().display()
    );
    assert!(refusal.text("detail").contains(&missing), "{refusal}");
    let mark = daemon.log().mark();
    let module = wat::parse_str(include_str!("../guests/sequence.wat")).expect("a rule");
    daemon.write("late/rule.wasm", module);
    daemon.wait_since(mark, "reload", |entry| entry.number("generation") == Some(2.0));
    daemon.stop();
}

#[test]
fn a_rule_behind_a_link_is_followed_to_where_it_is() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S).file("real.toml", KNOCK);
    std::os::unix::fs::symlink("../real.toml", setup.dir().join("rules/knock.toml"))
        .expect("the folder is ours");
    let daemon = setup.start();
    let mark = daemon.log().mark();
    daemon.write("real.toml", format!("for = \"1s\"\n{KNOCK}"));
    daemon.wait_since(mark, "reload", |entry| entry.number("generation") == Some(2.0));
    daemon.stop();
}

/// Everything that can wait for something at once: verdicts without end, reloads, and at last a stop.
#[test]
fn reloads_and_a_stop_get_through_a_flood_of_verdicts() {
    let Some(lab) = Lab::if_possible() else { return };
    let rule = KNOCK.replace(r#""7000/udp", "8000/tcp", "9000/udp""#, r#""7000/udp""#);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", &rule).start();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut wire = lab.injector();
            let server = SocketAddr::new(SERVER4, 7000);
            let mut number = 0;
            while !is_over.load(Ordering::Relaxed) {
                number = (number + 1) % 30_000;
                let source = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + number);
                wire.send(&frame::udp(SocketAddr::new(IpAddr::V4(source), 4000), server, b""));
            }
        });
        // A test that fails must not leave the flood running.
        let is_over = Over(&is_over);
        for _ in 0..8 {
            let mark = daemon.log().mark();
            daemon.signal(Signal::HUP);
            daemon.wait_since(mark, "reload", |entry| entry.number("generation").is_some());
        }
        daemon.stop();
        drop(is_over);
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
