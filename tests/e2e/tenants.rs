//! Two owners of rules in one daemon: what one does wrong is that one's own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use postern_tests::{CLIENT4, CLIENT6, Daemon, Entry, Lab, SERVER4, STRANGER4, Setup, eventually, frame};

use crate::compiling::endless;
use crate::strangers::while_beside;
use crate::{SOON, STEPS, posternd};

/// Two tenants with a door each.
const CONFIG: &str = r#"
    interfaces = ["eth0"]
    [doors.ssh]
    guard = "tcp/22"
    for = "60s"
    [doors.web]
    guard = "tcp/80"
    for = "60s"
    [tenants.a]
    rules = "a"
    grant.doors = ["ssh"]
    grant.any_port = true
    grant.interfaces = ["any"]
    [tenants.b]
    rules = "b"
    grant.doors = ["web"]
    grant.any_port = true
    grant.interfaces = ["any"]
"#;
const GARBAGE: &str = "module = sequence";

/// The rule of a tenant, of the same name and group in both.
fn rule(door: &str, first: &str) -> String {
    format!(
        "module = \"sequence\"\ndoor = \"{door}\"\ngroup = \"g\"\n[settings]\nsequence = [\"{first}/udp\", \"8000/tcp\", \"9000/udp\"]\nwithin = \"60s\"\n"
    )
}

fn setup(lab: &Lab) -> Setup<'_> {
    posternd(lab).config(CONFIG)
}

fn is_of(tenant: &'static str) -> impl Fn(&Entry) -> bool {
    move |entry| entry.text("tenant") == tenant
}

/// Knocks until the door of a tenant is open for the client.
#[track_caller]
fn expect_open(lab: &Lab, daemon: &Daemon<'_>, client: IpAddr, steps: &str, tenant: &str, door: &str) {
    let mark = daemon.log().mark();
    lab.knock(client, steps);
    daemon.wait_since(mark, "open", |entry| {
        (entry.text("tenant"), entry.text("door"), entry.text("src")) == (tenant, door, &client.to_string())
    });
}

#[test]
fn garbage_of_one_keeps_back_that_ones_change_alone() {
    let Some(lab) = Lab::if_possible() else { return };
    let (_ssh, _web) = (lab.tcp_service(22), lab.tcp_service(80));
    let daemon = setup(&lab)
        .file("a/knock.toml", rule("ssh", "7000"))
        .file("b/knock.toml", rule("web", "7100"))
        .start();
    // Half way at a's rule.
    lab.knock(CLIENT4, "7000/udp");
    daemon.wait_for("stage", is_of("a"));

    let mark = daemon.log().mark();
    daemon.write("a/knock.toml", GARBAGE);
    let refused = daemon.wait_since(mark, "tenant-refused", is_of("a"));
    assert!(refused.text("detail").contains("a/knock.toml:1"), "{refused}");
    assert_eq!((refused.number("rules"), refused.number("mistakes")), (Some(1.0), Some(1.0)), "{refused}");
    daemon.wait_since(mark, "mistake", is_of("a"));
    daemon.wait_since(mark, "reload", |_| true);

    // b's edit goes through, and a goes on from where its client was.
    let mark = daemon.log().mark();
    daemon.write("b/knock.toml", rule("web", "7200"));
    daemon.wait_since(mark, "reload", |_| true);
    expect_open(&lab, &daemon, CLIENT6, "7200/udp 8000/tcp 9000/udp", "b", "web");
    assert!(lab.tcp_connects(CLIENT6, 80, SOON));
    expect_open(&lab, &daemon, CLIENT4, "8000/tcp 9000/udp", "a", "ssh");
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));

    // Mended, it is what runs.
    let mark = daemon.log().mark();
    daemon.write("a/knock.toml", rule("ssh", "7300"));
    daemon.wait_since(mark, "reload", |_| true);
    expect_open(&lab, &daemon, STRANGER4, "7300/udp 8000/tcp 9000/udp", "a", "ssh");
    daemon.expect_none("tenant-refused", is_of("b"));
    daemon.stop();
}

#[test]
fn a_start_with_garbage_of_one_is_a_start_for_the_other() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = setup(&lab)
        .rule("host", &rule("ssh", "7400"))
        .file("a/knock.toml", GARBAGE)
        .file("b/knock.toml", rule("web", "7100"))
        .start();
    let refused = daemon.wait_for("tenant-refused", is_of("a"));
    assert_eq!(refused.number("rules"), Some(0.0), "{refused}");
    expect_open(&lab, &daemon, CLIENT4, "7100/udp 8000/tcp 9000/udp", "b", "web");
    expect_open(&lab, &daemon, CLIENT6, "7400/udp 8000/tcp 9000/udp", "host", "ssh");
    let mark = daemon.log().mark();
    daemon.write("a/knock.toml", rule("ssh", "7000"));
    daemon.wait_since(mark, "reload", |_| true);
    expect_open(&lab, &daemon, CLIENT4, STEPS, "a", "ssh");
    daemon.stop();
}

