//! A museum of hostile guests, each in a tenant of its own, while another tenant's client knocks: it gets in, and nothing opens that was
//! not granted.

#[path = "../guests/museum.rs"]
mod exhibits;
#[path = "../guests/large.rs"]
mod large;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use postern_tests::{CLIENT4, Daemon, Entry, Injector, Lab, PATIENCE, SERVER4, eventually, frame};

use crate::compiling::{eats_memory, endless, nested_types};
use crate::posternd;
use exhibits::{Exhibit, Fate, exhibits};
use large::{LONG, large};

/// Knocks at each guest in turn, and at all together.
const KNOCKS: u32 = 50;
/// What a good client does.
const STEPS: &str = "7000/udp 8000/udp 9000/udp";
const GOOD: &str = "module = \"sequence\"\ndoor = \"good\"\n[settings]\nsequence = [\"7000/udp\", \"8000/udp\", \"9000/udp\"]\nwithin = \"60s\"\n";

fn config(names: &[&str]) -> String {
    let mut text = "interfaces = [\"eth0\"]\n[doors.good]\nguard = \"tcp/22\"\nfor = \"300ms\"\n[doors.bad]\nguard = \"tcp/80\"\nfor = \"2s\"\n[tenants.good]\nrules = \"good\"\ngrant = { any_port = true, interfaces = [\"any\"], doors = [\"good\"] }\n".to_owned();
    for (n, name) in names.iter().enumerate() {
        let port = port(n);
        let module = if LONG.contains(name) { "module = \"64MiB\", " } else { "" };
        writeln!(text, "[tenants.{name}]\nrules = \"{name}\"\ngrant = {{ watch = [\"udp/{port}\"], interfaces = [\"any\"], doors = [\"bad\"], payload = 1 }}\nlimits = {{ {module}compile = \"1s\", openings = 100, tokens = 8, share = \"5%\" }}\nmemory = {{ entries = 100, bytes = \"64KiB\" }}").expect("it is text");
    }
    text
}

fn port(n: usize) -> u16 {
    u16::try_from(20_000 + n).expect("there are not so many")
}

fn of(entry: &Entry, tenant: &str) -> bool {
    entry.text("tenant") == tenant
}

/// Has spoofed clients knock at these ports, each once.
fn knock_at(wire: &mut Injector, ports: &[u16], from: u32) {
    for n in 0..KNOCKS {
        let source = SocketAddr::from((Ipv4Addr::from(0xc612_0000 + from + n), 40_000));
        for port in ports {
            wire.send(&frame::udp(source, (SERVER4, *port).into(), b"x"));
        }
    }
}

/// How long a client of the good tenant takes to get in. Its door must be closed.
fn get_in(lab: &Lab, daemon: &Daemon<'_>) -> f64 {
    let closed = |daemon: &Daemon<'_>| {
        let story = daemon.story(CLIENT4);
        story.last().is_none_or(|last| last.starts_with("close"))
    };
    eventually("the door is closed", || closed(daemon).then_some(()));
    let mark = daemon.log().mark();
    let begin = Instant::now();
    lab.knock(CLIENT4, STEPS);
    daemon.wait_since(mark, "open", |entry| of(entry, "good") && entry.text("src") == CLIENT4.to_string());
    begin.elapsed().as_secs_f64() * 1000.0
}

