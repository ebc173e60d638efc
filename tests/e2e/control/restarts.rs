//! Whose openings are, when the engine or the whole daemon has ended and another one goes on.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, Daemon, Lab, Random, SERVER4, Setup, eventually, frame, rounds};
use rustix::process::Signal;
use serde_json::Value;

use super::ask;
use crate::hostile_tenant::{closing, opening};
use crate::tenant_user::rule;
use crate::{A_WHILE, SOON, posternd};

/// Tenants that may open the same doors.
fn config(dir: &Path, tenants: &[&str]) -> String {
    let command = |verb: &str| format!(r#"["/bin/sh", "-c", "echo {verb} >> {}/ran"]"#, dir.display());
    let tenant = |name: &&str| {
        format!(
            "[tenants.{name}]\nrules = \"{name}\"\ngrant = {{ doors = [\"ssh\", \"lamp\"], any_port = true, interfaces = [\"any\"] }}\n"
        )
    };
    let doors = format!(
        "interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\nfor = \"10m\"\n[doors.lamp]\nopen = {}\nclose = {}\nfor = \"10m\"\n",
        command("on"),
        command("off")
    );
    doors + &tenants.iter().map(tenant).collect::<String>()
}

/// With these modules, each of a rule of its own for a door.
fn setup<'lab>(lab: &'lab Lab, tenants: &[&str], modules: &[(&str, &str, Vec<u8>)]) -> Setup<'lab> {
    let setup = posternd(lab);
    let config = config(setup.dir(), tenants);
    modules.iter().fold(setup.config(&config), |setup, (name, door, module)| {
        let file = name.rsplit('/').next().unwrap_or(name);
        let rule = format!("module = \"./{file}.wasm\"\ndoor = \"{door}\"\n");
        setup.file(&format!("{name}.toml"), rule).file(&format!("{name}.wasm"), module)
    })
}

