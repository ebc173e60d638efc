//! One door that rules of two tenants open for the same client: each tenant sees and hears of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, Daemon, Lab, PATIENCE, SERVER4, Setup, eventually, frame};
use serde_json::{Value, json};

use super::{Telling, as_user, ask, lab_with_users, objects, open_to_all, said, told};
use crate::hostile_tenant::opening;
use crate::tenant_user::{give, rule};
use crate::{A_WHILE, SOON, posternd};

/// Two tenants with a user each and the same door.
const CONFIG: &str = r#"
    interfaces = ["eth0"]
    user = "nobody"
    [doors.ssh]
    guard = "tcp/22"
    for = "60s"
    [tenants.a]
    rules = "a"
    user = "daemon"
    grant = { doors = ["ssh"], any_port = true, interfaces = ["any"] }
    [tenants.b]
    rules = "b"
    user = "bin"
    grant = { doors = ["ssh"], any_port = true, interfaces = ["any"] }
"#;

fn setup(lab: &Lab) -> Setup<'_> {
    let of_b = rule("ssh", 7100).replace("door =", "for = \"3s\"\ndoor =");
    let setup = posternd(lab).config(CONFIG);
    let setup = setup.file("a/knock.toml", rule("ssh", 7000)).file("b/knock.toml", of_b);
    for (tenant, user) in [("a", "daemon"), ("b", "bin")] {
        give(&setup.dir().join(tenant), user);
        give(&setup.dir().join(tenant).join("knock.toml"), user);
    }
    setup
}

/// Starts it, and waits until so many rules are compiled.
#[track_caller]
fn start(setup: Setup<'_>, rules: f64) -> Daemon<'_> {
    let daemon = setup.start();
    daemon.wait_for("reload", |entry| entry.number("rules") == Some(rules));
    open_to_all(&daemon);
    daemon
}

/// Whose parts of openings somebody sees, and for how long each is.
fn seen(doors: &[Value]) -> Vec<(&str, u64)> {
    doors
        .iter()
        .map(|it| (it["tenant"].as_str().expect("a name"), it["left_ms"].as_u64().expect("a time")))
        .collect()
}

#[track_caller]
fn knock(lab: &Lab, daemon: &Daemon<'_>, first: u16, tenant: &str) {
    let mark = daemon.log().mark();
    lab.knock(CLIENT4, &format!("{first}/udp 8000/tcp 9000/udp"));
    daemon.wait_since(mark, "open", |entry| entry.text("tenant") == tenant);
}

#[test]
fn each_sees_and_hears_of_its_own_part_alone_and_the_door_is_open_until_the_last_ends() {
    let Some(lab) = lab_with_users() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = start(setup(&lab), 2.0);
    let mut tail = Telling::start(&daemon, &["tail", "--tenant", "b", "--kind", "open", "--kind", "close"]);
    let client = CLIENT4.to_string();
    knock(&lab, &daemon, 7000, "a");
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    assert_eq!(objects(&as_user(&daemon, "bin", &["doors", "--json"])), [] as [Value; 0]);
    knock(&lab, &daemon, 7100, "b");
    let first = tail.wait_for("ssh is");
    assert!(first.contains(&format!("ssh is open for {client} for 3s")), "{first}");

    let doors = objects(&ask(&daemon, &["doors", "--json"]));
    assert_eq!(seen(&doors).iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>(), ["a", "b"]);
    for (user, tenant, at_most) in [("daemon", "a", 60_000), ("bin", "b", 3_000)] {
        let own = objects(&as_user(&daemon, user, &["doors", "--json"]));
        let [(owner, left)] = seen(&own)[..] else { panic!("{own:?}") };
        assert!(owner == tenant && left <= at_most && left > at_most / 2, "{own:?}");
        assert_eq!(own[0]["client"], client);
        let narrowed = objects(&ask(&daemon, &["doors", "--tenant", tenant, "--json"]));
        assert_eq!(seen(&narrowed).len(), 1, "{narrowed:?}");
        let status = objects(&ask(&daemon, &["status", "--tenant", tenant, "--json"])).remove(0);
        assert_eq!((&status["open"], &status["rules"]), (&1.into(), &1.into()), "{status}");
        assert_eq!(status["processes"], Value::Array(Vec::new()), "{status}");
    }
    tail.wait_for(&format!("ssh is closed for {client}"));
    assert_eq!(objects(&as_user(&daemon, "bin", &["doors", "--json"])), [] as [Value; 0]);
    assert_eq!(seen(&objects(&as_user(&daemon, "daemon", &["doors", "--json"]))).len(), 1);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON), "it is open for the other");
    daemon.expect_none("close", |entry| entry.text("tenant") == "a");

    // By hand it is closed for all.
    knock(&lab, &daemon, 7100, "b");
    assert_eq!(said(&ask(&daemon, &["close", "ssh", &client]), 0), format!("ssh is closed for {client}\n"));
    for tenant in ["a", "b"] {
        daemon.wait_for("close", |entry| entry.text("tenant") == tenant && entry.text("reason") == "asked");
    }
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    daemon.stop();
}