#[test]
fn hostile_guests_hurt_nobody_but_themselves() {
    let Some(lab) = Lab::if_possible() else { return };
    let _good = lab.tcp_service(22);
    let mut exhibits = exhibits();
    exhibits.extend([
        Exhibit { name: "nested-types", fate: Fate::Refused("stack"), module: Box::new(|_| nested_types()) },
        Exhibit { name: "eats-memory", fate: Fate::Refused("memory"), module: Box::new(|_| eats_memory()) },
        Exhibit {
            name: "endless-compile",
            // For want of CPU time, or on a busy machine of time.
            fate: Fate::Refused("compiled"),
            module: Box::new(|_| endless()),
        },
    ]);
    exhibits.extend(large());
    let names: Vec<_> = exhibits.iter().map(|exhibit| exhibit.name).collect();
    let mut setup = posternd(&lab).config(&config(&names)).file("good/knock.toml", GOOD);
    for (n, Exhibit { name, module, .. }) in exhibits.iter().enumerate() {
        setup = setup
            .file(&format!("{name}/bad.toml"), "module = \"./bad.wasm\"\ndoor = \"bad\"\n")
            .file(&format!("{name}/bad.wasm"), module(port(n)));
    }
    let daemon = setup.start();
    let loaded = exhibits.iter().filter(|exhibit| !matches!(exhibit.fate, Fate::Refused(_))).count();
    #[expect(clippy::cast_precision_loss, reason = "they are few")]
    let is_loaded =
        |entry: &Entry| entry.event() == "reload" && entry.number("rules") == Some((loaded + 1) as f64);
    // Their compilers take seconds, one after the other.
    let all = daemon.log().wait(PATIENCE * 6, |entries| entries.iter().any(is_loaded).then_some(()));
    all.unwrap_or_else(|why| panic!("they are not loaded {why}"));
    let alone = get_in(&lab, &daemon);
    let mut table =
        format!("{:24} {:>9}  {}\n{:24} {alone:>6.1} ms\n", "guest", "gets in", "what came of it", "none");
    let mut wire = lab.injector();
    for (n, Exhibit { name, fate, .. }) in exhibits.iter().enumerate() {
        let mark = daemon.log().mark();
        let told = match fate {
            Fate::Refused(words) => {
                let is_it = |entry: &Entry| entry.event() == "tenant-refused" && of(entry, name);
                let refused = daemon
                    .log()
                    .wait(PATIENCE * 6, |entries| entries.iter().find(|entry| is_it(entry)).cloned());
                let refused = refused.unwrap_or_else(|why| panic!("{name} is not refused {why}"));
                let detail = refused.text("detail").to_owned();
                assert!(detail.contains(words), "{name}: {detail}");
                knock_at(&mut wire, &[port(n)], 0);
                detail
            }
            Fate::Faults(words) => {
                knock_at(&mut wire, &[port(n)], 0);
                let fault = daemon.wait_since(mark, "fault", |entry| of(entry, name));
                assert!(fault.text("detail").contains(words), "{name}: {fault}");
                fault.text("detail").to_owned()
            }
            Fate::Drops(reason) => {
                knock_at(&mut wire, &[port(n)], 0);
                let refused = daemon
                    .wait_since(mark, "refuse", |entry| of(entry, name) && entry.text("drop") == *reason);
                refused.text("drop").to_owned()
            }
            Fate::Harmless => {
                knock_at(&mut wire, &[port(n)], 0);
                String::new()
            }
        };
        let took = get_in(&lab, &daemon);
        let told: String = told.chars().take(100).collect();
        writeln!(table, "{name:24} {took:>6.1} ms  {told}").expect("it is text");
    }
    // All at once, in the second in which the good client knocks.
    let ports: Vec<_> = (0..exhibits.len()).map(port).collect();
    knock_at(&mut wire, &ports, 1000);
    let took = get_in(&lab, &daemon);
    writeln!(table, "{:24} {took:>6.1} ms", "all of them").expect("it is text");
    println!("{table}");
    for exhibit in &exhibits {
        let (name, may_open) =
            (exhibit.name, matches!(exhibit.fate, Fate::Harmless | Fate::Drops("tokens-full")));
        daemon.expect_none("open", |entry| of(entry, name) && (entry.text("door") != "bad" || !may_open));
        // A door that says two seconds is open for two.
        daemon.expect_none("open", |entry| {
            of(entry, name) && entry.number("lasts_s").is_none_or(|lasts| lasts > 2.1)
        });
    }
    daemon.expect_none("role-ended", |_| true);
    daemon.expect_none("panic", |_| true);
    let is_spoofed = |entry: &Entry| entry.text("src").parse::<IpAddr>().is_ok_and(|src| src == CLIENT4);
    daemon.expect_none("open", |entry| entry.text("door") == "bad" && is_spoofed(entry));
    daemon.stop();
}
