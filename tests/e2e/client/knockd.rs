//! Against the daemon that knocks are known from: Debian's `knockd`.

use std::fs;
use std::process::Command;

use postern_tests::{Lab, Program, eventually, tool};

use super::{HITS, Home, WAYS};

const CONF: &str = "
[options]
[ssh]
    sequence      = 7000:udp,8000:tcp,9000:udp
    seq_timeout   = 10
    tcpflags      = syn
    start_command = echo %IP% >> OPENED
";

#[test]
fn knockd_understands_postern() {
    let (Some(knockd), Some(lab)) = (tool("knockd"), Lab::if_possible()) else { return };
    let home = Home::new(&lab);
    let opened = home.path("opened");
    home.write("knockd.conf", &CONF.replace("OPENED", &opened.display().to_string()));
    let mut command = Command::new(knockd);
    command.args(["-v", "-i", "eth0", "-c"]).arg(home.path("knockd.conf"));
    let _knockd = Program::start(lab.server(), command, "listening on");
    let mut expected = String::new();
    for (server, client) in WAYS {
        let server = server.to_string();
        home.postern(&["knock", &server, HITS[0], HITS[2], HITS[1]]).expect(0, "", "");
        home.postern(&["knock", &server, HITS[0], HITS[1], HITS[2]]).expect(0, "", "");
        expected += &format!("{client}\n");
        eventually(&format!("knockd opens for {client}, and once"), || {
            (fs::read_to_string(&opened).unwrap_or_default() == expected).then_some(())
        });
    }
}
