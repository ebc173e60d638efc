//! A control socket for those who run a knockd.conf, if they want one.

use std::process::Command;

use postern_tests::{CLIENT4, Lab, eventually};
use tempfile::TempDir;

use super::{ARTICLE, Knockd};
use crate::client::postern;

#[test]
fn knockds_users_may_ask_as_well() {
    let Some(lab) = Lab::if_possible() else { return };
    let folder = TempDir::with_prefix("postern-").unwrap();
    let socket = folder.path().join("control.sock");
    let knockd = Knockd::start(&lab, ARTICLE, &["--control-socket", socket.to_str().unwrap()], &[]);
    let ask = |what: &[&str]| {
        let output = Command::new(postern()).args(what).arg("--socket").arg(&socket).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let rules = ask(&["rules"]);
    assert!(rules.contains("SSH   running  "), "{rules}");
    lab.knock(CLIENT4, "1111/udp 2222/udp");
    eventually("the opening", || ask(&["doors"]).contains("SSH   10.77.0.2").then_some(()));
    let explained = ask(&["explain", &CLIENT4.to_string()]);
    assert!(explained.contains("step 1 was right"), "{explained}");
    drop(knockd);
}
