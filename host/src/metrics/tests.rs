//! What is handed out, and whether it has the form that it should have.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use postern_core::{Client, RuleId, TenantId, Why};
use postern_protocol::ProcessState;
use postern_sandbox::RuleCounts;
use postern_tests::open_metrics::Metrics as Read;

use super::page::{FAMILIES, Page};
use super::sources::Measured;
use super::*;

const PAGE: &str = include_str!("../../docs/metrics.md");

fn rule(tenant: &str, name: &str) -> RuleId {
    RuleId { tenant: TenantId::new(tenant), name: name.into() }
}

fn client() -> Client {
    "192.0.2.7".parse().unwrap()
}

/// What counts, and what is handed out of it, with two rules and two doors in force and a door open twice.
fn counting() -> (Arc<Counted>, Page) {
    let (counted, sources) = counting_sources();
    (counted, Page::new(sources))
}

fn counting_sources() -> (Arc<Counted>, Arc<Sources>) {
    let counted = Arc::new(Counted::new(Arc::new(()), Arc::default()));
    counted.switch_on();
    let process = Process {
        name: "engine".to_owned(),
        state: ProcessState::Running,
        restarts: 3,
        held: String::new(),
        missing: Vec::new(),
    };
    let engine = || EngineCounts {
        open: HashMap::from([("ssh".into(), 2)]),
        claims: (7, 1),
        commits: (3, Duration::from_millis(12)),
        ruleset_changes: 4,
    };
    let sources = Sources::new(Arc::clone(&counted), Box::new(engine), Arc::new(Mutex::new(vec![process])));
    sources.in_force.store(Arc::new(Measured {
        generation: 5,
        doors: vec!["ssh".into(), "web".into()],
        rules: vec![
            (rule("host", "a"), Arc::new(RuleCounts::default())),
            (rule("acme", "b \"x\\"), Arc::new(RuleCounts::default())),
        ],
        captures: Vec::new(),
    }));
    (counted, Arc::new(sources))
}

/// Connects, and says this.
fn connect(address: SocketAddr, said: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(said.as_bytes()).unwrap();
    stream
}

/// What is answered, to the end.
fn answer(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // One that was hung up on may be reset.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn nobody_who_says_nothing_keeps_a_monitoring_system_out() {
    const ASKED: &str = "GET /metrics HTTP/1.1\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let begin = Instant::now();
    server::start(MetricsSocket::Tcp(listener), None, counting_sources().1).unwrap();
    let silent: Vec<_> = (0..40).map(|_| connect(address, "GET /metrics")).collect();
    let answered = answer(connect(address, ASKED));
    assert!(answered.starts_with("HTTP/1.1 200 OK"), "{answered}");
    // Those that had to make room were told nothing, and so are the others when their time is over.
    for stream in silent {
        assert_eq!(answer(stream), "");
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(answer(connect(address, ASKED)).ends_with("# EOF\n"));
}

#[test]
fn what_is_reported_is_counted_and_what_is_handed_out_has_the_form() {
    let (counted, page) = counting();
    let acme = rule("acme", "b \"x\\");
    let of_ssh =
        |what| Report { door: Some("ssh".into()), ..Report::of_rule(&acme, what).with_client(client()) };
    let opened = || What::Opened { lasts: Duration::from_secs(1), module: None };
    counted.report(&of_ssh(opened()));
    counted.report(&of_ssh(opened()));
    counted.report(&Report::of_door("ssh", opened()).with_client(client()));
    counted.report(&of_ssh(What::Closed { why: Why::Asked }));
    counted.report(&of_ssh(What::StuckOpen { detail: "".into(), again_in: Some(Duration::from_secs(1)) }));
    counted.report(&of_ssh(What::StuckOpen { detail: "".into(), again_in: None }));
    counted.report(&Report::new(What::InForce { generation: 1, rules: 2, doors: 2 }));
    counted.report(&Report::new(What::ReloadRefused { generation: 1, mistakes: 1, detail: "".into() }));
    counted.report(&Report::new(What::GuardRestored { ports: 2 }));
    counted.report(&Report::new(What::LedgerUnusable { detail: "".into() }));
    let direction = postern_core::Direction::Incoming;
    counted.report(&Report::new(What::Listening { interface: "eth0".into(), link: "".into(), direction }));
    counted.report(&Report::new(What::NotListening {
        interface: "eth1".into(),
        reason: "".into(),
        direction,
    }));

    let read = Read::read(&page.text());
    let families: Vec<_> = read.families.iter().map(|(name, _)| name.as_str()).collect();
    let known: Vec<_> = FAMILIES.iter().map(family_name).collect();
    assert_eq!(families, known);
    let value = |name: &str, labels: &[(&str, &str)]| {
        read.value(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}"))
    };
    let acme = [("tenant", "acme"), ("rule", "b \"x\\")];
    assert_eq!(value("postern_openings_total", &[acme[0], acme[1], ("door", "ssh")]), 2.0);
    assert_eq!(value("postern_openings_total", &[("tenant", ""), ("rule", "-"), ("door", "ssh")]), 1.0);
    assert_eq!(value("postern_closings_total", &[("door", "ssh"), ("reason", "asked")]), 1.0);
    assert_eq!(value("postern_stuck_doors_total", &[("door", "ssh")]), 1.0);
    assert_eq!(value("postern_open_doors", &[("door", "ssh")]), 2.0);
    assert_eq!(value("postern_open_doors", &[("door", "web")]), 0.0);
    assert_eq!(value("postern_reloads_total", &[("result", "in-force")]), 1.0);
    assert_eq!(value("postern_reloads_total", &[("result", "refused")]), 1.0);
    assert_eq!(value("postern_newest_configuration_in_force", &[]), 0.0);
    assert_eq!(value("postern_ledger_usable", &[]), 0.0);
    assert_eq!(value("postern_ledger_claims_total", &[("result", "recorded")]), 7.0);
    assert_eq!(value("postern_ledger_commits_total", &[]), 3.0);
    assert_eq!(value("postern_ledger_commit_seconds_total", &[]), 0.012);
    assert_eq!(value("postern_guard_repairs_total", &[]), 1.0);
    assert_eq!(value("postern_ruleset_changes_total", &[]), 4.0);
    assert_eq!(value("postern_listening", &[("interface", "eth0")]), 1.0);
    assert_eq!(value("postern_listening", &[("interface", "eth1")]), 0.0);
    assert_eq!(value("postern_role_restarts_total", &[("role", "engine")]), 3.0);
    assert_eq!(value("postern_verdicts_total", &[acme[0], acme[1], ("verdict", "open")]), 0.0);
    assert_eq!(value("postern_generation", &[]), 5.0);
    assert_eq!(value("postern_rules", &[("tenant", "acme")]), 1.0);
}

/// As the format has it.
fn family_name(family: &page::Family) -> String {
    format!("{}{}", family.name, if family.has_seconds { "_seconds" } else { "" })
}

#[test]
fn no_address_is_the_name_of_anything() {
    let (counted, page) = counting();
    let acme = rule("acme", "b");
    for n in 0..2000_u32 {
        let client = Client::alone(std::net::Ipv4Addr::from(0xc000_0200 + n).into());
        let what = What::Opened { lasts: Duration::from_secs(1), module: None };
        counted
            .report(&Report { door: Some("ssh".into()), ..Report::of_rule(&acme, what).with_client(client) });
    }
    let text = page.text();
    assert!(!text.contains("192.0.2."), "{text}");
    let read = Read::read(&text);
    assert_eq!(read.all("postern_openings_total").map(|(_, value)| value).collect::<Vec<_>>(), [2000.0]);
}

#[test]
fn every_family_is_documented_with_its_type_and_nothing_else_is() {
    let (_, page) = counting();
    let read = Read::read(&page.text());
    let written: Vec<_> = PAGE
        .lines()
        .filter(|line| line.starts_with("| `postern_"))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    let series = |name: &str, kind: &str| match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    };
    let found: Vec<_> = read.families.iter().map(|(name, kind)| (series(name, kind), kind.clone())).collect();
    assert_eq!(written, found);
}

