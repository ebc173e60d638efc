//! Subject: those under measurement, ready to hear packets.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern_core::Bounds;
use postern_sdk_build::{build_rule, guests_dir};
use postern_tests::{Lab, tool};
use tempfile::TempDir;

use crate::floor::Floor;
use crate::process::Process;
use crate::{GUARDED, KNOCK};

/// What the firewall of knockd's machine looks like; its door adds the client's address.
const PEER: &str = "table inet peer {
    set allowed { type ipv4_addr; flags timeout; size 131072; }
    chain input {
        type filter hook input priority 0;
        udp dport GUARDED ip saddr @allowed accept
        udp dport GUARDED drop
    }
}";

/// Room for all that rules want to remember here.
const MEMORY: &str = "[memory]\nentries = 2000000\nbytes = \"2GiB\"\n";

/// What Postern is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processes {
    /// One for each power, as it is started by root.
    Roles,
    /// One for all.
    One,
}

impl Processes {
    /// Both, to be measured in turn.
    pub(crate) const ALL: [Self; 2] = [Self::Roles, Self::One];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Roles => "posternd",
            Self::One => "posternd, one process",
        }
    }
}

/// A process and the folder with its configuration.
pub(crate) struct Subject {
    pub(crate) process: Process,
    pub(crate) folder: TempDir,
}

impl Subject {
    /// Ends a Postern; how many frames it lost because it was too slow.
    pub(crate) fn lost(self) -> f64 {
        let said = self.process.terminate("\"event\":\"stop\"");
        let digits = said.split("\"lost\":").nth(1).unwrap_or_default();
        digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
    }
}

/// Postern with one door, and one rule for it or whatever `rules` are, by name.
pub(crate) fn postern(lab: &Lab, settings: &str, rules: &[(String, String)]) -> Subject {
    postern_on(lab, "eth0", settings, rules)
}

/// The same in these processes.
pub(crate) fn postern_in(lab: &Lab, processes: Processes, rules: &[(String, String)]) -> Subject {
    postern_at(folder(), lab, processes, "eth0", "", rules)
}

/// The same with captures on another interface.
pub(crate) fn postern_on(lab: &Lab, interface: &str, settings: &str, rules: &[(String, String)]) -> Subject {
    postern_at(folder(), lab, Processes::Roles, interface, settings, rules)
}

/// The same with its files, its state among them, on the disk that cargo builds on: other temporary folders may be in memory.
pub(crate) fn postern_on_disk(lab: &Lab, rules: &[(String, String)]) -> Subject {
    let folder = TempDir::with_prefix_in("postern-bench-", env!("CARGO_TARGET_TMPDIR"));
    postern_at(folder.expect("cargo made it"), lab, Processes::Roles, "eth0", "", rules)
}

fn folder() -> TempDir {
    TempDir::with_prefix("postern-bench-").expect("a temporary folder")
}

fn postern_at(
    folder: TempDir,
    lab: &Lab,
    processes: Processes,
    interface: &str,
    settings: &str,
    rules: &[(String, String)],
) -> Subject {
    let config = format!(
        "interfaces = [\"{interface}\"]\n{settings}\n{MEMORY}[doors.probe]\nguard = \"udp/{GUARDED}\"\nfor = \"1m\"\n"
    );
    fs::write(folder.path().join("postern.toml"), config).expect("the folder is ours");
    fs::create_dir(folder.path().join("rules")).expect("the folder is ours");
    for (name, text) in rules {
        // Of a tenant, whose folder is another.
        let path = folder.path().join(format!("rules/{name}.toml"));
        fs::create_dir_all(path.with_file_name(""))
            .and_then(|()| fs::write(path, text))
            .expect("the folder is ours");
    }
    let process = start_postern(lab, processes, folder.path());
    Subject { process, folder }
}

/// Postern once more, on the configuration in a folder.
pub(crate) fn start_postern(lab: &Lab, processes: Processes, folder: &Path) -> Process {
    let mut command = Command::new(posternd());
    command.args(["run", "--log-format", "json", "--config"]).arg(folder.join("postern.toml"));
    if processes == Processes::One {
        command.arg("--one-process");
    }
    command.env("STATE_DIRECTORY", folder.join("state"));
    Process::start(lab.server(), command, "\"event\":\"ready\"")
}

/// The daemon: what cargo built with this program, or the file that `POSTERND` names.
pub(crate) fn posternd() -> PathBuf {
    std::env::var_os("POSTERND").map_or_else(|| env!("CARGO_BIN_EXE_posternd").into(), PathBuf::from)
}

/// A rule with the stock module for these UDP ports, which remembers as many clients as `entries` says.
pub(crate) fn rule(ports: &[u16], entries: usize) -> String {
    let steps: Vec<_> = ports.iter().map(|port| format!("\"{port}/udp\"")).collect();
    format!(
        "module = \"sequence\"\ndoor = \"probe\"\n[memory]\nentries = {entries}\nbytes = \"1GiB\"\n[settings]\nsequence = [{}]\nwithin = \"10m\"\n",
        steps.join(", ")
    )
}

/// The rule that is measured most. It remembers as many clients as one does by default.
pub(crate) fn probe() -> Vec<(String, String)> {
    vec![("probe".to_owned(), rule(&KNOCK, Bounds::OF_A_RULE.entries))]
}

/// A rule that opens for each client once, for the last packet of the knock: its address is a one-time token.
pub(crate) fn once(folder: &Path) -> Vec<(String, String)> {
    let target = guests_dir(Path::new(env!("CARGO_TARGET_TMPDIR")));
    let built = build_rule(Path::new(env!("CARGO_MANIFEST_DIR")), "postern-rule-once", &target);
    let module = folder.join("once.wasm");
    fs::copy(built.expect("the rule builds").module, &module).expect("the folder is ours");
    vec![("probe".to_owned(), format!("module = {module:?}\ndoor = \"probe\"\n"))]
}

/// Debian's knockd, whose door is a set of the packet filter, if it is there.
pub(crate) fn knockd(lab: &Lab) -> Option<Subject> {
    let program = tool("knockd")?;
    lab.firewall(&PEER.replace("GUARDED", &GUARDED.to_string()));
    let folder = TempDir::with_prefix("knockd-bench-").expect("a temporary folder");
    let steps: Vec<_> = KNOCK.iter().map(|port| format!("{port}:udp")).collect();
    let mut conf = String::from("[options]\n[probe]\n");
    let _ = writeln!(conf, "sequence = {}\nseq_timeout = 600", steps.join(","));
    let _ = writeln!(conf, "start_command = nft add element inet peer allowed {{ %IP% timeout 60s }}");
    let path = folder.path().join("knockd.conf");
    fs::write(&path, conf).expect("the folder is ours");
    let mut command = Command::new(program);
    command.args(["-v", "-i", "eth0", "-c"]).arg(path);
    Some(Subject { process: Process::start(lab.server(), command, "listening on"), folder })
}

/// A bare reader of libpcap.
pub(crate) fn floor(lab: &Lab, floor: Floor) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
    command.args(["floor", floor.name()]);
    Process::start(lab.server(), command, "listening")
}
