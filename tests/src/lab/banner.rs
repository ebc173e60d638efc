//! Banner: how long it takes from a command until sshd's banner is there, at an open port and through a knock. It only measures; what is
//! too long its callers say.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::program::Program;
use super::sshd::sshd;
use super::{CLIENT4, Lab, SERVER4, steps};
use crate::deadline::{eventually, sleep_until};
use crate::skip::tool;

/// The port that a knock opens, and one that is always open.
const GUARDED: u16 = 22;
const OPEN: u16 = 2222;
/// How long the knock opens it, as [`BannerSite::DOOR`] says.
const OPEN_FOR: Duration = Duration::from_secs(1);

/// The knock, and what the client's README says of OpenSSH beside plain ssh to an open port.
const SSH_CONFIG: &str = r#"
    Match originalhost match !exec "postern knock -l gate --no-then"
        ProxyCommand false
    Host fdpass
        ProxyCommand postern knock -l gate --fdpass
        ProxyUseFdpass yes
    Host open
        Port OPEN
    Host *
        HostName SERVER
        BatchMode yes
        LogLevel DEBUG1
        GlobalKnownHostsFile /dev/null
        UserKnownHostsFile /dev/null
"#;
const PROFILE: &str = r#"
    [gate]
    host = "SERVER"
    steps = [STEPS]
    wait = "tcp/GUARDED"
    then = "SSH -F HOME/config then"
"#;
/// What ssh says when it has read the banner.
const BANNER: &str = "remote software version";

/// A way to the banner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BannerWay {
    /// `ssh` to an open port.
    Ssh,
    /// `ssh` that has `postern` knock and connect, and goes on with its connection.
    SshFdpass,
    /// `ssh` whose configuration has it knock first.
    SshMatch,
    /// `postern knock` with a profile that ends in an `ssh`.
    Then,
    /// A socket to an open port.
    Tcp,
    /// `postern knock --wait`, and then a socket.
    KnockTcp,
}

/// An sshd with a guarded port and an open one, and a client who knocks at it.
///
/// The caller runs a `posternd` beside it, with [`BannerSite::DOOR`].
#[derive(Debug)]
pub struct BannerSite<'lab> {
    lab: &'lab Lab,
    home: TempDir,
    ssh: PathBuf,
    postern: PathBuf,
    _sshd: Program,
}

impl BannerWay {
    /// All of them; those that knock come right after what they are compared with.
    pub const ALL: [Self; 6] =
        [Self::Ssh, Self::SshFdpass, Self::SshMatch, Self::Then, Self::Tcp, Self::KnockTcp];

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::SshFdpass => "ssh, fdpass",
            Self::SshMatch => "ssh, Match exec",
            Self::Then => "postern, ssh",
            Self::Tcp => "socket",
            Self::KnockTcp => "postern, socket",
        }
    }

    /// How it does without a knock; itself if it has none.
    #[must_use]
    pub const fn without_knock(self) -> Self {
        match self {
            Self::Ssh | Self::SshFdpass | Self::SshMatch | Self::Then => Self::Ssh,
            Self::Tcp | Self::KnockTcp => Self::Tcp,
        }
    }
}

impl<'lab> BannerSite<'lab> {
    /// The door, as `postern.toml` has it: of the guarded port, and open for a second, so that the next knock finds it closed soon.
    pub const DOOR: &'static str = "[doors.ssh]\nguard = \"tcp/22\"\nfor = \"1s\"\n";

    /// With the client at `postern` and this knock; if there is no `ssh` or `sshd` here, the test is [skipped](crate::skip).
    ///
    /// # Panics
    /// If `knock` is none, or what is there does not start.
    #[must_use]
    pub fn if_possible(lab: &'lab Lab, postern: &Path, knock: &str) -> Option<Self> {
        let ssh = tool("ssh")?;
        let home = TempDir::with_prefix("postern-banner-").expect("a temporary folder");
        let sshd = sshd(lab, home.path(), &[GUARDED, OPEN])?;
        // What it cannot read, the client could not either, and would say so where nobody listens.
        let _ = steps(knock);
        let quoted: Vec<_> = knock.split_whitespace().map(|step| format!("\"{step}\"")).collect();
        let fill = |text: &str| {
            text.replace("SERVER", &SERVER4.to_string())
                .replace("STEPS", &quoted.join(", "))
                .replace("GUARDED", &GUARDED.to_string())
                .replace("OPEN", &OPEN.to_string())
                .replace("SSH", &ssh.display().to_string())
                .replace("HOME", &home.path().display().to_string())
        };
        fs::create_dir(home.path().join("postern")).expect("the folder is ours");
        for (name, text) in [("config", SSH_CONFIG), ("postern/profiles.toml", PROFILE)] {
            fs::write(home.path().join(name), fill(text)).expect("the folder is ours");
        }
        Some(Self { lab, home, ssh, postern: postern.to_owned(), _sshd: sshd })
    }

    /// Goes this way once and waits until the door is closed again.
    ///
    /// # Panics
    /// If there is no banner, or the door does not close.
    #[track_caller]
    pub fn time(&self, way: BannerWay) -> Duration {
        let took = match way {
            BannerWay::Ssh => self.ssh("open"),
            BannerWay::SshFdpass => self.ssh("fdpass"),
            BannerWay::SshMatch => self.ssh("match"),
            BannerWay::Then => self.until_banner(Command::new(&self.postern).args(["knock", "gate"])),
            BannerWay::Tcp => self.tcp(OPEN, None),
            BannerWay::KnockTcp => {
                let mut knock = Command::new(&self.postern);
                self.tcp(GUARDED, Some(knock.args(["knock", "gate", "--no-then"])))
            }
        };
        if way != way.without_knock() {
            sleep_until(Instant::now() + OPEN_FOR);
            let patience = took + Duration::from_millis(50);
            eventually("a closed door", || {
                self.lab.tcp(CLIENT4, GUARDED, patience).is_silence().then_some(())
            });
        }
        took
    }

    fn ssh(&self, host: &str) -> Duration {
        self.until_banner(Command::new(&self.ssh).arg("-F").arg(self.home.path().join("config")).arg(host))
    }

    fn until_banner(&self, command: &mut Command) -> Duration {
        self.prepare(command).stderr(Stdio::piped());
        let (start, child) = self.lab.client().run(|| (Instant::now(), command.spawn()));
        let mut child = child.unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        let mut said = Vec::new();
        let lines = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
        let took = lines.map_while(Result::ok).find_map(|line| {
            let is_it = line.contains(BANNER);
            said.push(line);
            is_it.then(|| start.elapsed())
        });
        // What comes after the banner is not our subject.
        let _ = child.kill();
        let _ = child.wait();
        took.unwrap_or_else(|| panic!("no banner: {command:?}\n{}", said.join("\n")))
    }

    fn tcp(&self, port: u16, knock: Option<&mut Command>) -> Duration {
        let knock = knock.map(|command| self.prepare(command));
        self.lab.client().run(|| {
            let start = Instant::now();
            if let Some(command) = knock {
                let status = command.status().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
                assert!(status.success(), "{command:?}: {status}");
            }
            let mut stream = TcpStream::connect(SocketAddr::new(SERVER4, port)).expect("an open port");
            stream.read_exact(&mut [0; 4]).expect("a banner");
            start.elapsed()
        })
    }

    fn prepare<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let dir = self.postern.parent().expect("a file is in a folder");
        command
            .env("PATH", format!("{}:/usr/bin:/bin", dir.display()))
            .env("SHELL", "/bin/sh")
            .env("XDG_CONFIG_HOME", self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
    }
}
