//! Work as it is done in the daemon's roles, under the list of system calls and all else that each role is confined by.
//!
//! No harness: this program starts itself again, once for each piece of work, since a process is confined for good, and before it has a
//! second thread. `main` runs the tests, or, started with `work`, does one piece.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "what would be the harness prints, and the child reports to it")]

use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

mod capture;
mod database;
mod doorman;
mod reader;
mod runtime;
mod wasm;

use postern_confine::{Account, Capabilities, CapabilitySet, Confinement, Files, SystemCalls};

/// A user that exists nowhere and owns nothing.
const NOBODY: u32 = 65_534;

type Work = (&'static str, fn() -> String, &'static str);

/// Pieces of work and what each says at its end.
const WORK: &[Work] = &[
    ("wasm::compile", wasm::compile, "a module and a component"),
    ("wasm::cannot_load_what_it_compiles", wasm::cannot_load_what_it_compiles, "refused"),
    ("wasm::run", wasm::run, "7, out of bounds, overflow, unreachable, division, interrupt, 7"),
    ("database::commit", database::commit, "kept"),
    ("doorman::guard", doorman::guard, "opened and closed"),
    ("reader::read", reader::read, "a.toml: text, and a module"),
    ("reader::reach_nothing_else", reader::reach_nothing_else, "nothing"),
    ("runtime::turn", runtime::turn, "timer, stream, signal, blocking thread"),
    ("capture::read", capture::read, "payload"),
    ("capture::lose_the_interface", capture::lose_the_interface, "gone, and others go on"),
    ("capture::follow_interfaces", capture::follow_interfaces, "abcd"),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [first, name] = &arguments[..]
        && first == "work"
    {
        let (_, work, _) = WORK.iter().find(|(other, ..)| other == name).unwrap();
        println!("{}", work());
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut failed = 0;
    for (name, _, end) in WORK.iter().filter(|(name, ..)| is_wanted(name)) {
        let is_ok = catch_unwind(|| check(name, end)).is_ok();
        failed += usize::from(!is_ok);
        println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does a piece of work in a process, and a network, of its own.
fn check(name: &str, end: &str) {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/in-namespace.sh");
    let program = std::env::current_exe().unwrap();
    let Output { status, stdout, stderr } =
        Command::new(runner).arg(program).args(["work", name]).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(said.lines().last(), Some(end), "{name}: {status}\n{said}\n{complained}");
}

/// Confines this process as a role is that keeps no capability.
fn confine(system_calls: SystemCalls) {
    confine_but(CapabilitySet::empty(), system_calls);
}

/// Confines this process as a role is that keeps some.
fn confine_but(kept: CapabilitySet, system_calls: SystemCalls) {
    confine_to_all(Files::NONE, kept, system_calls);
}

/// Confines this process as a role is that keeps no capability but some files.
fn confine_to(files: Files, system_calls: SystemCalls) {
    confine_to_all(files, CapabilitySet::empty(), system_calls);
}

fn confine_to_all(files: Files, kept: CapabilitySet, system_calls: SystemCalls) {
    let may_change_user = may_change_user();
    let account = if may_change_user { Account { uid: NOBODY, gid: NOBODY } } else { Account::own() };
    let confinement = Confinement {
        account,
        may_share_user: !may_change_user,
        capabilities: Capabilities::Only(kept),
        files,
        system_calls: Some(system_calls),
        ..Confinement::default()
    };
    for missing in confinement.apply().unwrap().missing() {
        println!("missing {missing}");
    }
}

/// Whether there are other users here.
fn may_change_user() -> bool {
    rustix::process::geteuid().is_root()
        && std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"))
}