const ALERTS: &str = include_str!("../../dist/postern.rules.yml");

/// What an alert says, by key. It is read as strictly as it is written: no other YAML than this file's is understood.
fn alerts() -> Vec<HashMap<&'static str, &'static str>> {
    let mut lines = ALERTS.lines().filter(|line| !line.starts_with('#'));
    for head in ["groups:", "  - name: postern", "    rules:"] {
        assert_eq!(lines.next(), Some(head));
    }
    let mut alerts: Vec<HashMap<_, _>> = Vec::new();
    for line in lines {
        let (key, value) = line.trim_start().split_once(':').unwrap_or_else(|| panic!("{line}"));
        let indent = line.len() - line.trim_start().len();
        match (indent, key) {
            (6, "- alert") => alerts.push(HashMap::new()),
            (8, "expr" | "for") | (10, "severity" | "summary") => {}
            (8, "labels" | "annotations") => {
                assert_eq!(value, "", "{line}");
                continue;
            }
            _ => panic!("{line}"),
        }
        let value = value.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(!value.contains(": ") || value.starts_with('"'), "quotes are missing: {line}");
        let alert = alerts.last_mut().unwrap_or_else(|| panic!("{line}"));
        assert!(alert.insert(key, value).is_none(), "twice: {line}");
    }
    alerts
}

#[test]
fn alerts_have_their_form_and_ask_for_series_that_there_are() {
    let names: Vec<_> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with("postern_"))
        .collect();
    let alerts = alerts();
    assert!(alerts.len() > 5);
    for alert in &alerts {
        let (name, expression, summary) = (alert["- alert"], alert["expr"], alert["summary"]);
        assert!(name.starts_with("Postern") && name.chars().all(char::is_alphanumeric), "{name}");
        assert!(["page", "ticket"].contains(&alert["severity"]), "{name}");
        assert!(
            summary.starts_with('"') && summary.ends_with('"') && summary.matches('"').count() == 2,
            "{summary}"
        );
        for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
            assert_eq!(expression.matches(open).count(), expression.matches(close).count(), "{expression}");
        }
        let words = expression.split(|c: char| !c.is_alphanumeric() && c != '_');
        let series: Vec<_> = words.filter(|word| word.starts_with("postern_")).collect();
        assert!(!series.is_empty(), "{expression}");
        for series in series {
            let is_known = names.contains(&series)
                || series.strip_suffix("_bucket").is_some_and(|histogram| names.contains(&histogram));
            assert!(is_known, "{series} is in no row of metrics.md");
        }
        // What an alert names must be a label of what it asks for, or of every target.
        for label in summary.split("$labels.").skip(1).map(|rest| rest.split(' ').next().unwrap_or_default())
        {
            let row = PAGE.lines().find(|line| {
                line.strip_prefix("| `")
                    .and_then(|line| line.split('`').next())
                    .is_some_and(|name| expression.contains(name))
            });
            let has_it = label == "instance" || row.is_some_and(|row| row.contains(&format!("`{label}`")));
            assert!(has_it, "{name} has no label {label}");
        }
    }
}
