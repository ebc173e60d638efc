//! Guests that say why they fail: the fault says it, and what a language's runtime writes goes to the log.

use std::sync::{Arc, Mutex};

use postern_core::{DropReason, Observer, Report, TenantId, What};
use postern_tests::guest::guest;

use crate::world::World;

const RULE: &str = "module = \"bad.wasm\"\ndoor = \"ssh\"\n";
const LOG: &str = "(import \"postern:rule/host@0.2.0\" \"log\" (func $log (param i32 i32 i32)))\n";
const WRITE: &str =
    "(import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))\n";

/// Keeps what happened, each in a line.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn report(&self, report: &Report<'_>) {
        let line = match &report.what {
            What::Says { severity, text, .. } => format!("{severity:?}: {text}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

/// What is heard of a rule with these definitions when it judges a knock so, `times` a second after the other; its faults come last.
fn heard_of(definitions: &str, judge: &str, times: u32) -> Vec<String> {
    let module = guest(definitions, "(i32.const 48)", judge);
    let heard = Arc::new(Heard::default());
    let files: [(&str, &[u8]); 2] = [("bad.toml", RULE.as_bytes()), ("bad.wasm", &module)];
    let mut world = World::observed(&files, heard.clone());
    for second in 0..times {
        world.play(&format!("+{second} 192.0.2.1 udp/7"));
    }
    let mut lines = std::mem::take(&mut *heard.0.lock().unwrap());
    let fault = |line: &str| {
        let fault = line.split_once(" bad ").unwrap().1;
        fault.rsplit_once(", rests ").unwrap().0.to_owned()
    };
    lines.extend(world.out.lines().map(fault));
    lines
}

/// The same of one knock.
fn heard(definitions: &str, judge: &str) -> Vec<String> {
    heard_of(definitions, judge, 1)
}

/// Instructions that write texts of `TEXT`, each from where and how long, to a descriptor, in one call of the runtime each.
fn write(descriptor: u32, texts: &[(u32, u32)]) -> String {
    let write = |(start, length): &(u32, u32)| {
        format!(
            "(i32.store (i32.const 280) (i32.const {start})) (i32.store (i32.const 284) (i32.const {length}))
             (drop (call $write (i32.const {descriptor}) (i32.const 280) (i32.const 1) (i32.const 288)))"
        )
    };
    texts.iter().map(write).collect()
}

#[test]
fn a_panic_is_told_in_the_words_that_were_logged_last() {
    let log = format!("{LOG}(data (i32.const 300) \"panicked at src/lib.rs:7:5:\\nno such step\")");
    let fail = "(call $log (i32.const 0) (i32.const 300) (i32.const 40)) (unreachable)";
    assert_eq!(
        heard(&log, fail),
        [
            "Error: panicked at src/lib.rs:7:5:\nno such step",
            "fault: `judge` panicked: src/lib.rs:7:5: no such step"
        ]
    );
    // Not in what matters less than an error, nor of another failure.
    let fail = "(call $log (i32.const 1) (i32.const 300) (i32.const 40)) (unreachable)";
    assert_eq!(heard(&log, fail)[1], "fault: `judge` panicked (unreachable) in `judge`");
    let fail = "(call $log (i32.const 0) (i32.const 300) (i32.const 40)) (i32.load (i32.const -4))";
    assert_eq!(heard(&log, fail)[1], "fault: `judge` trapped: out of bounds memory access in `judge`");
}

#[test]
fn words_of_an_earlier_call_are_forgotten() {
    let definitions = format!("{LOG}(data (i32.const 300) \"odd\") (global $calls (mut i32) (i32.const 0))");
    let judge = "(if (global.get $calls) (then (unreachable)))
        (global.set $calls (i32.const 1))
        (call $log (i32.const 0) (i32.const 300) (i32.const 3)) (i32.const 96)";
    assert_eq!(
        heard_of(&definitions, judge, 2),
        ["Error: odd", "fault: `judge` panicked (unreachable) in `judge`"]
    );
}

#[test]
fn what_a_runtime_writes_is_logged_by_lines_and_told_in_the_fault() {
    let definitions =
        format!("{WRITE}(data (i32.const 300) \"panic: too bad\\n\\ngoroutine 1\\nhello\\n\\ff\")");
    // In pieces, as Go does.
    let fail = write(2, &[(300, 7), (307, 4), (311, 4), (315, 13)]) + "(unreachable)";
    let said = ["Warn: panic: too bad", "Warn: goroutine 1", "fault: `judge` panicked: too bad"];
    assert_eq!(heard(&definitions, &fail), said);
    // A line may lack its end, and be no text.
    let fail = write(2, &[(307, 3)]) + &write(2, &[(334, 1)]) + "(unreachable)";
    let said = ["Warn: too\u{fffd}", "fault: `judge` panicked: too\u{fffd}"];
    assert_eq!(heard(&definitions, &fail), said);
    // What is written for people is no reason to fail.
    let fail = write(1, &[(328, 6)]) + "(unreachable)";
    assert_eq!(
        heard(&definitions, &fail),
        ["Info: hello", "fault: `judge` panicked (unreachable) in `judge`"]
    );
}

#[test]
fn a_runtime_may_write_too_much_and_a_rule_may_not_write_elsewhere() {
    // A hundred lines in one call, of which 64 are logged; two megabytes without an end.
    let definitions = format!("{WRITE}(data (i32.const 300) \"a\\n\")");
    let fail = write(2, &[(300, 2)]).repeat(100) + "(unreachable)";
    let heard_lines = heard(&definitions, &fail);
    assert_eq!(heard_lines.len(), 65, "{heard_lines:?}");
    assert_eq!(heard_lines[64], "fault: `judge` panicked: a");
    let long = "(drop (memory.grow (i32.const 31))) (memory.fill (i32.const 65536) (i32.const 0x62) (i32.const 2000000))";
    let fail = long.to_owned() + &write(2, &[(65_536, 2_000_000)]) + "(unreachable)";
    let heard_lines = heard(&definitions, &fail);
    assert!(
        heard_lines.len() <= 65 && heard_lines.iter().all(|line| line.len() < 500),
        "{}",
        heard_lines.len()
    );
    // Not to a file.
    let fail = write(3, &[(300, 2)]) + "(unreachable)";
    assert_eq!(heard(&definitions, &fail), ["fault: `judge` panicked (unreachable) in `judge`"]);
}

#[test]
fn what_a_runtime_left_unfinished_is_logged_and_is_not_why_the_next_call_fails() {
    let definitions =
        format!("{WRITE}(data (i32.const 300) \"odd\") (global $calls (mut i32) (i32.const 0))");
    let judge = "(if (global.get $calls) (then (unreachable)))
        (global.set $calls (i32.const 1))"
        .to_owned()
        + &write(2, &[(300, 3)])
        + "(i32.const 96)";
    let said = ["Warn: odd", "fault: `judge` panicked (unreachable) in `judge`"];
    assert_eq!(heard_of(&definitions, &judge, 2), said);
}

#[test]
fn a_rule_may_not_import_what_the_runtime_writes_with() {
    const OUTPUT: &str =
        "(import \"postern:runtime/output@0.1.0\" \"write\" (func $write (param i32 i32 i32)))\n";
    let module = guest(OUTPUT, "(i32.const 48)", "(i32.const 96)");
    let mut world = World::new(&[]);
    let files: [(&str, &[u8]); 2] = [("bad.toml", RULE.as_bytes()), ("bad.wasm", &module)];
    let mistakes = world.reload(&files).unwrap_err().to_string();
    assert!(
        mistakes.contains("imports `postern:runtime/output@0.1.0 write`, which is not offered to rules"),
        "{mistakes}"
    );
}
