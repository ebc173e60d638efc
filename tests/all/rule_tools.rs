//! `posternd rule`, as a person calls it: what it prints, what it writes and how it ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use expect_test::{Expect, expect};
use postern_tests::capture_file::Pcap;
use postern_tests::frame::udp;
use tempfile::TempDir;

use crate::modules::{guest, judging};

/// A folder in which `posternd rule` is called.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, contents) in files {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, contents).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn rule(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posternd"));
        // The code of these modules is nothing to keep.
        command
            .arg("rule")
            .args(args)
            .current_dir(self.path())
            .env("CACHE_DIRECTORY", self.path().join("code"));
        command.output().unwrap()
    }

    /// What is printed on both, and the exit code as the last line.
    fn said(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.rule(args);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        format!("{}{}exit {}\n", text(stdout), text(stderr), status.code().unwrap())
    }

    fn check(&self, args: &[&str], expected: Expect) {
        expected.assert_eq(&self.said(args));
    }

    fn check_file(&self, name: &str, expected: Expect) {
        expected.assert_eq(&fs::read_to_string(self.path().join(name)).unwrap());
    }
}

const SEQUENCE: &str = "module = \"sequence\"\n[settings]\nwithin = \"5s\"\nsequence = [\"7000/udp\", \"7001/tcp\"]\ntcp_flags = [\"syn\"]\n";

/// Logs a line at the start and with every knock.
fn talker() -> Vec<u8> {
    let log = r#"(import "postern:rule/host@0.2.0" "log" (func $log (param i32 i32 i32)))"#;
    let text = r#"(data (i32.const 512) "hello<world>")"#;
    guest(
        &format!("{log}\n{text}"),
        "(call $log (i32.const 2) (i32.const 512) (i32.const 5)) (i32.const 48)",
        "(call $log (i32.const 1) (i32.const 517) (i32.const 7)) (i32.const 96)",
    )
}

