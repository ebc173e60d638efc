//! The examples of rules in all languages, in one daemon: each opens its door for the same two packets.

use std::fmt::Write as _;

use postern_tests::{CLIENT4, CLIENT6, Lab, STRANGER4, examples};

use crate::{A_WHILE, SOON, posternd};

const FIRST_PORT: u16 = 2201;

#[test]
fn the_same_rule_in_every_language_opens_a_door() {
    let Some(lab) = Lab::if_possible() else { return };
    let modules: Vec<_> =
        examples::LANGUAGES.iter().filter_map(|name| Some((*name, examples::module(name)?))).collect();
    let doors: Vec<_> = (FIRST_PORT..).zip(&modules).map(|(port, (name, _))| (port, *name)).collect();
    let mut config = "interfaces = [\"eth0\"]\n".to_owned();
    for (port, name) in &doors {
        writeln!(config, "[doors.{name}]\nguard = \"tcp/{port}\"\nfor = \"60s\"").unwrap();
    }
    let mut setup = posternd(&lab).config(&config);
    for (name, module) in &modules {
        let rule = format!("module = \"{name}.wasm\"\ndoor = \"{name}\"\n[settings]\nwithin = \"9s\"\n");
        setup = setup.rule(name, &rule).file(&format!("rules/{name}.wasm"), module);
    }
    // Takes as long as the compilers take, and the daemon finds what they made.
    let checked = setup.check();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let daemon = setup.start();
    let services: Vec<_> = doors.iter().map(|(port, _)| lab.tcp_service(*port)).collect();

    lab.knock(STRANGER4, "7001/tcp 7000/udp");
    for client in [CLIENT4, CLIENT6] {
        lab.knock(client, "7000/udp 7001/tcp");
        for (port, name) in &doors {
            let of_rule = |entry: &postern_tests::Entry| {
                entry.text("rule") == *name && entry.text("src") == client.to_string()
            };
            daemon.wait_for("stage", of_rule);
            daemon.wait_for("open", of_rule);
            daemon.wait_for("says", |entry| {
                entry.text("rule") == *name && entry.to_string().contains("second knock after ")
            });
            assert!(lab.tcp_connects(client, *port, SOON), "{name} opened its door for {client}");
            assert!(lab.tcp(STRANGER4, *port, A_WHILE).is_silence(), "{name}");
        }
    }
    daemon.expect_none("fault", |_| true);
    drop(services);
    daemon.stop();
}
