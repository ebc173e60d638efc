//! Rules of a tenant that take long to try: nobody else waits for them.

use std::time::{Duration, Instant};

use postern_tests::guest::guest;
use postern_tests::{CLIENT4, Entry, Lab, eventually};

use crate::posternd;

const CONFIG: &str = r#"
    interfaces = ["eth0"]
    [doors.good]
    guard = "tcp/22"
    [doors.bad]
    guard = "tcp/80"
    [tenants.bad]
    rules = "bad"
    grant = { any_port = true, interfaces = ["any"], doors = ["bad"] }
    limits = { rules = 100, cpu = "10ms" }
    [tenants.good]
    rules = "good"
    grant = { any_port = true, interfaces = ["any"], doors = ["good"] }
"#;
/// Rules that never start. Each is stopped after 100 ms, so all of them would take ten seconds.
const RULES: usize = 100;
/// What another's change may take beside them, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(4);

fn good(first: u16) -> String {
    format!(
        "module = \"sequence\"\ndoor = \"good\"\n[settings]\nsequence = [\"{first}/udp\", \"8000/udp\"]\n"
    )
}

#[test]
fn a_hundred_rules_that_never_start_delay_no_other_tenants_change() {
    let Some(lab) = Lab::if_possible() else { return };
    let spins = guest("", "(loop $forever (br $forever)) (i32.const 48)", "(i32.const 96)");
    let daemon = posternd(&lab)
        .config(CONFIG)
        .file("good/knock.toml", good(7000))
        .file("bad/spins.wasm", spins)
        .start();
    // Both modules are known from then on, so that nothing but trying takes long.
    daemon.wait_for("reload", |entry| entry.number("rules") == Some(1.0));
    let is_refused =
        |entry: &Entry| entry.text("tenant") == "bad" && entry.text("detail").contains("CPU time");
    let rule = "module = \"./spins.wasm\"\ndoor = \"bad\"\nlimits.cpu = \"10ms\"\n";
    let mark = daemon.log().mark();
    daemon.write("bad/0.toml", rule);
    daemon.wait_since(mark, "tenant-refused", is_refused);

    let mark = daemon.log().mark();
    for n in 0..RULES {
        daemon.write(&format!("bad/{n}.toml"), rule);
    }
    daemon.write("good/knock.toml", good(7500));
    let begin = Instant::now();
    // What it changed is in force when a client gets in by it.
    eventually("the new knock opens", || {
        lab.knock(CLIENT4, "7500/udp 8000/udp");
        daemon.story(CLIENT4).contains(&"open good".to_owned()).then_some(())
    });
    let took = begin.elapsed();
    println!("opens beside {RULES} rules that never start: {:.2} s", took.as_secs_f64());
    assert!(took < SOON, "{took:?}");
    let refused = daemon.wait_since(mark, "tenant-refused", |entry| {
        is_refused(entry) && entry.text("detail").contains("98 rules were not tried")
    });
    assert!(refused.text("detail").contains("what each tenant has for it at a time"), "{refused}");
    // Nothing is tried again for its own sake.
    daemon.expect_none("tenant-trying", |_| true);
    daemon.stop();
}
