//! kill -9 at any moment, again and again: no stranger gets in, and nothing stays open.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use postern_tests::{CLIENT4, CLIENT6, Lab, Random, eventually};

use crate::disk::Disk;
use crate::strangers::while_strangers_try;
use crate::{A_WHILE, KNOCK, SOON, SSH_2S, STEPS, posternd};

const ROUNDS: usize = 15;

/// What happens while a daemon is about to be killed.
const TROUBLES: [Trouble; 5] =
    [Trouble::None, Trouble::FullDisk, Trouble::WithdrawnRule, Trouble::SecondDaemon, Trouble::HalfAFile];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    FullDisk,
    WithdrawnRule,
    /// One without guard doors, which starts while the first is away and is killed as well.
    SecondDaemon,
    /// postern.toml without the door, and the kill before it is whole again.
    HalfAFile,
}

#[test]
fn killed_at_any_moment_it_lets_no_stranger_in_and_leaves_nothing_open() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let mut random = Random::of_environment(20_261_126);
    let disk = Disk::new();
    fs::create_dir(disk.state()).expect("the disk is ours");
    let setup = posternd(&lab);
    let dir = setup.dir().to_owned();
    symlink(disk.state(), dir.join("state")).expect("the folder is ours");
    let command = |verb: &str| format!(r#"["/bin/sh", "-c", "echo {verb} >> {}/ran"]"#, dir.display());
    let lamp = format!("[doors.lamp]\nopen = {}\nclose = {}\nfor = \"1s\"\n", command("on"), command("off"));
    let whole = format!("{SSH_2S}\n{lamp}");
    let half = format!("interfaces = [\"eth0\"]\n{lamp}");
    let lamp_rule = KNOCK.replace("ssh", "lamp").replace("000/", "001/");
    let mut setup = setup.config(&whole).rule("knock", KNOCK).rule("lamp", &lamp_rule);
    // The guard is up before the first stranger comes.
    setup = setup.start().kill().0;

    let setup = while_strangers_try(&lab, || {
        for round in 0..ROUNDS {
            let trouble = TROUBLES[round % TROUBLES.len()];
            let daemon = setup.start();
            let client: IpAddr = if round % 2 == 0 { CLIENT4 } else { CLIENT6 };
            if trouble == Trouble::FullDisk {
                disk.fill();
            }
            lab.knock(client, STEPS);
            assert!(lab.tcp_connects(client, 22, SOON), "round {round}, {trouble:?}");
            lab.knock(client, "7001/udp 8001/tcp 9001/udp");
            let mark = daemon.log().mark();
            match trouble {
                Trouble::WithdrawnRule => daemon.remove("rules/knock.toml"),
                // Its rule would be a mistake without the door.
                Trouble::HalfAFile => {
                    daemon.remove("rules/knock.toml");
                    daemon.write("postern.toml", &half);
                }
                Trouble::None | Trouble::FullDisk | Trouble::SecondDaemon => {}
            }
            if matches!(trouble, Trouble::WithdrawnRule | Trouble::HalfAFile) {
                daemon.wait_since(mark, "reload", |_| true);
                lab.knock(client, STEPS);
            }
            // Whatever it is in the middle of by now.
            thread::sleep(Duration::from_micros(random.number() % 40_000));
            setup = daemon.kill().0;
            match trouble {
                Trouble::FullDisk => disk.free(),
                Trouble::WithdrawnRule => setup = setup.rule("knock", KNOCK),
                // One more starts with the half, and is killed before it may let go.
                Trouble::HalfAFile => setup = setup.start().kill().0.config(&whole).rule("knock", KNOCK),
                Trouble::SecondDaemon => {
                    let lamp = "interfaces = [\"eth0\"]\n[doors.other]\nopen = [\"/bin/true\"]\n";
                    let other = KNOCK.replace("ssh", "other").replace("000/", "002/");
                    let other = posternd(&lab).config(lamp).rule("other", &other).start();
                    lab.knock(client, STEPS);
                    drop(other.kill());
                }
                Trouble::None => {}
            }
        }
        setup
    });

    // The last daemon closes what all of them left open, and no door is open past its time.
    let daemon = setup.start();
    eventually("what was opened is closed", || {
        let ran = fs::read_to_string(dir.join("ran")).unwrap_or_default();
        let count = |word| ran.lines().filter(|line| *line == word).count();
        (count("on") > 0 && count("off") >= count("on")).then_some(())
    });
    eventually("the clients' time is over", || {
        let is_closed = |client| lab.tcp(client, 22, A_WHILE).is_silence();
        (is_closed(CLIENT4) && is_closed(CLIENT6)).then_some(())
    });
    daemon.stop();
}