#[test]
fn both_judge_the_same_knocks_and_neither_opens_what_it_is_not_granted() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = setup(&lab)
        .file("a/knock.toml", rule("ssh", "7000"))
        .file("b/knock.toml", rule("web", "7000"))
        .start();
    lab.knock(CLIENT4, STEPS);
    for (tenant, door) in [("a", "ssh"), ("b", "web")] {
        daemon.wait_for("open", |entry| is_of_both(entry, tenant, door));
    }
    // A rule that names the other's door is a mistake, which names what may be opened and not what there is.
    let mark = daemon.log().mark();
    daemon.write("a/knock.toml", rule("web", "7000"));
    let refused = daemon.wait_since(mark, "tenant-refused", is_of("a"));
    assert!(refused.text("detail").contains("a/knock.toml:2: door:"), "{refused}");
    daemon.wait_since(mark, "reload", |_| true);
    daemon.expect_none("open", |entry| is_of_both(entry, "a", "web"));

    // A door that is granted no more is lost, whatever the tenant's files say.
    let mark = daemon.log().mark();
    daemon.write("postern.toml", CONFIG.replace("    grant.doors = [\"ssh\"]\n", ""));
    let lost = daemon.wait_since(mark, "door-lost", is_of("a"));
    assert_eq!((lost.text("rule"), lost.text("door")), ("knock", "ssh"), "{lost}");
    daemon.wait_since(mark, "reload", |_| true);
    lab.knock(CLIENT6, STEPS);
    daemon
        .wait_for("open", |entry| is_of_both(entry, "b", "web") && entry.text("src") == CLIENT6.to_string());
    daemon
        .expect_none("open", |entry| entry.text("door") == "ssh" && entry.text("src") == CLIENT6.to_string());

    // Granted again it is opened again, though the tenant's file is still wrong.
    let mark = daemon.log().mark();
    daemon.write("postern.toml", CONFIG);
    daemon.wait_since(mark, "reload", |_| true);
    expect_open(&lab, &daemon, STRANGER4, STEPS, "a", "ssh");

    // No tenant has it any more.
    let mark = daemon.log().mark();
    daemon.write("postern.toml", CONFIG.split("    [tenants.a]").next().unwrap());
    let reload = daemon.wait_since(mark, "reload", |_| true);
    assert_eq!(reload.number("rules"), Some(0.0), "{reload}");
    daemon.stop();
}

fn is_of_both(entry: &Entry, tenant: &str, door: &str) -> bool {
    entry.text("tenant") == tenant && entry.text("door") == door
}

#[test]
fn a_folder_that_goes_keeps_its_rules_and_one_that_comes_is_read() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = setup(&lab).file("b/knock.toml", rule("web", "7100")).start();
    let refused = daemon.wait_for("tenant-refused", is_of("a"));
    assert_eq!(refused.number("rules"), Some(0.0), "{refused}");

    let mark = daemon.log().mark();
    fs::create_dir(daemon.dir().join("a")).expect("it is not there");
    daemon.write("a/knock.toml", rule("ssh", "7000"));
    daemon.wait_since(mark, "reload", |entry| entry.number("rules") == Some(2.0));
    expect_open(&lab, &daemon, CLIENT4, STEPS, "a", "ssh");

    let mark = daemon.log().mark();
    fs::rename(daemon.dir().join("a"), daemon.dir().join("away")).expect("it is there");
    let refused = daemon.wait_since(mark, "tenant-refused", is_of("a"));
    assert_eq!(refused.number("rules"), Some(1.0), "{refused}");
    daemon.wait_since(mark, "reload", |entry| entry.number("rules") == Some(2.0));

    let mark = daemon.log().mark();
    fs::rename(daemon.dir().join("away"), daemon.dir().join("a")).expect("it is there");
    daemon.wait_since(mark, "reload", |_| true);
    let mark = daemon.log().mark();
    daemon.write("a/knock.toml", rule("ssh", "7300"));
    daemon.wait_since(mark, "reload", |_| true);
    expect_open(&lab, &daemon, STRANGER4, "7300/udp 8000/tcp 9000/udp", "a", "ssh");
    daemon.stop();
}