#[track_caller]
fn start(setup: Setup<'_>, rules: f64) -> Daemon<'_> {
    let daemon = setup.start();
    daemon.wait_for("reload", |entry| entry.number("rules") == Some(rules));
    daemon
}

/// Kills the engine, and waits until the next one sees packets.
#[track_caller]
fn kill_engine(daemon: &Daemon<'_>) {
    let mark = daemon.log().mark();
    let killed = daemon.signal_role("engine", Signal::KILL);
    daemon.wait_for_settled("engine", killed);
    daemon.wait_since(mark, "ready", |_| true);
}

/// What is open, as root is told; none while nobody answers.
fn doors(daemon: &Daemon<'_>, more: &[&str]) -> Option<Vec<Value>> {
    let output = ask(daemon, &[&["doors", "--json"], more].concat());
    let lines = String::from_utf8(output.stdout).expect("it is text");
    let objects =
        || lines.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    output.status.success().then(objects)
}

/// What each owner has open, but for the one with little time: door, tenant, rule and module; and since when and for how long.
fn parts(doors: &[Value]) -> BTreeMap<[String; 4], (u64, u64)> {
    let text = |it: &Value, field: &str| it[field].as_str().unwrap_or("nobody").to_owned();
    let lasting = doors.iter().filter(|it| it["tenant"] != "c");
    let part = |it: &Value| {
        let whose = ["door", "tenant", "rule", "module"].map(|field| text(it, field));
        (whose, (it["since_ms"].as_u64().unwrap_or(0), it["left_ms"].as_u64().expect("a time")))
    };
    lasting.map(part).collect()
}

#[test]
fn each_owner_has_what_it_had_after_the_death_of_the_engine_and_of_the_daemon() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let modules = [
        ("a/close", "ssh", closing(20_000)),
        ("a/dark", "lamp", closing(20_001)),
        ("b/dark", "lamp", closing(20_002)),
        ("b/close", "ssh", closing(20_003)),
    ];
    let setup = setup(&lab, &["a", "b", "c"], &modules)
        .file("a/knock.toml", rule("ssh", 7000))
        .file("a/lamp.toml", rule("lamp", 7200))
        .file("b/knock.toml", format!("for = \"5m\"\n{}", rule("ssh", 7100)))
        .file("c/knock.toml", format!("for = \"4s\"\n{}", rule("ssh", 7300)));
    let ran = setup.dir().join("ran");
    let verbs = || fs::read_to_string(&ran).unwrap_or_default();
    let mut daemon = start(setup, 8.0);
    for (first, tenant) in [(7000, "a"), (7200, "a"), (7100, "b"), (7300, "c")] {
        let mark = daemon.log().mark();
        lab.knock(CLIENT4, &format!("{first}/udp 8000/tcp 9000/udp"));
        daemon.wait_since(mark, "open", |entry| entry.text("tenant") == tenant);
    }
    let mut before = parts(&doors(&daemon, &[]).expect("it answers"));
    let whose: Vec<_> =
        before.keys().map(|[door, tenant, rule, _]| format!("{door} {tenant}/{rule}")).collect();
    assert_eq!(whose, ["lamp a/lamp", "ssh a/knock", "ssh b/knock"]);

    for dies in ["engine", "daemon", "engine"] {
        if dies == "engine" {
            kill_engine(&daemon);
        } else {
            daemon = start(daemon.kill().0, 8.0);
        }
        let after = eventually("the same is open", || {
            let after = parts(&doors(&daemon, &[])?);
            after.keys().eq(before.keys()).then_some(after)
        });
        for (part, (since, left)) in &after {
            let (since_before, left_before) = before[part];
            // That of a command is rounded to a second in the journal.
            let is_later = *since + 1000 >= since_before && *left <= left_before + 1000 && *left > 60_000;
            assert!(is_later, "{part:?}: since {since} ms, {left} ms left, and before {:?}", before[part]);
        }
        for (tenant, count) in [("a", 2), ("b", 1)] {
            let own = doors(&daemon, &["--tenant", tenant]).expect("it answers");
            assert_eq!(own.len(), count, "{own:?}");
            assert!(own.iter().all(|it| it["tenant"] == tenant), "{own:?}");
        }
        before = after;
    }

    // Who had less time has it open no more, and the others do.
    eventually("its time is over", || {
        let doors = doors(&daemon, &[])?;
        (!doors.iter().any(|it| it["tenant"] == "c")).then_some(())
    });
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    assert_eq!(verbs(), "on\n");
    // It is not its own. That it was judged is seen by what came after it.
    let mark = daemon.log().mark();
    lab.knock(CLIENT4, "20002/udp 20001/udp");
    let closed = daemon.wait_since(mark, "close", |entry| entry.text("door") == "lamp");
    assert_eq!((closed.text("tenant"), closed.text("reason")), ("a", "asked"), "{closed}");
    eventually("the lamp is off", || (verbs() == "on\noff\n").then_some(()));
    lab.knock(CLIENT4, "20000/udp");
    daemon.wait_since(mark, "close", |entry| entry.text("tenant") == "a" && entry.text("door") == "ssh");
    assert!(lab.tcp_connects(CLIENT4, 22, SOON), "it is open for the other");

    kill_engine(&daemon);
    let left = eventually("the other has it open", || {
        let left = parts(&doors(&daemon, &[])?);
        (!left.is_empty()).then_some(left)
    });
    let whose: Vec<_> = left.keys().map(|[door, tenant, ..]| [door.as_str(), tenant]).collect();
    assert_eq!(whose, [["ssh", "b"]], "what was closed stays so");
    lab.knock(CLIENT4, "20003/udp");
    eventually("it is closed", || lab.tcp(CLIENT4, 22, A_WHILE).is_silence().then_some(()));
    let (_setup, _) = daemon.stop();
    assert_eq!(verbs(), "on\noff\n");
}

