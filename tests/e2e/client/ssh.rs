//! A real `ssh` that knocks by itself, at a real `sshd` behind a guarded port.

use std::ffi::OsStr;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use postern_tests::{Lab, Program, eventually, tool, with_files};

use super::{Home, Said, WAYS, guard, postern, profile};
use crate::{SOON, STORY};

/// As the client's README says it.
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
const SSHD_CONFIG: &str = "
    HostKey HOME/host-key
    AuthorizedKeysFile HOME/key.pub
    PidFile HOME/sshd.pid
    UsePAM no
    StrictModes no
    PermitRootLogin prohibit-password
";

#[test]
fn ssh_knocks_and_gets_in() {
    let (Some(tools), Some(lab)) = (Tools::find(), Lab::if_possible()) else { return };
    let daemon = guard(&lab);
    let site = Site::new(&lab, tools);
    for (server, client) in WAYS {
        site.configure(server, &profile("gate", server, &site.then()));
        let without = site.ssh("hosts", &["-o", "ConnectTimeout=1"]);
        assert_eq!(without.code, Some(255), "{without:?}");
        assert!(without.err.contains("timed out"), "{without:?}");
        assert_eq!(daemon.story(client), [""; 0]);

        site.ssh("config", &[]).expect(0, "inside\n", "");
        daemon.expect_story(client, &STORY);

        // The other way round: the profile ends in an ssh, which knocks again and does not start over.
        let by_profile = site.home.run(with_postern(Command::new(postern()).args(["knock", "gate"])));
        by_profile.expect(0, "open after N ms\ninside\n", "");
        let again = ["stage 1", "stage 2", "extend ssh"];
        // The door is open before that is logged, and the next knock may be logged in between.
        let mut expected = [&STORY[..], &again, &again].concat();
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
    let (Some(tools), Some(lab)) = (Tools::find(), Lab::if_possible()) else { return };
    let daemon = guard(&lab);
    let site = Site::new(&lab, tools);
    let (server, client) = WAYS[0];
    let right = profile("gate", server, "timeout = \"300ms\"");
    let cases = [
        (right.replace("8000/tcp", "8001/tcp"), "postern: tcp/22 did not open within 300ms: no answer\n"),
        (right.replace("[gate]", "[gaet]"), "has no profile `gate`; it has gaet\n"),
    ];
    for (profile, expected) in cases {
        site.configure(server, &profile);
        let start = Instant::now();
        let said = site.ssh("config", &[]);
        // Waiting for the silent port would take twice as long.
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert_eq!(said.code, Some(255), "{said:?}");
        assert!(said.err.contains(expected), "{said:?}");
    }
    daemon.expect_none("open", |_| true);
    assert!(lab.tcp(client, 22, crate::A_WHILE).is_silence());
    daemon.stop();
}

struct Tools {
    sshd: PathBuf,
    ssh: PathBuf,
    keygen: PathBuf,
}

impl Tools {
    fn find() -> Option<Self> {
        Some(Self { sshd: tool("sshd")?, ssh: tool("ssh")?, keygen: tool("ssh-keygen")? })
    }
}

/// A server with sshd, and a user on the client with a key to it.
struct Site<'lab> {
    home: Home<'lab>,
    ssh: PathBuf,
    _sshd: Program,
}

impl<'lab> Site<'lab> {
    fn new(lab: &'lab Lab, tools: Tools) -> Self {
        let home = Home::new(lab);
        for key in ["host-key", "key"] {
            let keygen = Command::new(&tools.keygen)
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(home.path(key))
                .status();
            assert!(keygen.is_ok_and(|status| status.success()), "{key}");
        }
        let config = SSHD_CONFIG.replace("HOME", &home.folder.path().display().to_string());
        home.write("sshd_config", &config);
        let sshd = Program::start(lab.server(), sshd(lab, &home, &tools.sshd), "listening on :: port 22");
        Self { home, ssh: tools.ssh, _sshd: sshd }
    }

    /// Writes `hosts`, without a knock, `config`, with one, and the profiles.
    fn configure(&self, server: IpAddr, profiles: &str) {
        let key = self.home.path("key").display().to_string();
        let hosts = HOSTS.replace("SERVER", &server.to_string()).replace("KEY", &key);
        self.home.write("hosts", &hosts);
        self.home.write("config", &format!("{MATCH}{hosts}"));
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

/// sshd with users of its own, so that nothing depends on whether the system's root may log in.
///
/// Where no process may change its user, as in a namespace that a normal user made, it runs as a user itself: then it lets in that
/// user and changes to nobody.
fn sshd(lab: &Lab, home: &Home<'_>, program: &Path) -> Command {
    let may_change = fs::read_to_string("/proc/self/setgroups").is_ok_and(|word| word.trim() == "allow");
    let uid = if may_change { 0 } else { 1000 };
    home.write(
        "passwd",
        &format!("root:x:{uid}:{uid}::/:/bin/sh\nsshd:x:65534:65534::/run/sshd:/usr/sbin/nologin\n"),
    );
    home.write("shadow", "root:*:20000::::::\nsshd:*:20000::::::\n");
    let (passwd, shadow, config) = (home.path("passwd"), home.path("shadow"), home.path("sshd_config"));
    let mut argv = Vec::new();
    if may_change {
        // sshd wants it there; whatever starts it as a service makes it.
        fs::create_dir_all("/run/sshd").expect("root may");
    } else {
        lab.server().feed(&["tee", "/proc/sys/net/ipv4/ip_unprivileged_port_start"], "0");
        argv.extend(["unshare", "--user", "--map-user=1000"].map(OsStr::new));
    }
    argv.extend([program.as_os_str(), "-D".as_ref(), "-e".as_ref(), "-f".as_ref(), config.as_os_str()]);
    with_files(&[(&passwd, "/etc/passwd"), (&shadow, "/etc/shadow")], &argv)
}
