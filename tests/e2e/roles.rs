//! The daemon's processes: what each may do, and that any of them may die at any moment.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, CLIENT6, Lab, PATIENCE, Random, SERVER4, STRANGER4, eventually, frame, rounds};
use rustix::process::Signal;

use crate::strangers::{while_beside, while_strangers_try};
use crate::{A_WHILE, KNOCK, LATENESS, SOON, SSH_2S, STEPS, STORY, posternd};

/// Those that live as long as the daemon, besides the supervisor.
const ROLES: [&str; 3] = ["engine", "doorman", "runner"];
/// CAP_NET_ADMIN alone, as the kernel writes it.
const NET_ADMIN: &str = "0000000000001000";
const NONE: &str = "0000000000000000";

/// A door of commands beside the guarded port, and its own knock.
fn lamp(dir: &std::path::Path) -> String {
    let command =
        |verb: &str| format!(r#"["/bin/sh", "-c", "echo {verb} $0 >> {}/ran", "{{ip}}"]"#, dir.display());
    format!("{SSH_2S}\n[doors.lamp]\nopen = {}\nclose = {}\nfor = \"1s\"\n", command("on"), command("off"))
}

fn lamp_rule() -> String {
    KNOCK.replace("ssh", "lamp").replace("000/", "001/")
}

#[test]
fn what_sees_packets_may_do_nothing_else() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab);
    let config = lamp(setup.dir());
    let daemon = setup.config(&config).rule("knock", KNOCK).rule("lamp", &lamp_rule()).start();
    for (role, capabilities) in [("engine", NONE), ("doorman", NET_ADMIN)] {
        let status = daemon.role_status(role);
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(status.field(set), capabilities, "{role} {set}");
        }
        assert_eq!((status.field("NoNewPrivs"), status.field("Seccomp")), ("1", "2"), "{role}");
    }
    // Whoever holds a packet socket, whatever it is called.
    let inodes = lab.server_exec(&["cat", "/proc/net/packet"]);
    let inodes = String::from_utf8(inodes.stdout).expect("it is text");
    let inodes: Vec<_> =
        inodes.lines().skip(1).filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect();
    assert!(!inodes.is_empty(), "something is captured");
    let mut holders = 0;
    for role in ROLES.iter().map(Some).chain([None]) {
        let pid = match role {
            Some(role) => daemon.role(role).expect("it runs").as_raw_nonzero().get().to_string(),
            None => daemon.id().to_string(),
        };
        let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        let targets = links.filter_map(|link| fs::read_link(link.path()).ok()?.to_str().map(str::to_owned));
        let holds =
            targets.into_iter().any(|to| inodes.iter().any(|inode| to == format!("socket:[{inode}]")));
        if holds {
            holders += 1;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            assert!(status.contains(&format!("CapEff:\t{NONE}")), "{role:?} holds a packet socket: {status}");
        }
    }
    assert_eq!(holders, 1, "the engine alone holds packet sockets");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

#[test]
fn a_half_finished_knock_survives_the_death_of_all_but_the_engine() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = posternd(&lab);
    let config = lamp(setup.dir());
    let daemon = setup.config(&config).rule("knock", KNOCK).rule("lamp", &lamp_rule()).start();
    lab.knock(CLIENT4, "7000/udp 8000/tcp");
    daemon.expect_story(CLIENT4, &STORY[..2]);
    for role in ["doorman", "runner"] {
        let killed = daemon.signal_role(role, Signal::KILL);
        daemon.wait_for("role-ended", |entry| entry.text("role") == role);
        daemon.wait_for_next(role, killed);
    }
    lab.knock(CLIENT4, "9000/udp");
    assert!(lab.tcp_connects(CLIENT4, 22, SOON), "it went on where it was");
    daemon.stop();
}

#[test]
fn a_process_that_stands_still_for_a_while_goes_on() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = posternd(&lab);
    let config = lamp(setup.dir());
    let daemon = setup.config(&config).rule("knock", KNOCK).rule("lamp", &lamp_rule()).start();
    let stopped = ROLES.map(|role| (role, daemon.signal_role(role, Signal::STOP)));
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence(), "the guard is up");
    }
    for (role, pid) in stopped {
        assert_eq!(daemon.signal_role(role, Signal::CONT), pid, "{role} was not replaced");
    }
    lab.knock(CLIENT6, STEPS);
    assert!(lab.tcp_connects(CLIENT6, 22, SOON));
    daemon.stop();
}