/// What a tenant has open for a client: until when, at the earliest and at the latest.
type Model = BTreeMap<(IpAddr, &'static str), (Instant, Instant)>;

/// More than a tick of the kernel's clock.
const TICK: Duration = Duration::from_millis(50);

/// What a tenant's rule does with a packet to this port.
#[derive(Clone, Copy)]
struct Move {
    tenant: &'static str,
    port: u16,
    /// It opens for so many seconds, or closes.
    opens: Option<u64>,
}

const MOVES: [Move; 6] = [
    Move { tenant: "a", port: 20_010, opens: Some(60) },
    Move { tenant: "a", port: 20_011, opens: Some(300) },
    Move { tenant: "a", port: 20_012, opens: None },
    Move { tenant: "b", port: 20_020, opens: Some(60) },
    Move { tenant: "b", port: 20_021, opens: Some(300) },
    Move { tenant: "b", port: 20_022, opens: None },
];

/// The rounds are many more when `POSTERN_ROUNDS` says so.
#[test]
fn whose_a_shared_door_is_survives_any_number_of_deaths_of_engines() {
    let Some(lab) = Lab::if_possible() else { return };
    let rounds = rounds(5);
    let mut random = Random::of_environment(20_261_128);
    let names = ["a/short", "a/long", "a/close", "b/short", "b/long", "b/close"];
    let modules = names.iter().zip(MOVES).map(|(name, Move { port, opens, .. })| {
        let seconds = opens.map(|seconds| i32::try_from(seconds).expect("a few"));
        (*name, "ssh", seconds.map_or_else(|| closing(port), |seconds| opening(port, seconds)))
    });
    let daemon = start(setup(&lab, &["a", "b"], &modules.collect::<Vec<_>>()), 6.0);
    let clients = [1, 2, 3].map(|n| IpAddr::V4(Ipv4Addr::new(198, 18, 0, n)));
    let mut wire = lab.injector();
    let mut model = Model::new();
    let mut restored = 0;
    for round in 0..rounds {
        let mut send = |step: Move, client: IpAddr| {
            let from = SocketAddr::new(client, 4000);
            wire.send(&frame::udp(from, SocketAddr::new(SERVER4, step.port), b"x"));
        };
        for _ in 0..6 {
            let (step, client) = (random.of(&MOVES), random.of(&clients));
            let place = (client, step.tenant);
            let now = Instant::now();
            model.retain(|_, (_, latest)| *latest + TICK > now);
            if model.get(&place).is_some_and(|(earliest, _)| *earliest < now + SOON) {
                // It ends about now.
                continue;
            }
            let event = match (step.opens, model.contains_key(&place)) {
                (Some(_), false) => "open",
                (Some(_), true) => "extend",
                (None, true) => "close",
                // Nobody hears of that.
                (None, false) => continue,
            };
            let (mark, sent) = (daemon.log().mark(), Instant::now());
            send(step, client);
            daemon.wait_since(mark, event, |entry| {
                entry.text("tenant") == step.tenant && entry.text("src") == client.to_string()
            });
            apply(&mut model, place, step, sent);
        }
        // It may come to this one or not.
        let (step, client) = (random.of(&MOVES), random.of(&clients));
        let (place, sent) = ((client, step.tenant), Instant::now());
        send(step, client);
        thread::sleep(Duration::from_micros(random.number() % 3000));
        kill_engine(&daemon);
        let mut other = model.clone();
        apply(&mut other, place, step, sent);
        let (asked, found, answered) = eventually("it answers", || {
            let asked = Instant::now();
            // All of it is known before anything is answered.
            Some((asked, doors(&daemon, &[])?, Instant::now()))
        });
        let agrees = |model: &Model| {
            // What ends meanwhile may be there or not.
            let lasts = |(earliest, _): &&(Instant, Instant)| *earliest > answered + TICK;
            let (least, most) = (model.values().filter(lasts).count(), model.len());
            (least..=most).contains(&found.len())
                && found.iter().all(|it| {
                    let client = it["client"].as_str().and_then(|text| text.parse().ok());
                    let known = client.and_then(|client| {
                        let of = |tenant: &'static str| (it["tenant"] == tenant).then_some((client, tenant));
                        model.get(&["a", "b"].into_iter().find_map(of)?)
                    });
                    let left = Duration::from_millis(it["left_ms"].as_u64().expect("a time"));
                    known.is_some_and(|(earliest, latest)| {
                        asked + left <= *latest + TICK && answered + left + TICK >= *earliest
                    })
                })
        };
        let is_done = agrees(&other);
        assert!(is_done || agrees(&model), "round {round}: {found:#?}, and not {model:?} or {other:?}");
        if is_done {
            model = other;
        }
        restored += found.len();
    }
    println!("{restored} parts were found again over {rounds} kill -9 of engines");
    assert!(restored > 0, "nothing was ever open");
    daemon.stop();
}

/// What a move that is done comes to, if it was sent then.
fn apply(model: &mut Model, place: (IpAddr, &'static str), step: Move, sent: Instant) {
    let Some(seconds) = step.opens else {
        model.remove(&place);
        return;
    };
    let lasts = Duration::from_secs(seconds);
    let (earliest, latest) = (sent + lasts, Instant::now() + lasts);
    let until = model.entry(place).or_insert((earliest, latest));
    // To open again takes no time away.
    *until = (until.0.max(earliest), until.1.max(latest));
}
