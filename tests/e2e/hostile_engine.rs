//! An engine that was taken over: what it can say to the other processes, and that these go on whatever it says.
//!
//! The engine stands still, and the test says what it could say over its links.

use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use postern_link::{
    Hello, LARGEST_ANSWER, LinkRequest, OrderLink, REQUEST_SIZE, RunnerRequest, Sent, Talk, TalkSender,
};
use postern_tests::{CLIENT4, CLIENT6, Daemon, Lab, STRANGER4, STRANGER6, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{A_WHILE, KNOCK, SSH_2S, STEPS, posternd};

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(3);
/// By how much the supervisor may grow meanwhile, in KiB.
const ROOM_KIB: usize = 96 << 10;
/// How many threads and descriptors it may have more: one for each request that is worked on, and some.
const ROOM: usize = 300;

/// An engine that says what the test has it say.
struct HostileEngine<'a> {
    daemon: &'a Daemon<'a>,
    lab: &'a Lab,
    pid: Pid,
    control: TalkSender,
    readings: TalkSender,
    doorman: OrderLink,
    runner: OrderLink,
    /// Beside the senders: to send what is no message.
    raw: [UnixStream; 2],
    /// Of the supervisor when it was taken over.
    before: [usize; 3],
    others: [Pid; 2],
}

impl<'a> HostileEngine<'a> {
    fn take(daemon: &'a Daemon<'a>, lab: &'a Lab) -> Self {
        let before = sizes(daemon);
        let (pid, sockets) = daemon.take_over("engine");
        let mut sockets = sockets.into_iter();
        let mut next = || sockets.next().expect("an engine has five links");
        let [control, _reports, readings, doorman, runner] = [next(), next(), next(), next(), next()];
        let raw = [&control, &readings]
            .map(|socket| UnixStream::from(socket.try_clone().expect("there is room for one more")));
        raw.iter().for_each(|raw| raw.set_write_timeout(Some(FLOOD)).expect("not zero"));
        let talk = |socket: OwnedFd| Talk::from(socket).split(Some(FLOOD)).expect("there is room").0;
        Self {
            daemon,
            lab,
            pid,
            control: talk(control),
            readings: talk(readings),
            doorman: OrderLink::from(doorman),
            runner: OrderLink::from(runner),
            raw,
            before,
            others: others(daemon),
        }
    }

    /// Says these, one after the other, as fast as they are taken, for a time or until nobody listens.
    fn flood(&self, link: &TalkSender, files: &[BorrowedFd<'_>], message: impl Fn(u64) -> Value) {
        let until = Instant::now() + FLOOD;
        let is_taken = |n: &u64| Instant::now() < until && link.send(&message(*n), files).is_ok();
        let said = (1..).take_while(is_taken).count();
        assert!(said > 0, "nothing is taken");
        self.check();
    }

    /// That the others go on, and are no larger than they may be.
    #[track_caller]
    fn check(&self) {
        let now = sizes(self.daemon);
        assert!(now[0] < self.before[0] + ROOM_KIB, "{now:?} KiB, threads, files; {:?} before", self.before);
        for (now, before) in now.iter().zip(self.before).skip(1) {
            assert!(*now < before + ROOM, "{now} threads or files, {before} before");
        }
        assert_eq!(others(self.daemon), self.others, "doorman and runner are the same as before");
        for stranger in [STRANGER4, STRANGER6] {
            assert!(self.lab.tcp(stranger, 22, A_WHILE).is_silence(), "the guard is up");
        }
    }

    /// Waits until the supervisor has ended it and started another.
    #[track_caller]
    fn wait_for_next(self, client: IpAddr) {
        self.daemon.wait_for_next("engine", self.pid);
        self.check();
        opens(self.daemon, self.lab, client);
    }

    /// Ends it, as the kernel might.
    #[track_caller]
    fn ends(self, client: IpAddr) {
        kill_process(self.pid, Signal::KILL).expect("it stands still");
        self.wait_for_next(client);
    }
}

fn sizes(daemon: &Daemon<'_>) -> [usize; 3] {
    let status = daemon.status();
    let number = |field: &str| status.field(field).trim_end_matches(" kB").parse().expect("a number");
    [number("VmRSS"), number("Threads"), daemon.open_files()]
}

fn others(daemon: &Daemon<'_>) -> [Pid; 2] {
    ["doorman", "runner"].map(|role| daemon.role(role).unwrap_or_else(|| panic!("no {role} runs")))
}

#[track_caller]
fn opens(daemon: &Daemon<'_>, lab: &Lab, client: IpAddr) {
    assert!(lab.tcp(client, 22, A_WHILE).is_silence(), "it is closed");
    eventually("a knock opens", || {
        lab.knock(client, STEPS);
        lab.tcp_connects(client, 22, A_WHILE).then_some(())
    });
    eventually("it is closed again", || lab.tcp(client, 22, A_WHILE).is_silence().then_some(()));
    assert!(daemon.role("engine").is_some());
}

fn request(n: u64, request: &Value) -> Value {
    json!({ "id": n, "request": request })
}

#[test]
fn what_an_engine_may_not_say_to_the_supervisor_ends_it_and_nothing_else() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    opens(&daemon, &lab, CLIENT4);
    let odd = [
        vec![json!("Unknown")],
        vec![json!({ "Confined": { "held": "all", "missing": [] } })],
        vec![json!({ "Ledger": { "make": true, "copy": true } }); 4000],
        vec![json!({ "Ended": { "exit": 0, "signal": null } })],
        vec![json!({ "CannotRun": "no" }); 50],
        vec![json!("Exhausted")],
    ];
    for messages in odd {
        let engine = HostileEngine::take(&daemon, &lab);
        for message in &messages {
            // It may have been ended by now.
            if engine.control.send(message, &[]).is_err() {
                break;
            }
        }
        println!("said: {}", messages[0]);
        engine.wait_for_next(CLIENT6);
    }
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64]] {
        use std::io::Write as _;
        let engine = HostileEngine::take(&daemon, &lab);
        (&engine.raw[0]).write_all(garbage).expect("the supervisor reads");
        engine.wait_for_next(CLIENT4);
    }
    let engine = HostileEngine::take(&daemon, &lab);
    engine.raw[0].shutdown(Shutdown::Both).expect("it is open");
    engine.wait_for_next(CLIENT4);
    daemon.wait_for("link-broken", |entry| entry.text("detail").starts_with("engine to supervisor"));
    daemon.stop();
}