/// Each client knocks once, so what was run for it is of one opening. The rounds are many more when `POSTERN_ROUNDS` says so.
#[test]
fn what_the_runner_opened_it_closes_once_whenever_it_is_killed() {
    let Some(lab) = Lab::if_possible() else { return };
    let rounds = rounds(8);
    let mut random = Random::of_environment(20_261_127);
    let setup = posternd(&lab);
    let dir = setup.dir().to_owned();
    let rule = "module = \"sequence\"\ndoor = \"lamp\"\n[settings]\nsequence = [\"7001/udp\"]\n";
    let daemon = setup.config(&lamp(&dir)).rule("lamp", rule).start();
    let source = |n: u64| {
        let first = u64::from(Ipv4Addr::new(198, 18, 0, 1).to_bits());
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(first + n).expect("an address")))
    };
    let ran = || {
        let ran = fs::read_to_string(dir.join("ran")).unwrap_or_default();
        let mut commands = BTreeMap::<String, Vec<String>>::new();
        for (verb, client) in ran.lines().filter_map(|line| line.split_once(' ')) {
            commands.entry(client.to_owned()).or_default().push(verb.to_owned());
        }
        commands
    };
    let mut wire = lab.injector();
    let mut knocked = 0..;
    let mut knock = |count| {
        for n in knocked.by_ref().take(count) {
            let from = SocketAddr::new(source(n), 4000);
            wire.send(&frame::udp(from, SocketAddr::new(SERVER4, 7001), b""));
        }
    };
    for round in 0..rounds {
        knock(16);
        // While these are being opened, or closed, and a few more are.
        let into =
            Duration::from_secs(u64::from(round % 2)) + Duration::from_micros(random.number() % 80_000);
        thread::sleep(into);
        knock(8);
        thread::sleep(Duration::from_micros(random.number() % 20_000));
        let killed = daemon.signal_role("runner", Signal::KILL);
        // One that ends sooner is started again later and later.
        daemon.wait_for_settled("runner", killed);
    }
    // It goes on.
    let before = ran().len();
    eventually("a knock opens", || {
        knock(1);
        (ran().len() > before).then_some(())
    });
    let begun = Instant::now();
    let open = || ran().into_iter().filter(|(_, verbs)| verbs.len() < 2).collect::<Vec<_>>();
    while !open().is_empty() {
        assert!(begun.elapsed() < PATIENCE, "not closed: {:?}", open());
        thread::sleep(Duration::from_millis(10));
    }
    // Nothing is left to be closed.
    let (_setup, _) = daemon.stop();
    let commands = ran();
    println!("{} of {} openings over {rounds} kill -9 of runners", commands.len(), knocked.start);
    let odd: Vec<_> = commands.iter().filter(|(_, verbs)| *verbs != &["on", "off"]).collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert!(commands.len() > 8, "next to nothing was opened");
}

/// The rounds are many more when `POSTERN_ROUNDS` says so.
#[test]
fn any_process_may_die_at_any_moment() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let rounds = rounds(12);
    let mut random = Random::of_environment(20_261_127);
    let setup = posternd(&lab);
    let dir = setup.dir().to_owned();
    let config = lamp(&dir);
    let daemon = setup.config(&config).rule("knock", KNOCK).rule("lamp", &lamp_rule()).start();
    let mut runners = 0;
    let mut wire = lab.injector();
    let mut source = u32::from(Ipv4Addr::new(198, 18, 0, 1));
    let flood = || {
        for _ in 0..200 {
            source = (source & !0xffff) | ((source + 1) & 0xffff);
            let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(source)), 4000);
            wire.send(&frame::udp(from, SocketAddr::new(SERVER4, 7000), b""));
        }
        thread::sleep(Duration::from_millis(10));
    };
    let kill = || {
        for round in 0..rounds {
            let role = random.of(&ROLES);
            runners += usize::from(role == "runner");
            let client = if round % 2 == 0 { CLIENT4 } else { CLIENT6 };
            lab.knock(client, STEPS);
            lab.knock(client, "7001/udp 8001/tcp 9001/udp");
            thread::sleep(Duration::from_micros(random.number() % 40_000));
            let killed = daemon.signal_role(role, Signal::KILL);
            let began = Instant::now();
            daemon.wait_for_next(role, killed);
            // A knock that fell into the gap is lost; the next one opens.
            eventually("a knock opens", || {
                lab.knock(client, STEPS);
                lab.tcp_connects(client, 22, A_WHILE).then_some(())
            });
            println!("round {round}: {role} killed, a knock opened {:?} later", began.elapsed());
            if round % 8 == 7 {
                // No door is open past its time.
                thread::sleep(Duration::from_secs(2) + LATENESS);
                assert!(lab.tcp(client, 22, A_WHILE).is_silence(), "round {round}: open past its time");
            }
        }
    };
    while_strangers_try(&lab, || while_beside(flood, kill));
    let commands = |client: IpAddr| {
        let ran = fs::read_to_string(dir.join("ran")).unwrap_or_default();
        let verbs = ran.lines().filter_map(|line| line.strip_suffix(&format!(" {client}")));
        verbs.map(str::to_owned).collect::<Vec<_>>()
    };
    for client in [CLIENT4, CLIENT6] {
        eventually("what was opened is closed", || {
            let verbs = commands(client);
            // All that it knocked for may have been refused.
            (verbs.iter().filter(|verb| *verb == "on").count() * 2 == verbs.len()).then_some(())
        });
        eventually("the client's time is over", || lab.tcp(client, 22, A_WHILE).is_silence().then_some(()));
    }
    // Nothing is left to be closed.
    let (_setup, _) = daemon.stop();
    let mut all = 0;
    for client in [CLIENT4, CLIENT6] {
        let verbs = commands(client);
        let mut open = 0_i32;
        for (n, verb) in verbs.iter().enumerate() {
            open += if verb == "on" { 1 } else { -1 };
            assert!(open >= 0, "{client}: command {n} closes what is not open: {verbs:?}");
        }
        assert_eq!(open, 0, "{client}: each opening is closed once: {verbs:?}");
        println!("{client}: {} commands over {runners} deaths of runners", verbs.len());
        all += verbs.len();
    }
    assert!(all > 0, "the lamp was never lit");
}
