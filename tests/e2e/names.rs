//! Names and words from outside, in the log and on the terminal: each event stays one line, and nothing in it moves a cursor.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use postern_tests::{CLIENT4, Lab, Signal, eventually};
use rustix::process::{Pid, kill_process};

use crate::module::BY_HAND;
use crate::{PROGRAM, SSH_2S, posternd};

/// Ten bytes that would make a second line, in another colour, read backwards.
const HOSTILE: &str = r"x\0ay\1b\e2\80\aezzz";
const HOSTILE_SHOWN: &str = r"x\ny\u{1b}\u{202e}zzz";
const FILE: &str = "rules/a\nforged \u{1b}[31m\u{9b}2J\u{202e}.toml";
const FILE_SHOWN: &str =
    r"/rules/a\nforged \u{1b}[31m\u{9b}2J\u{202e}.toml:1: module: there is no stock module";
const NO_MODULE: &str = "module = \"nothing-of-this-name\"\ndoor = \"ssh\"\n";

/// The rule with these places of its text changed.
#[track_caller]
fn module(changes: &[(&str, &str)]) -> Vec<u8> {
    let mut text = BY_HAND.to_owned();
    for (from, to) in changes {
        assert_eq!(text.matches(from).count(), 1, "{from:?} is not there once");
        text = text.replace(from, to);
    }
    wat::parse_str(&text).expect("a module in good order")
}

/// One that says something hostile whenever a client starts over, twice.
fn talkative() -> Vec<u8> {
    module(&[
        (
            "(module\n",
            "(module\n  (import \"postern:rule/host@0.2.0\" \"log\" (func $log (param i32 i32 i32)))\n",
        ),
        ("\"wrong step\"", &format!("\"{HOSTILE}\"")),
        (
            "(func $forget (result i32)\n",
            "(func $forget (result i32)\n    (call $log (i32.const 2) (i32.const 160) (i32.const 10))\n",
        ),
    ])
}

/// One that refuses its settings with something hostile.
fn refusing() -> Vec<u8> {
    module(&[
        ("\"wrong step\"", &format!("\"{HOSTILE}\"")),
        (
            "\"\\00\\00\\00\\00\"\n    \"\\10\\00\\00\\00\" \"\\03\\00\\00\\00\"",
            "\"\\01\\00\\00\\00\"\n    \"\\a0\\00\\00\\00\" \"\\0a\\00\\00\\00\"",
        ),
    ])
}

/// One that imports something hostile.
fn importing() -> Vec<u8> {
    let import = format!("(module\n  (import \"env {HOSTILE}\" \"y\" (func))\n");
    module(&[("(module\n", &import)])
}

const IMPORT_SHOWN: &str = r"imports `env x\ny\u{1b}\u{202e}zzz y`, which is not offered to rules";

#[track_caller]
fn is_clean(text: &str) {
    let unfit = |c: char| c != '\n' && !postern_text::clean::is_fit(c);
    assert!(!text.contains(unfit), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("forged")), "{text}");
}

#[test]
fn check_says_each_mistake_in_one_clean_line() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab)
        .config(SSH_2S)
        .rule("importing", "module = \"importing.wasm\"\ndoor = \"ssh\"\n")
        .rule("refusing", "module = \"refusing.wasm\"\ndoor = \"ssh\"\n[settings]\nx = 1\n")
        .file("rules/importing.wasm", importing())
        .file("rules/refusing.wasm", refusing());
    let said = |setup: &postern_tests::Setup<'_>| {
        let output = setup.check();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout, b"");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        is_clean(&said);
        said
    };
    let told = said(&setup);
    assert!(told.contains(IMPORT_SHOWN), "{told}");
    // A line of a module's words is a mistake of its own.
    assert!(told.contains("refusing.toml:3: settings: x\n"), "{told}");
    assert!(told.contains("refusing.toml:3: settings: y\\u{1b}\\u{202e}zzz\n"), "{told}");
    assert_eq!(told.lines().count(), 4, "{told}");
    let told = said(&setup.file(FILE, NO_MODULE));
    assert!(told.contains(FILE_SHOWN), "{told}");
}

#[test]
fn each_event_is_one_clean_line_of_the_log_as_text_and_as_json() {
    for format in ["text", "json"] {
        let Some(lab) = Lab::if_possible() else { return };
        let log = log_of(&lab, format);
        is_clean(&log);
        for line in log.lines() {
            if format == "json" {
                let entry: serde_json::Value =
                    serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                let message = entry["message"].as_str().unwrap_or_default();
                is_clean(message);
                assert!(!message.contains('\n'), "{line}");
            } else {
                assert!(line.starts_with("20") && line.contains("Z "), "no beginning of a line: {line}");
            }
        }
        let shown = |text: &str| if format == "json" { text.replace('\\', r"\\") } else { text.to_owned() };
        let count = |text: &str| log.matches(&shown(text)).count();
        assert_eq!(count(&format!("talkative: {HOSTILE_SHOWN}")), 1, "{log}");
        assert_eq!(count(&format!("talkative: {CLIENT4} starts over: {HOSTILE_SHOWN}")), 1, "{log}");
        assert!(count(FILE_SHOWN) > 0 && count(IMPORT_SHOWN) > 0, "{log}");
    }
}

/// What a daemon writes while everything hostile happens.
fn log_of(lab: &Lab, format: &str) -> String {
    let setup = posternd(lab)
        .config(SSH_2S)
        .rule("talkative", "module = \"talkative.wasm\"\ndoor = \"ssh\"\n")
        .file("rules/talkative.wasm", talkative())
        .file("rules/importing.wasm", importing());
    let path = setup.dir().join("log");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--log-level", "posternd=debug", "--log-format", format, "--config"]);
    command.arg(setup.dir().join("postern.toml")).env("STATE_DIRECTORY", setup.dir().join("state"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&path).expect("a file of ours"));
    let mut daemon = lab.server().spawn(&mut command).expect("it can be started");
    let _shown = Shown(&path);
    let says = |what: &str, words: &str| eventually(what, || read(&path).contains(words).then_some(()));
    says("it listens", "listening on all interfaces");
    lab.knock(CLIENT4, "1111/udp 3333/tcp");
    says("the client starts over", "starts over");
    write(setup.dir(), FILE, NO_MODULE);
    write(setup.dir(), "rules/b.toml", "module = \"importing.wasm\"\ndoor = \"ssh\"\n");
    says("the mistakes are told", "there is no stock module");
    fs::remove_file(setup.dir().join(FILE)).expect("the file is ours");
    says("the import is told", "which is not offered to rules");
    kill_process(Pid::from_child(&daemon), Signal::TERM).expect("it runs");
    eventually("its end", || daemon.try_wait().expect("a child of ours"));
    read(&path)
}

/// Shows a log if the test fails.
struct Shown<'a>(&'a Path);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log\n{}", read(self.0));
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).expect("the folder is ours");
}