#[test]
fn check_shows_the_mistakes_of_all() {
    let Some(lab) = Lab::if_possible() else { return };
    let good =
        setup(&lab).file("a/knock.toml", rule("ssh", "7000")).file("b/knock.toml", rule("web", "7100"));
    let output = good.check();
    assert!(output.status.success(), "{output:?}");
    let bad = good.file("a/knock.toml", GARBAGE).file("b/other.toml", rule("ssh", "7100"));
    let output = bad.check();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    for file in ["a/knock.toml", "b/other.toml"] {
        assert!(told.contains(&*bad.dir().join(file).to_string_lossy()), "{file} in {told}");
    }
}

#[test]
fn a_flood_of_ones_lines_takes_none_of_the_others() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = setup(&lab)
        .file("a/knock.toml", rule("ssh", "7000"))
        .file("b/knock.toml", rule("web", "7100"))
        .start();
    // More first steps than lines of a's progress are written, all of them before b's client knocks.
    let mut wire = lab.injector();
    for n in 0..1000_u32 {
        let source = SocketAddr::from((Ipv4Addr::from(0xc612_0000 + n), 40_000));
        wire.send(&frame::udp(source, (SERVER4, 7000).into(), b""));
    }
    lab.knock(CLIENT4, "7100/udp 8000/tcp 9000/udp");
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "open web"]);
    let of_a = |entry: &Entry| entry.event() == "stage" && entry.text("tenant") == "a";
    let written = daemon.log().entries().iter().filter(|entry| of_a(entry)).count();
    assert!((1..500).contains(&written), "{written} lines of a's");
    daemon.stop();
}

/// Knocks until what b has written, a rule that begins with this step, opens its door.
#[track_caller]
fn expect_edit(lab: &Lab, daemon: &Daemon<'_>, first: &str) {
    let mark = daemon.log().mark();
    eventually("the edit is in force", || {
        lab.knock(CLIENT6, &format!("{first}/udp 8000/tcp 9000/udp"));
        let opened = |entry: &Entry| ["open", "extend"].contains(&entry.event()) && is_of("b")(entry);
        daemon.log().entries()[mark..].iter().any(opened).then_some(())
    });
}

#[test]
fn one_that_has_other_modules_compiled_without_end_keeps_back_nobody() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup =
        setup(&lab).file("a/knock.toml", rule("ssh", "7000")).file("b/knock.toml", rule("web", "7100"));
    // Of the tenant whose rules are loaded first; each is another module to whoever compiles.
    let endless = endless();
    let other = |n: u32| [&endless[..], &[0, 6, 1, b'n'], &n.to_le_bytes()].concat();
    let rules: Vec<_> = (0..20).map(|n| (format!("a/bad{n}.wasm"), format!("a/bad{n}.toml"))).collect();
    let daemon = setup.start();
    for (n, (module, file)) in (0..).zip(&rules) {
        daemon.write(module, other(n));
        daemon.write(file, format!("module = \"./bad{n}.wasm\"\ndoor = \"ssh\"\n"));
    }
    daemon.wait_for("tenant-compiling", is_of("a"));
    let mut n = 100;
    let replace = || {
        n += 1;
        daemon.write(&rules[n as usize % rules.len()].0, other(n));
        // As often as the daemon could take it.
        thread::sleep(Duration::from_millis(300));
    };
    while_beside(replace, || {
        for first in ["7200", "7300", "7400"] {
            daemon.write("b/knock.toml", rule("web", first));
            expect_edit(&lab, &daemon, first);
        }
    });
    daemon.expect_none("tenant-refused", is_of("b"));
    daemon.stop();
}

#[test]
fn files_that_are_nothing_but_mistakes_cost_little() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = setup(&lab)
        .file("a/knock.toml", rule("ssh", "7000"))
        .file("b/knock.toml", rule("web", "7100"))
        .start();
    let before = daemon.resident_kib();
    let many = |name: &dyn Fn(u32) -> String| {
        let names: Vec<_> = (0..60_000).map(|n| format!("\"{}\"", name(n))).collect();
        format!("module = \"sequence\"\ndoors = [{}]\n", names.join(","))
    };
    for n in 0..10 {
        daemon.write(&format!("a/same{n}.toml"), many(&|_| "a".to_owned()));
        daemon.write(&format!("a/other{n}.toml"), many(&|n| n.to_string()));
    }
    let refused = daemon.wait_for("tenant-refused", is_of("a"));
    assert!(refused.text("detail").contains("at most 64"), "{refused}");
    daemon.write("b/knock.toml", rule("web", "7200"));
    expect_edit(&lab, &daemon, "7200");
    let grown = daemon.resident_kib().saturating_sub(before);
    assert!(grown < 128 * 1024, "{grown} KiB more");
    daemon.stop();
}
