//! A real `ssh` that knocks by itself, at a real `sshd` behind a guarded port.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use postern_tests::{Lab, Program, eventually, sshd, tool};

use super::{Home, Said, WAYS, guard, postern, profile};
use crate::{SOON, STORY};

/// Both ways of the client's README.
const FDPASS: &str = "
    Host gate
        ProxyCommand postern knock -l gate --fdpass
        ProxyUseFdpass yes
";
const MATCH: &str = r#"
    Match originalhost gate !exec "postern knock -l gate --no-then"
        ProxyCommand false
"#;
const HOSTS: &str = "
    Host gate
        HostName SERVER
        User root
        IdentityFile KEY
        IdentitiesOnly yes
        BatchMode yes
        StrictHostKeyChecking no
        UserKnownHostsFile /dev/null
        ConnectTimeout 10
        LogLevel ERROR
";

#[test]
fn ssh_knocks_and_gets_in() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = guard(&lab);
    let Some(site) = Site::if_possible(&lab) else { return };
    for (server, client) in WAYS {
        site.configure(server, &profile("gate", server, &site.then()));
        let without = site.ssh("hosts", &["-o", "ConnectTimeout=1"]);
        assert_eq!(without.code, Some(255), "{without:?}");
        assert!(without.err.contains("timed out"), "{without:?}");
        assert_eq!(daemon.story(client), [""; 0]);

        site.ssh("config", &[]).expect(0, "inside\n", "");
        daemon.expect_story(client, &STORY);
        let again = ["stage 1", "stage 2", "extend ssh"];
        site.ssh("fdpass", &[]).expect(0, "inside\n", "");
        daemon.expect_story(client, &[&STORY[..], &again].concat());

        // The other way round: the profile ends in an ssh, which knocks again and does not start over.
        let by_profile = site.home.run(with_postern(Command::new(postern()).args(["knock", "gate"])));
        by_profile.expect(0, "open after N ms\ninside\n", "");
        // The door is open before that is logged, and the next knock may be logged in between.
        let mut expected = [&STORY[..], &again, &again, &again].concat();
        expected.sort_unstable();
        eventually("the whole story", || {
            let mut story = daemon.story(client);
            story.sort_unstable();
            (story == expected).then_some(())
        });
    }
    daemon.stop();
}

#[test]
fn ssh_with_a_wrong_profile_ends_at_once_and_says_why() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = guard(&lab);
    let Some(site) = Site::if_possible(&lab) else { return };
    let (server, client) = WAYS[0];
    let right = profile("gate", server, "timeout = \"300ms\"");
    let cases = [
        (right.replace("8000/tcp", "8001/tcp"), "postern: tcp/22 did not open within 300ms: no answer\n"),
        (right.replace("[gate]", "[gaet]"), "has no profile `gate`; it has gaet\n"),
    ];
    for (profile, expected) in cases {
        site.configure(server, &profile);
        for config in ["config", "fdpass"] {
            let start = Instant::now();
            let said = site.ssh(config, &[]);
            // Waiting for the silent port would take twice as long.
            assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
            assert_eq!(said.code, Some(255), "{said:?}");
            assert!(said.err.contains(expected), "{said:?}");
        }
    }
    daemon.expect_none("open", |_| true);
    assert!(lab.tcp(client, 22, crate::A_WHILE).is_silence());
    daemon.stop();
}

#[test]
fn a_connection_is_handed_to_ssh_alone() {
    let Some(lab) = Lab::if_possible() else { return };
    let home = Home::new(&lab);
    let cases = [
        (
            &["--wait", "tcp/22"][..],
            "standard output is not a socket that takes a connection; it is for ssh, with",
        ),
        (&[], "there is no door to connect to; say which by --wait"),
    ];
    for (more, expected) in cases {
        let said = home.postern(&[&["knock", "10.77.0.1", "7000", "--fdpass"], more].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.err.starts_with(&format!("postern: --fdpass: {expected}")), "{said:?}");
    }
}

#[test]
fn a_connection_that_nobody_takes_is_said() {
    let Some(lab) = Lab::if_possible() else { return };
    let (home, _ssh) = (Home::new(&lab), lab.tcp_service(22));
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    drop(ours);
    let mut command = Command::new(postern());
    command.args(["knock", "10.77.0.1", "7000:udp", "--wait", "tcp/22", "--fdpass"]);
    let said = home.run(command.stdout(OwnedFd::from(theirs)));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.starts_with("postern: cannot hand over the connection: Broken pipe"), "{said:?}");
}

/// A server with sshd, and a user on the client with a key to it.
struct Site<'lab> {
    home: Home<'lab>,
    ssh: PathBuf,
    _sshd: Program,
}

impl<'lab> Site<'lab> {
    fn if_possible(lab: &'lab Lab) -> Option<Self> {
        let (ssh, home) = (tool("ssh")?, Home::new(lab));
        let sshd = sshd(lab, home.folder.path(), &[22])?;
        Some(Self { home, ssh, _sshd: sshd })
    }

    /// Writes `hosts`, without a knock, `config` and `fdpass`, with one, and the profiles.
    fn configure(&self, server: IpAddr, profiles: &str) {
        let key = self.home.path("key").display().to_string();
        let hosts = HOSTS.replace("SERVER", &server.to_string()).replace("KEY", &key);
        self.home.write("hosts", &hosts);
        self.home.write("config", &format!("{MATCH}{hosts}"));
        self.home.write("fdpass", &format!("{FDPASS}{hosts}"));
        self.home.write("postern/profiles.toml", profiles);
    }

    /// Runs a command on the server, by the configuration of this name.
    fn ssh(&self, config: &str, options: &[&str]) -> Said {
        let mut command = Command::new(&self.ssh);
        command.arg("-F").arg(self.home.path(config)).args(options).args(["gate", "echo inside"]);
        self.home.run(with_postern(&mut command))
    }

    /// What a profile says to end in the same.
    fn then(&self) -> String {
        format!(
            "then = \"{} -F {} gate echo inside\"",
            self.ssh.display(),
            self.home.path("config").display()
        )
    }
}

/// Where ssh finds `postern` and a shell to run it.
fn with_postern(command: &mut Command) -> &mut Command {
    let program = postern();
    let dir = program.parent().expect("a file is in a folder");
    command.env("PATH", format!("{}:/usr/bin:/bin", dir.display())).env("SHELL", "/bin/sh")
}