#[test]
fn root_asks_as_a_tenant_would_and_a_tenant_for_no_other() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = start(setup(&lab), 2.0);
    let client = CLIENT4.to_string();
    lab.knock(CLIENT4, "7000/udp");
    daemon.wait_for("stage", |entry| entry.text("tenant") == "a");
    let clients = |tenant: &str| objects(&ask(&daemon, &["clients", "--tenant", tenant, "--json"]));
    eventually("what is half finished", || (clients("a").len() == 1).then_some(()));
    assert_eq!(clients("b"), [] as [Value; 0]);
    let explained = objects(&ask(&daemon, &["explain", &client, "--tenant", "a", "--json"]));
    assert_eq!(explained[0]["tenant"], "a");
    let (code, out, _) = told(&ask(&daemon, &["explain", &client, "--tenant", "b"]));
    assert_eq!(code, 1);
    assert!(out.starts_with(&format!("nothing is known of {client}")), "{out}");
    for what in [&["status"][..], &["doors"], &["rules"], &["clients"], &["explain", &client], &["tail"]] {
        let narrowed = |tenant| [what, &["--tenant", tenant]].concat();
        let (code, _, err) = told(&ask(&daemon, &narrowed("c")));
        assert_eq!(code, 1, "{what:?}");
        assert!(err.contains("there is no tenant \"c\"; there are host, a, b"), "{err}");
        // Whether there is one is none of its business.
        for other in ["b", "c", "host"] {
            let (code, out, err) = told(&as_user(&daemon, "daemon", &narrowed(other)));
            assert_eq!((code, &*out), (4, ""), "{what:?}");
            assert!(err.contains("may not ask for what is another tenant's; root may"), "{err}");
        }
    }
    daemon.stop();
}

/// Asks for a tenant's openings; the answer, and how long it took.
#[track_caller]
fn doors(stream: &mut UnixStream, tenant: &str) -> (Value, Duration) {
    let begin = Instant::now();
    let parameters = json!({ "tenant": tenant });
    let request = json!({ "method": "org.postern.control.Doors", "parameters": parameters });
    stream.write_all(format!("{request}\0").as_bytes()).expect("it is read");
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(0, &mut answer).expect("it answers in time");
    let took = begin.elapsed();
    let mut answer: Value =
        serde_json::from_slice(answer.strip_suffix(b"\0").expect("all of it")).expect("JSON");
    (answer["parameters"].take(), took)
}

#[test]
fn how_long_a_tenants_answer_takes_says_nothing_of_what_others_have_open() {
    let Some(lab) = lab_with_users() else { return };
    // More than one answer holds.
    let many = 3000;
    let setup = setup(&lab).rule("flood", "module = \"./flood.wasm\"\ndoor = \"ssh\"\n");
    let daemon = start(setup.file("rules/flood.wasm", opening(20_000, 60)), 3.0);
    let mut stream = UnixStream::connect(daemon.control_socket()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut wire = lab.injector();
    let answer = eventually("all these openings", || {
        for n in 0..many {
            let source = SocketAddr::from((Ipv4Addr::from(0xc612_0000 + n), 40_000));
            wire.send(&frame::udp(source, (SERVER4, 20_000).into(), b""));
        }
        let (answer, _) = doors(&mut stream, "host");
        (answer["left_out"].as_u64()? + 2000 >= u64::from(many)).then_some(answer)
    });
    assert_eq!(answer["doors"].as_array().map(Vec::len), Some(2000));
    assert_eq!(answer["left_out"], many - 2000);
    knock(&lab, &daemon, 7000, "a");
    // One that looked at all of them would pause for a millisecond behind each 256.
    let pauses = Duration::from_millis(u64::from(many / 256));
    let own = eventually("an answer that does not look at those of others", || {
        let (answer, took) = doors(&mut stream, "a");
        (took < pauses).then_some(answer)
    });
    assert_eq!((own["doors"].as_array().map(Vec::len), &own["left_out"]), (Some(1), &0.into()), "{own}");
    daemon.stop();
}
