//! Metrics of a running daemon, asked for over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use postern_tests::open_metrics::Metrics;
use postern_tests::{CLIENT4, Lab, PATIENCE, SERVER4, STRANGER4, eventually};

use crate::{A_WHILE, KNOCK, SOON, STEPS, STORY, posternd};

const CONFIG: &str = r#"
    interfaces = ["eth0"]
    user = "nobody"
    [doors.ssh]
    guard = "tcp/22"
    for = "60s"
    [metrics]
"#;

const ASK: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: here\r\nAccept: application/openmetrics-text\r\n\r\n";

fn config(listen: &str) -> String {
    format!("{CONFIG}listen = \"{listen}\"\n")
}

/// Sends a request and reads all of the answer: its head, and the rest.
#[track_caller]
fn answer(mut stream: impl Read + Write, request: &[u8]) -> (String, String) {
    stream.write_all(request).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers with text, and hangs up");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    (head.to_owned(), body.to_owned())
}

/// What a daemon that listens on its own machine says to a request.
#[track_caller]
fn over_tcp(lab: &Lab, request: &[u8]) -> (String, String) {
    lab.server().run(|| {
        let stream = TcpStream::connect(("127.0.0.1", 9617)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        answer(stream, request)
    })
}

/// What it measures.
#[track_caller]
pub(crate) fn scrape(lab: &Lab) -> Metrics {
    let (head, body) = over_tcp(lab, ASK);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
    Metrics::read(&body)
}

#[test]
fn a_knock_shows_in_what_is_measured() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(&config("127.0.0.1:9617")).rule("knock", KNOCK).start();
    let rule = [("tenant", "host"), ("rule", "knock")];
    let said = |metrics: &Metrics, verdict| {
        metrics.value("postern_verdicts_total", &[rule[0], rule[1], ("verdict", verdict)])
    };
    let before = scrape(&lab);
    assert_eq!(before.value("postern_listening", &[("interface", "eth0")]), Some(1.0));
    assert_eq!(before.value("postern_open_doors", &[("door", "ssh")]), Some(0.0));
    assert_eq!(before.value("postern_generation", &[]), Some(1.0));
    assert_eq!((said(&before, "open"), said(&before, "fault")), (Some(0.0), Some(0.0)));

    lab.knock(STRANGER4, "7000/udp");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    // A page is handed out for a moment after it was made.
    let after = eventually("the opening among what is measured", || {
        Some(scrape(&lab))
            .filter(|metrics| metrics.value("postern_open_doors", &[("door", "ssh")]) == Some(1.0))
    });
    assert_eq!(after.value("postern_openings_total", &[rule[0], rule[1], ("door", "ssh")]), Some(1.0));
    assert_eq!((said(&after, "remember"), said(&after, "open")), (Some(3.0), Some(1.0)));
    assert_eq!(after.value("postern_knocks_total", &[]), Some(4.0));
    let captured = [("interface", "eth0"), ("direction", "incoming")];
    assert!(after.value("postern_packets_total", &captured).unwrap() >= 4.0);
    assert_eq!(after.value("postern_packets_lost_total", &captured), Some(0.0));
    assert!(after.value("postern_rule_cpu_seconds_total", &rule).unwrap() > 0.0);
    let took = after.value("postern_time_to_open_seconds_sum", &[("door", "ssh")]).unwrap();
    assert_eq!(after.value("postern_time_to_open_seconds_count", &[("door", "ssh")]), Some(1.0));
    assert!(took > 0.0 && took < SOON.as_secs_f64(), "{took}");
    assert_eq!(after.value("postern_role_restarts_total", &[("role", "doorman")]), Some(0.0));
    assert_eq!(after.value("postern_reloads_total", &[("result", "in-force")]), Some(1.0));
    let addresses = [CLIENT4.to_string(), STRANGER4.to_string(), SERVER4.to_string()];
    assert!(after.labels().all(|(_, value)| !addresses.contains(value)));

    // It is for this machine alone.
    assert!(!lab.tcp_connects(CLIENT4, 9617, A_WHILE));
    daemon.stop();
}

#[test]
fn what_is_counted_survives_a_reload_and_goes_with_its_rule() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(&config("127.0.0.1:9617")).rule("knock", KNOCK).start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.write("rules/other.toml", KNOCK);
    let labels = |rule| [("tenant", "host"), ("rule", rule), ("verdict", "open")];
    let opened = |metrics: &Metrics, rule| metrics.value("postern_verdicts_total", &labels(rule));
    eventually("the second generation", || {
        let metrics = scrape(&lab);
        (opened(&metrics, "other") == Some(0.0)).then(|| assert_eq!(opened(&metrics, "knock"), Some(1.0)))
    });
    daemon.remove("rules/knock.toml");
    eventually("the third", || {
        let metrics = scrape(&lab);
        let is_gone = opened(&metrics, "knock").is_none();
        is_gone.then(|| assert_eq!(metrics.all("postern_openings_total").count(), 0))
    });
    daemon.stop();
}

#[test]
fn a_socket_is_for_root_and_other_requests_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("metrics.sock");
    let listen = format!("unix:{}", path.display());
    for one_process in [false, true] {
        let Some(lab) = Lab::if_possible() else { return };
        let setup = posternd(&lab).config(&config(&listen)).rule("knock", KNOCK);
        let daemon = if one_process { setup.one_process().start() } else { setup.start() };
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let ask = |request: &[u8]| {
            let stream = UnixStream::connect(&path).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time");
            answer(stream, request)
        };
        let (head, body) = ask(ASK);
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let metrics = Metrics::read(&body);
        let restarts = metrics.value("postern_role_restarts_total", &[("role", "engine")]);
        assert_eq!(restarts, (!one_process).then_some(0.0));
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
            ("hello\r\n\r\n", "400 Bad Request"),
        ] {
            let (head, _) = ask(request.as_bytes());
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
        }
        daemon.stop();
        assert!(!path.exists(), "it goes with the daemon");
    }
}

#[test]
fn whoever_hangs_keeps_nobody_else_waiting_and_is_cut_off() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(&config("127.0.0.1:9617")).rule("knock", KNOCK).start();
    let connect = || lab.server().run(|| TcpStream::connect(("127.0.0.1", 9617)).expect("it listens"));
    // More than there are places.
    let mut hanging: Vec<_> = (0..20).map(|_| connect()).collect();
    for stream in &mut hanging {
        // The first may have been hung up on, to make room.
        let _ = stream.write_all(b"GET /metr");
    }
    (0..3).for_each(|_| drop(scrape(&lab)));
    // And a knock opens meanwhile.
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    for mut stream in hanging {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "it is cut off");
    }
    drop(scrape(&lab));
    daemon.stop();
}

#[test]
fn an_address_that_is_taken_is_said_and_the_daemon_runs() {
    let Some(lab) = Lab::if_possible() else { return };
    let _other = lab.tcp_service(9617);
    let daemon = posternd(&lab).config(&config("127.0.0.1:9617")).rule("knock", KNOCK).start();
    let missing = daemon.wait_for("metrics-missing", |_| true);
    let said = missing.text("detail");
    assert!(said.contains("something else listens there: choose another port"), "{said}");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}
