//! Pair: both daemons on the same interface with the same configuration, and what each of them says and does.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use postern_tests::{Injector, Lab, eventually, frame};
use tempfile::TempDir;

/// Doors of every configuration here: one that fires for each packet, and one that no client ever opens.
const OWN_DOORS: &str = "
[sentinel]
    sequence = 65000:udp
    target = 10.79.0.1
    start_command = echo sentinel start %IP% >> JOURNAL
[anchor]
    sequence = 65001:udp,65002:udp
    seq_timeout = 3600
    target = 10.79.0.2
    start_command = echo anchor start %IP% >> JOURNAL
";
const SENTINEL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 79, 0, 1));
const ANCHOR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 79, 0, 2));

/// The two daemons and the wire to them.
pub(super) struct Pair {
    pub(super) knockd: Listener,
    pub(super) postern: Listener,
    wire: Injector,
    sentinels: u16,
    _folder: TempDir,
}

/// One of them; killed when dropped.
pub(super) struct Listener {
    command: String,
    child: Child,
    said: PathBuf,
    journal: PathBuf,
}

/// What a daemon made of one client's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// What it said in order: `a1` is stage 1 of door a, `a!` that it opened, `a?1` that the time was up at stage 1.
    pub(super) story: Vec<String>,
    /// Which commands ran, sorted: those that run at the same time end in any order. `a timeout` is what it says before the stop.
    pub(super) ran: Vec<String>,
}

impl Pair {
    /// Both daemons, listening. `JOURNAL` in the configuration is a file that each has of its own.
    #[track_caller]
    pub(super) fn start(lab: &Lab, knockd: &Path, conf: &str) -> Self {
        let folder = TempDir::with_prefix("postern-differential-").expect("a temporary folder");
        let conf = format!("[options]\n{conf}{OWN_DOORS}");
        let postern = Command::new(env!("CARGO_BIN_EXE_posternd"));
        let mut with_knockd = postern;
        with_knockd.arg("knockd");
        Self {
            knockd: Listener::start(lab, Command::new(knockd), folder.path(), "knockd", &conf),
            postern: Listener::start(lab, with_knockd, folder.path(), "postern", &conf),
            wire: lab.injector(),
            sentinels: 0,
            _folder: folder,
        }
    }

    pub(super) fn send(&mut self, frame: &[u8]) {
        self.wire.send(frame);
    }

    /// Has knockd's oldest attempt be one that never ends, so that its removal cannot take all others with it.
    pub(super) fn anchor(&mut self) {
        // That knockd listens is said before it captures.
        eventually("both hear the wire", || {
            let source = self.next_sentinel();
            self.send_sentinel(source);
            sleep(Duration::from_millis(50));
            let line = format!("sentinel start {source}");
            let heard = |it: &&Listener| read(&it.journal).lines().any(|written| written == line);
            [&self.knockd, &self.postern].iter().all(heard).then_some(())
        });
        let source = SocketAddr::new(self.next_sentinel(), 1);
        self.wire.send(&frame::udp(source, SocketAddr::new(ANCHOR, 65001), b""));
        self.settle();
    }

    /// Waits until both daemons have seen all that was sent; what they do about it may still be on its way.
    #[track_caller]
    pub(super) fn settle(&mut self) {
        let source = self.next_sentinel();
        self.send_sentinel(source);
        for listener in [&self.knockd, &self.postern] {
            let line = format!("sentinel start {source}");
            eventually(&format!("`{line}` by {}", listener.command), || {
                read(&listener.journal).lines().any(|written| written == line).then_some(())
            });
        }
    }

    fn send_sentinel(&mut self, source: IpAddr) {
        self.wire.send(&frame::udp(SocketAddr::new(source, 1), SocketAddr::new(SENTINEL, 65000), b""));
    }

    fn next_sentinel(&mut self) -> IpAddr {
        self.sentinels += 1;
        let [high, low] = self.sentinels.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(198, 19, high, low))
    }
}

impl Listener {
    #[track_caller]
    fn start(lab: &Lab, mut command: Command, folder: &Path, name: &str, conf: &str) -> Self {
        let path = |ending: &str| folder.join(format!("{name}.{ending}"));
        let (conf_path, said, journal) = (path("conf"), path("said"), path("journal"));
        let conf = conf.replace("JOURNAL", &journal.display().to_string());
        fs::write(&conf_path, &conf).expect("the folder is ours");
        let out = File::create(&said).expect("the folder is ours");
        let err = out.try_clone().expect("a file can be had twice");
        command.args(["-v", "-i", "eth0", "-c"]).arg(&conf_path);
        command.env("STATE_DIRECTORY", folder).stdin(Stdio::null()).stdout(out).stderr(err);
        let words = format!("{command:?}");
        let child = lab.server().spawn(&mut command).unwrap_or_else(|e| panic!("cannot start {words}: {e}"));
        let mut listener = Self { command: words, child, said, journal };
        eventually(&format!("{} listens", listener.command), || {
            let ended = listener.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "{} ended:\n{}\n{conf}", listener.command, read(&listener.said));
            read(&listener.said).contains("listening on").then_some(())
        });
        listener
    }

    /// What it said of a door, with its own journal as `JOURNAL`.
    pub(super) fn said_of(&self, door: &str) -> Vec<String> {
        let said = read(&self.said).replace(&self.journal.display().to_string(), "JOURNAL");
        let is_of_door = |line: &&str| line.split(": ").take(2).any(|part| part == door);
        said.lines().filter(is_of_door).map(str::to_owned).collect()
    }

    /// What it made of the packets of every client.
    pub(super) fn accounts(&self) -> BTreeMap<IpAddr, Account> {
        let mut accounts = BTreeMap::<IpAddr, Account>::new();
        for line in read(&self.said).lines() {
            let mut parts = line.split(": ");
            let (Some(Ok(source)), Some(door), Some(what)) =
                (parts.next().map(str::parse), parts.next(), parts.next())
            else {
                continue;
            };
            let account = accounts.entry(source).or_default();
            let timeout =
                what.strip_prefix("sequence timeout (stage ").and_then(|rest| rest.strip_suffix(')'));
            match (what, what.strip_prefix("Stage "), timeout) {
                ("OPEN SESAME", ..) => account.story.push(format!("{door}!")),
                ("command timeout", ..) => account.ran.push(format!("{door} timeout")),
                (_, Some(stage), _) => account.story.push(format!("{door}{stage}")),
                (.., Some(stage)) => account.story.push(format!("{door}?{stage}")),
                _ => account.story.push(line.to_owned()),
            }
        }
        for line in read(&self.journal).lines() {
            let (what, source) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a journal with {line:?}"));
            let source = source.parse().unwrap_or_else(|e| panic!("{line:?}: {e}"));
            accounts.entry(source).or_default().ran.push(what.to_owned());
        }
        accounts.values_mut().for_each(|account| account.ran.sort());
        accounts
    }
}

impl Account {
    /// Whether start, timeout and stop ran for each opening, and nothing else did.
    pub(super) fn is_complete(&self) -> bool {
        let opened = self.story.iter().filter_map(|word| word.strip_suffix('!'));
        let mut expected: Vec<_> = opened
            .flat_map(|door| ["start", "stop", "timeout"].map(|what| format!("{door} {what}")))
            .collect();
        expected.sort();
        self.ran == expected
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("\n--- {}\n{}", self.command, read(&self.said));
        }
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is there of a file that another process writes; empty if it is not there yet.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