#[test]
fn floods_of_an_engine_neither_fill_nor_stop_the_supervisor() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let engine = HostileEngine::take(&daemon, &lab);
    engine.flood(&engine.control, &[], |n| match n % 4 {
        0 => json!("Reloading"),
        1 => json!("Stopping"),
        2 => json!("Alive"),
        _ => json!("Ready"),
    });
    let null = std::fs::File::open("/dev/null").expect("it is there");
    let files = vec![null.as_fd(); 16];
    engine.flood(&engine.control, &files, |_| json!("Alive"));
    // Answers are never read.
    engine.flood(&engine.readings, &[], |n| match n % 8 {
        0 => request(n, &json!({ "Read": { "ticket": n + 1000, "avoids": n % 16 == 0 } })),
        1 => request(n, &json!({ "FindModule": { "ticket": n + 1000, "place": n % 3 } })),
        2 => request(n, &json!({ "Code": { "ticket": n + 1000, "place": 0, "anew": true } })),
        3 => request(n, &json!({ "InForce": { "table": n, "kept": vec![[0, u32::MAX]; 900] } })),
        4 => request(n, &json!({ "Advice": { "ticket": n + 998 } })),
        5 => request(n, &json!("Gone")),
        6 => request(n, &json!({ "Claim": { "table": n % 9, "rule": n } })),
        _ => request(n, &json!({ "Journal": { "ticket": 1 } })),
    });
    engine.ends(CLIENT4);
    let engine = HostileEngine::take(&daemon, &lab);
    engine.flood(&engine.readings, &[], |n| {
        request(n, &json!({ "Read": { "ticket": n + 1000, "avoids": false } }))
    });
    engine.ends(CLIENT6);
    // It still hears who is to stop it.
    daemon.stop();
}

#[test]
fn floods_and_garbage_on_the_order_links_stop_neither_doorman_nor_runner() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let garbage: [&[u8]; 4] =
        [b"x", &[0xff; REQUEST_SIZE], &[0; LARGEST_ANSWER + 1], &RunnerRequest::Hello(odd_hello()).encode()];
    for garbage in garbage {
        let engine = HostileEngine::take(&daemon, &lab);
        for link in [&engine.doorman, &engine.runner] {
            assert_eq!(link.send(garbage), Sent::Sent);
            // Nobody is at the other end any more.
            eventually("the link has ended", || (link.send(garbage) == Sent::Ended).then_some(()));
        }
        engine.ends(CLIENT4);
    }
    let engine = HostileEngine::take(&daemon, &lab);
    let until = Instant::now() + FLOOD;
    let mut taken = [0_u64; 2];
    while Instant::now() < until {
        let n = taken[0];
        let client = postern_core::Client::alone(CLIENT4);
        let request = match n % 4 {
            0 => LinkRequest::List { ticket: n },
            1 => LinkRequest::Probe { ticket: n },
            2 => LinkRequest::Packets { ticket: n, table: 1, door: postern_core::DoorId(1), client },
            _ => LinkRequest::PutInPlace { ticket: n, table: 1, release: postern_core::Release::Later },
        };
        taken[0] += u64::from(engine.doorman.send(&request.encode()) == Sent::Sent);
        let key = postern_core::OpeningKey { door: postern_core::DoorId(1), client, occurrence: 0 };
        let request = RunnerRequest::Abandon(key);
        taken[1] += u64::from(engine.runner.send(&request.encode()) == Sent::Sent);
    }
    println!("doorman and runner took {taken:?}");
    engine.check();
    for role in ["doorman", "runner"] {
        let kib: usize =
            daemon.role_status(role).field("VmRSS").trim_end_matches(" kB").parse().expect("KiB");
        assert!(kib < ROOM_KIB, "the {role} has {kib} KiB");
    }
    engine.ends(CLIENT6);
    daemon.stop();
}

/// Of another program.
fn odd_hello() -> Hello {
    Hello::of_this_process().expect("it has a program")
}
