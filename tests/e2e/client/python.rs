//! Moving from `python_port_knocker`: its file of profiles, and the same packets on the wire.

use std::net::IpAddr;
use std::time::Duration;

use postern_tests::{CLIENT4, CLIENT6, Daemon, Lab, STRANGER4};

use super::{Home, WAYS, guard};
use crate::{KNOCK, SOON, SSH_2S, STEPS, STORY, posternd};

/// How long that client holds on to a TCP port that does not answer.
const HOLD: Duration = Duration::from_millis(200);

#[test]
fn its_profiles_open_the_door() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let daemon = guard(&lab);
    let home = Home::new(&lab);
    let mut profiles = "[DEFAULT]\ninterval = 5\nports = 7000:UDP 8000:TCP 9000:UDP\n".to_owned();
    for (n, (server, _)) in WAYS.iter().enumerate() {
        profiles += &format!("[gate {n}]\nipaddr = {server}\n");
    }
    home.write("profiles", &profiles);
    let file = home.path("profiles");
    for (n, (_, client)) in WAYS.into_iter().enumerate() {
        let (file, name) = (file.to_str().expect("a path of ours"), format!("gate {n}"));
        home.postern(&["knock", "-f", file, "-l", &name, "--wait", "tcp/22"]).expect(
            0,
            "open after N ms\n",
            "",
        );
        daemon.expect_story(client, &STORY);
    }
    daemon.stop();
}

#[test]
fn its_way_of_knocking_opens_the_door() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    // Another client each time: what is open outlives a daemon.
    let opens_for = |client: IpAddr, daemon: Daemon<'_>| {
        for step in STEPS.split(' ') {
            match step.strip_suffix("/tcp") {
                None => lab.knock(client, step),
                Some(port) => drop(lab.tcp(client, port.parse().expect("a port"), HOLD)),
            }
        }
        daemon.expect_story(client, &STORY);
        assert!(lab.tcp_connects(client, 22, SOON), "{client}");
        let (setup, _) = daemon.stop();
        let config = setup.dir().join("postern.toml");
        let reset = lab.server_exec(&[crate::PROGRAM, "reset", "--config", config.to_str().expect("UTF-8")]);
        assert!(reset.status.success(), "{reset:?}");
    };
    // The port of its TCP step refuses.
    opens_for(CLIENT4, guard(&lab));
    {
        // It listens: then there is a whole conversation, of which the rule must want the first packet only.
        let _service = lab.tcp_service(8000);
        let rule = format!("{KNOCK}    tcp_flags = [\"syn\", \"!ack\"]\n");
        opens_for(STRANGER4, posternd(&lab).config(SSH_2S).rule("knock", &rule).start());
    }
    // It is silent.
    lab.firewall("table inet t { chain c { type filter hook input priority 0; tcp dport 8000 drop; }; }");
    opens_for(CLIENT6, guard(&lab));
}