#[test]
fn a_rule_that_says_what_is_expected_passes() {
    let scenario = format!(
        "# The right knock opens, and a wrong step starts over.\n{SEQUENCE}\n+0.0s 203.0.113.7 udp/7000\n    remember 1 until +5.0s\n+1.0s 203.0.113.7 tcp/7001\n    open\n+2.0s 203.0.113.7 tcp/80   # nobody asked for it\n    not shown\n"
    );
    let folder = Folder::new(&[("a.scenario", scenario.as_bytes())]);
    folder.check(
        &["test", "."],
        expect![[r#"
        ./a.scenario
            8  +0.0s 203.0.113.7 udp/7000
                   remember 1 until +5.0s
           10  +1.0s 203.0.113.7 tcp/7001
                   open
           12  +2.0s 203.0.113.7 tcp/80
                   not shown
        1 scenario, 3 steps: all as expected
        exit 0
    "#]],
    );
    folder.check(
        &["test", "-q", "a.scenario"],
        expect![[r#"
        1 scenario, 3 steps: all as expected
        exit 0
    "#]],
    );
    folder.check(
        &["test", "--update", "a.scenario"],
        expect![[r#"
        a.scenario
            8  +0.0s 203.0.113.7 udp/7000
                   remember 1 until +5.0s
           10  +1.0s 203.0.113.7 tcp/7001
                   open
           12  +2.0s 203.0.113.7 tcp/80
                   not shown
        1 scenario, 3 steps: all as expected
        exit 0
    "#]],
    );
    assert_eq!(fs::read_to_string(folder.path().join("a.scenario")).unwrap(), scenario, "nothing to update");
}

#[test]
fn a_rule_that_fails_at_every_knock_is_given_up() {
    let knocks = (0..200).map(|n| format!("+{n}.0s 203.0.113.7 udp/7\n")).collect::<String>();
    let folder = Folder::new(&[("a.wasm", &judging("(unreachable)")), ("a.scenario", knocks.as_bytes())]);
    let said = folder.said(&["test", "a.scenario"]);
    let count = |part: &str| said.matches(part).count();
    assert_eq!(count("fault: `judge` panicked"), 100, "{said}");
    assert_eq!(count("not played: the rule failed at 100 knocks before"), 100, "{said}");
}

#[test]
fn a_report_is_xml_whatever_a_rule_logs() {
    let log = r#"(import "postern:rule/host@0.2.0" "log" (func $log (param i32 i32 i32)))"#;
    // What no document of XML may hold, or ends a part of one.
    let text = r#"(data (i32.const 512) "]]></failure>\ef\bf\be\ef\bf\bf\0c\00")"#;
    let says = "(call $log (i32.const 1) (i32.const 512) (i32.const 21)) (i32.const 96)";
    let module = guest(&format!("{log}\n{text}"), "(i32.const 48)", says);
    let folder = Folder::new(&[("a.wasm", &module), ("a.scenario", b"+0.0s 203.0.113.7 udp/7\n")]);
    assert!(folder.said(&["test", "--junit", "a.xml", "a.scenario"]).ends_with("exit 1\n"));
    let report = fs::read_to_string(folder.path().join("a.xml")).unwrap();
    assert!(report.contains(r"+ log warn: ]]&gt;&lt;/failure&gt;\u{fffe}\u{ffff}\u{c}\u{0}"), "{report}");
}

#[test]
fn what_differs_is_shown_reported_and_written_if_that_is_asked_for() {
    let scenario = format!(
        "{SEQUENCE}\n+0.0s 203.0.113.7 udp/7000\n+6.0s 203.0.113.7 tcp/7001\n    open\n    log info: <\"late\">\n# the end\n"
    );
    let folder = Folder::new(&[("a.scenario", scenario.as_bytes())]);
    folder.check(
        &["test", ".", "--junit", "out.xml"],
        expect![[r#"
        ./a.scenario
            7  +0.0s 203.0.113.7 udp/7000
                 + remember 1 until +5.0s
            8  +6.0s 203.0.113.7 tcp/7001
                 - open
                 - log info: <"late">
                 + ignore
        1 scenario, 2 steps: 2 not as expected; if the rule is right, --update writes what came into the files
        exit 1
    "#]],
    );
    folder.check_file(
        "out.xml",
        expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites>
          <testsuite name="./a.scenario" tests="2" failures="2" errors="0">
            <testcase classname="./a.scenario" name="7: +0.0s 203.0.113.7 udp/7000">
              <failure message="./a.scenario:7: not as expected">+ remember 1 until +5.0s</failure>
            </testcase>
            <testcase classname="./a.scenario" name="8: +6.0s 203.0.113.7 tcp/7001">
              <failure message="./a.scenario:8: not as expected">- open
        - log info: &lt;&quot;late&quot;&gt;
        + ignore</failure>
            </testcase>
          </testsuite>
        </testsuites>
    "#]],
    );
    folder.check(
        &["test", "--update", "-q", "."],
        expect![[r#"
        ./a.scenario
            7  +0.0s 203.0.113.7 udp/7000
                 + remember 1 until +5.0s
            8  +6.0s 203.0.113.7 tcp/7001
                 - open
                 - log info: <"late">
                 + ignore
        1 scenario, 2 steps: 2 written anew; look at what changed
        exit 0
    "#]],
    );
    folder.check_file(
        "a.scenario",
        expect![[r#"
        module = "sequence"
        [settings]
        within = "5s"
        sequence = ["7000/udp", "7001/tcp"]
        tcp_flags = ["syn"]

        +0.0s 203.0.113.7 udp/7000
            remember 1 until +5.0s
        +6.0s 203.0.113.7 tcp/7001
            ignore
        # the end
    "#]],
    );
    assert!(folder.rule(&["test", "."]).status.success());
}

#[test]
fn what_a_rule_logs_and_how_it_faults_is_part_of_what_came() {
    let knocks = "+0s 203.0.113.7 udp/7\n+1s 203.0.113.7 udp/7\n";
    let talker_knocks = format!("module = \"talker.wasm\"\nconfigure\n{knocks}");
    let loops = format!("module = \"loops.wasm\"\n[limits]\ncpu = \"1ms\"\n{knocks}");
    let panics = format!("module = \"panics.wasm\"\n{knocks}");
    let folder = Folder::new(&[
        ("talker.wasm", &talker()),
        ("loops.wasm", &judging("(loop $ever (br $ever)) (i32.const 96)")),
        ("panics.wasm", &judging("(unreachable)")),
        ("loops.scenario", loops.as_bytes()),
        ("panics.scenario", panics.as_bytes()),
        ("talker.scenario", talker_knocks.as_bytes()),
    ]);
    folder.check(&["test", "."], expect![[r#"
        ./loops.scenario
            4  +0s 203.0.113.7 udp/7
                 + fault: `judge` ran past its CPU time of 1ms; look for an endless loop, or raise limits.cpu of the rule
            5  +1s 203.0.113.7 udp/7
                 + fault: `judge` ran past its CPU time of 1ms; look for an endless loop, or raise limits.cpu of the rule
        ./panics.scenario
            2  +0s 203.0.113.7 udp/7
                 + fault: `judge` panicked (unreachable) in `judge`
            3  +1s 203.0.113.7 udp/7
                 + fault: `judge` panicked (unreachable) in `judge`
        ./talker.scenario
            2  configure
                 + log info: hello
            3  +0s 203.0.113.7 udp/7
                 + ignore
                 + log warn: <world>
            4  +1s 203.0.113.7 udp/7
                 + ignore
                 + log warn: <world>
        3 scenarios, 7 steps: 7 not as expected; if the rule is right, --update writes what came into the files
        exit 1
    "#]]);
}

#[test]
fn what_is_remembered_is_bounded_and_ends_as_in_the_daemon() {
    let scenario = format!(
        "{}[memory]\nentries = 1\n+0.0s 203.0.113.7 udp/7000\n+0.1s 203.0.113.8 udp/7000\n+0.2s 203.0.113.7 tcp/7001\n+5.2s 203.0.113.8 tcp/7001\n",
        SEQUENCE.replace("tcp_flags", "cooldown = \"1s\"\ntcp_flags")
    );
    let folder = Folder::new(&[("a.scenario", scenario.as_bytes())]);
    folder.check(
        &["test", "."],
        expect![[r#"
        ./a.scenario
            9  +0.0s 203.0.113.7 udp/7000
                 + remember 1 until +5.0s
           10  +0.1s 203.0.113.8 udp/7000
                 + remember 1 until +5.1s
                 + dropped: evicted
           11  +0.2s 203.0.113.7 tcp/7001
                 + ignore
           12  +5.2s 203.0.113.8 tcp/7001
                 + ignore
        1 scenario, 4 steps: 4 not as expected; if the rule is right, --update writes what came into the files
        exit 1
    "#]],
    );
}

#[test]
fn settings_that_are_refused_can_be_what_is_expected() {
    let refused = "module = \"sequence\"\n[settings]\nsequence = []\nwithn = \"5s\"\nconfigure\n";
    let folder = Folder::new(&[("a.scenario", refused.as_bytes())]);
    folder.check(&["test", "."], expect![[r#"
        ./a.scenario
            5  configure
                 + refused: withn: no such key; there are sequence, within, gap, min_gap, reorder, cooldown, tcp_flags, duplicates, action, prefix, target, family, strict
                 + refused: sequence: has 0 steps; give 1 to 64 steps such as ["1111/udp", "2222/tcp"]
                 # line 4: settings.withn
                 # line 3: settings.sequence
        1 scenario, 1 step: 1 not as expected; if the rule is right, --update writes what came into the files
        exit 1
    "#]]);
    assert!(folder.rule(&["test", "--update", "."]).status.success());
    folder.check(&["test", "."], expect![[r#"
        ./a.scenario
            5  configure
                   refused: withn: no such key; there are sequence, within, gap, min_gap, reorder, cooldown, tcp_flags, duplicates, action, prefix, target, family, strict
                   refused: sequence: has 0 steps; give 1 to 64 steps such as ["1111/udp", "2222/tcp"]
        1 scenario, 1 step: all as expected
        exit 0
    "#]]);
}

#[test]
fn what_cannot_be_played_is_a_mistake_with_a_remedy() {
    let folder = Folder::new(&[
        ("wrong/a.scenario", b"module = \"sequence\"\n+0s here udp/7\n"),
        ("none/a.scenario", b"+0s ::1 udp/7\n"),
        ("two/a.scenario", b"+0s ::1 udp/7\n"),
        ("two/a.wasm", b""),
        ("two/b.wasm", b""),
        ("text/a.scenario", b"+0s ::1 udp/7\n"),
        ("text/a.wasm", b"#!/bin/sh"),
        ("empty/README", b""),
    ]);
    folder.check(
        &["test", "wrong", "none", "two", "text", "empty", "nowhere.scenario"],
        expect![[r#"
            empty: there is no *.scenario in this folder; write one, or name a folder that has one
            wrong/a.scenario:2: `here` is not an address; in the knock `+0s here udp/7`
            nowhere.scenario: cannot be read: No such file or directory (os error 2); name a scenario, or a folder with some
            none/a.scenario: names no module, and there is no *.wasm beside it; build the rule first, or write module = "FILE.wasm" in its first line
            two/a.scenario: names no module, and there are 2 beside it; write module = "FILE.wasm" in its first line, or say --module FILE.wasm
            text/a.wasm: the module is a script; compile the rule to WebAssembly
            posternd: 6 mistakes; nothing was played
            exit 2
        "#]],
    );
    folder.check(&["test", "none", "-m", "nowhere.wasm"], expect![[r#"
        nowhere.wasm: cannot be read: No such file or directory (os error 2); name the module that the build made
        posternd: 1 mistake; nothing was played
        exit 2
    "#]]);
}

#[test]
fn a_capture_beside_a_rule_is_replayed_to_it() {
    let knock = |port| {
        udp(
            "203.0.113.7:9".parse().unwrap(),
            std::net::SocketAddr::new("192.0.2.1".parse().unwrap(), port),
            &[],
        )
    };
    let begin = 1_795_000_000_000_000;
    let capture = Pcap::ethernet().frame(begin, &knock(7000)).frame(begin + 400_000, &knock(7001));
    let rule = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"7000/udp\", \"7001/udp\"]\n";
    let folder = Folder::new(&[("mine/ssh.toml", rule.as_bytes()), ("mine/a.pcap", &capture.into_bytes())]);
    let said = folder.said(&["test", "mine/a.pcap"]);
    assert!(said.contains("ssh: 203.0.113.7 is at stage 1"), "{said}");
    assert!(said.contains("ssh is open for 203.0.113.7"), "{said}");
    assert!(said.ends_with("exit 0\n"), "{said}");
    let said = folder.said(&["test", "mine/none.pcap"]);
    assert!(said.contains("none.pcap"), "{said}");
    assert!(!said.ends_with("exit 0\n"), "{said}");
}

#[test]
fn the_module_may_be_beside_the_scenario_or_on_the_command_line() {
    let folder = Folder::new(&[
        ("one/a.scenario", b"+0s ::1 udp/7\n    ignore\n"),
        ("one/rule.wasm", &judging("(i32.const 96)")),
        ("other/rule.wasm", &judging("(unreachable)")),
    ]);
    assert!(folder.rule(&["test", "one"]).status.success());
    assert_eq!(folder.rule(&["test", "one", "--module", "other/rule.wasm"]).status.code(), Some(1));
}

#[test]
fn a_module_is_inspected() {
    let module = talker();
    let folder = Folder::new(&[
        ("talker.wasm", &module),
        ("talker.wasm.minisig", b"nonsense"),
        ("a.wasm", b"#!/bin/sh"),
    ]);
    folder.check(
        &["inspect", "talker.wasm"],
        expect![[r#"
            talker.wasm
              size        331 bytes
              SHA-256     9e128b50628c69b77d1aff4fc8ef4f46bd7f8099aab16bfb8f1f327a3e90b138
              signature   talker.wasm.minisig is no signature of minisign
              form        core module
              contract    postern:rule 0.2.0
              producer    is not told
              imports     postern:rule/host@0.2.0 log
              exports     memory, cabi_realloc, configure, judge
              features    none
              settings    {}
              watches     udp/7
              destination this host
              detail      0 bytes of payload
              remembers   in the format 1
              needs       0.06 MiB of memory and tables once it is configured
              logs        info: hello
            exit 0
        "#]],
    );
    folder.check(
        &["inspect", "a.wasm"],
        expect![[r#"
            a.wasm
              size        9 bytes
              SHA-256     3af71adb278ad4af33c144b78fa1ae708da03b773d98324ae991a7daedb53ca2
              signature   none: there is no a.wasm.minisig beside it
            a.wasm: the module is a script; compile the rule to WebAssembly
            exit 1
        "#]],
    );
    folder.check(&["inspect", "talker.wasm", "--settings", "{"], expect![[r#"
        --settings: is not JSON: EOF while parsing an object at line 1 column 1; write an object such as '{"within": "5s"}', or name a file: a rule's file, a scenario, or one of JSON
        exit 2
    "#]]);
    let said = folder.said(&[
        "inspect",
        "sequence",
        "--settings",
        r#"{"sequence":["7000/udp","7001/tcp"],"tcp_flags":["syn","!ack"]}"#,
    ]);
    for line in [
        "  contract    postern:rule 0.2.0\n",
        "  imports     postern:rule/host@0.2.0 log\n",
        "  watches     udp/7000\n              tcp/7001 with syn without ack\n",
        "  signature   needs none: it is part of the daemon\n",
        "exit 0\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
    let file = folder.path().join("wrong.toml");
    fs::write(&file, "module = \"sequence\"\n[settings]\nsequence = [\"7/udp\", \"8\"]\n").unwrap();
    let refused = folder.said(&["inspect", "sequence", "--settings", "wrong.toml"]);
    assert!(refused.contains("  refuses     wrong.toml:3: settings.sequence[1]: "), "{refused}");
    let refused = folder.said(&["inspect", "sequence"]);
    assert!(
        refused.contains("  refuses     sequence is missing") && refused.ends_with("exit 1\n"),
        "{refused}"
    );
}

#[test]
fn what_no_rule_gets_is_told_before_anything_is_compiled() {
    let wasi = wat::parse_str(r#"(component (import "wasi:cli/environment@0.2.6" (instance)))"#).unwrap();
    let folder = Folder::new(&[("wasi.wasm", &wasi)]);
    folder.check(&["inspect", "wasi.wasm"], expect![[r#"
        wasi.wasm
          size        46 bytes
          SHA-256     c74f159359b01afb9bcf859afd3175429f7d9d12518116c1cd401f26bb319c38
          signature   none: there is no wasi.wasm.minisig beside it
          form        component
          contract    names no version, and is taken for one of postern:rule@0.2.0
          producer    is not told
          imports     wasi:cli/environment@0.2.6
          exports     none
          features    none
        wasi.wasm: the module imports `wasi:cli/environment@0.2.6`, which is not offered to rules; a rule gets no WASI: componentize-py: --stub-wasi; componentize-qjs: --sync --stub-wasi; Rust: --target wasm32-unknown-unknown; elsewhere a core module for WASI preview 1 or without WASI
        exit 1
    "#]]);
}

#[test]
fn a_module_is_measured() {
    let folder = Folder::new(&[("panics.wasm", &judging("(unreachable)")), ("a.toml", SEQUENCE.as_bytes())]);
    let said = folder.said(&["bench", "sequence", "--settings", "a.toml", "--for", "20ms"]);
    let names: Vec<_> = said.lines().map(|line| line.get(..15).unwrap_or(line).trim()).collect();
    assert_eq!(
        names[1..],
        [
            "load, cold",
            "load, cached",
            "start, first",
            "start, median",
            "memory",
            "instances",
            "call, median",
            "calls",
            "memory after",
            "exit 0"
        ],
        "{said}"
    );
    let said = folder.said(&["bench", "panics.wasm", "--for", "20ms"]);
    assert!(said.contains("\npanics.wasm: `judge` ") && said.ends_with("\nexit 1\n"), "{said}");
    // Of a rule that faults there is no object.
    let said = folder.said(&["bench", "panics.wasm", "--for", "20ms", "--json"]);
    assert!(said.starts_with("panics.wasm: `judge` ") && said.ends_with("\nexit 1\n"), "{said}");
}

#[test]
fn what_was_measured_is_an_object_for_programs() {
    let folder = Folder::new(&[("a.toml", SEQUENCE.as_bytes())]);
    let output = folder.rule(&["bench", "sequence", "--settings", "a.toml", "--for", "20ms", "--json"]);
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for figure in [
        "/bytes",
        "/load_ns/cold",
        "/load_ns/cached",
        "/first_start_ns",
        "/start_ns/median",
        "/start_ns/p99",
        "/instances",
        "/memory_bytes",
        "/call_ns/median",
        "/call_ns/p99",
        "/calls",
        "/calls_a_second",
        "/memory_bytes_after_calls",
    ] {
        let value = figures.pointer(figure).and_then(serde_json::Value::as_u64);
        assert!(value.is_some_and(|it| it > 0), "{figure}: {figures}");
    }
    let number = |figure: &str| figures.pointer(figure).and_then(serde_json::Value::as_u64);
    assert!(number("/load_ns/cached") < number("/load_ns/cold"), "nothing is compiled twice: {figures}");
}
