//! A museum of hostile guests: each does one thing that a rule must not do, and nothing else. What they have in common stands in
//! `tests/src/guest.rs`.
//!
//! Where things are in a guest's memory: at 96 its verdict, from 1024 on what the host hands over and what the verdict points at. An
//! open request has 64 bytes: `once` from 0 on, `door` at 40, `seconds` at 52, `prefix-length` at 60.

use postern_tests::guest::Guest;

/// One of them.
pub(crate) struct Exhibit {
    /// What it does, as a name: its tenant's, too.
    pub(crate) name: &'static str,
    /// What comes of it.
    pub(crate) fate: Fate,
    /// Makes the module, which asks for packets to this UDP port if it comes that far.
    pub(crate) module: Box<dyn Fn(u16) -> Vec<u8>>,
}

/// What comes of a hostile guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is not loaded, which its own tenant is told with these words.
    Refused(&'static str),
    /// Each of its calls fails, with these words.
    Faults(&'static str),
    /// It is let do it, since that hurts nobody: nothing opens but its own door for a knock's source.
    Harmless,
    /// What it asks for is refused with this name.
    Drops(&'static str),
}

const IGNORE: &str = "(i32.const 96)";
const INTEREST: &str = "(i32.const 48)";
const FOREVER: &str = "(loop $forever (br $forever))";
const LOG: &str = "(import \"postern:rule/host@0.2.0\" \"log\" (func $log (param i32 i32 i32)))\n";

/// A guest that does this in `judge`.
fn judging(judge: &'static str) -> Box<dyn Fn(u16) -> Vec<u8>> {
    Box::new(move |port| guest_at(port, "", INTEREST, judge))
}

/// The same, with definitions of its own.
fn with(definitions: &'static str, judge: &'static str) -> Box<dyn Fn(u16) -> Vec<u8>> {
    Box::new(move |port| guest_at(port, definitions, INTEREST, judge))
}

/// A guest that does this in `configure`.
fn configuring(definitions: &'static str, configure: &'static str) -> Box<dyn Fn(u16) -> Vec<u8>> {
    Box::new(move |port| guest_at(port, definitions, configure, IGNORE))
}

/// A guest that opens, with one request, which these instructions write at 1024 after it was cleared.
fn opening(request: &str) -> Box<dyn Fn(u16) -> Vec<u8>> {
    let judge = format!(
        "(memory.fill (i32.const 1024) (i32.const 0) (i32.const 128))
         {request}
         (i32.store8 (i32.const 96) (i32.const 3)) (i32.store (i32.const 104) (i32.const 1024))
         (i32.store (i32.const 108) (i32.const 1)) (i32.store8 (i32.const 112) (i32.const 0)) (i32.const 96)"
    );
    Box::new(move |port| guest_at(port, "", INTEREST, &judge))
}

/// A guest whose interest has these 32-bit words changed from 48 on.
fn asking(changes: &'static str) -> Box<dyn Fn(u16) -> Vec<u8>> {
    Box::new(move |port| guest_at(port, "", &format!("{changes} (i32.const 48)"), IGNORE))
}

/// All of them but those that hurt their compiler.
pub(crate) fn exhibits() -> Vec<Exhibit> {
    use Fate::{Drops, Faults, Harmless, Refused};
    let new = |name, fate, module| Exhibit { name, fate, module };
    vec![
        // Time.
        new(
            "loop-start",
            Refused("past its CPU time"),
            with("(func $start (loop $forever (br $forever))) (start $start)", IGNORE),
        ),
        new(
            "loop-configure",
            Refused("past its CPU time"),
            configuring("", "(loop $forever (br $forever)) (i32.const 48)"),
        ),
        new(
            "loop-judge",
            Faults("past its CPU time"),
            judging("(loop $forever (br $forever)) (i32.const 96)"),
        ),
        new("loop-realloc", Faults("past its CPU time"), Box::new(loop_in_realloc)),
        new(
            "loop-post-return",
            Faults("past its CPU time"),
            Box::new(|port| {
                guest_at(
                    port,
                    &format!("(func (export \"cabi_post_judge\") (param i32) {FOREVER})"),
                    INTEREST,
                    IGNORE,
                )
            }),
        ),
        new(
            "trap-post-return",
            Faults("panicked"),
            with("(func (export \"cabi_post_judge\") (param i32) (unreachable))", IGNORE),
        ),
        new(
            "burn",
            Harmless,
            with(
                "(global $left (mut i32) (i32.const 0))",
                "(global.set $left (i32.const 100000)) (loop $more (global.set $left (i32.sub (global.get $left) (i32.const 1))) (br_if $more (global.get $left))) (i32.const 96)",
            ),
        ),
        new(
            "recursion",
            Faults("overflowed its stack"),
            with("(func $deeper (result i32) (i32.add (i32.const 1) (call $deeper)))", "(call $deeper)"),
        ),
        // Memory.
        new(
            "memory-grow",
            Faults("limits.memory"),
            judging("(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (i32.const 96)"),
        ),
        new(
            "table-grow",
            Faults(""),
            with(
                "(table $all 1 funcref)",
                "(loop $more (drop (table.grow $all (ref.null func) (i32.const 100000))) (br $more)) (i32.const 96)",
            ),
        ),
        new("table-at-start", Refused(""), with("(table $all 4000000 funcref)", IGNORE)),
        new(
            "many-tables",
            Refused(""),
            Box::new(|port| guest_at(port, &"(table 300000 funcref)\n".repeat(60), INTEREST, IGNORE)),
        ),
        new("out-of-bounds", Faults("out of bounds"), judging("(i32.load (i32.const -4))")),
        // Answers.
        new("verdict-nowhere", Faults("judge"), judging("(i32.const -8)")),
        new("verdict-unaligned", Faults("judge"), judging("(i32.const 97)")),
        new(
            "verdict-tag",
            Faults("judge"),
            judging("(i32.store8 (i32.const 96) (i32.const 9)) (i32.const 96)"),
        ),
        new(
            "list-wraps",
            Faults("judge"),
            judging(
                "(i32.store8 (i32.const 96) (i32.const 3)) (i32.store (i32.const 104) (i32.const -64)) (i32.store (i32.const 108) (i32.const 4)) (i32.const 96)",
            ),
        ),
        new(
            "list-too-long",
            Faults("judge"),
            judging(
                "(i32.store8 (i32.const 96) (i32.const 3)) (i32.store (i32.const 104) (i32.const 1024)) (i32.store (i32.const 108) (i32.const -1)) (i32.const 96)",
            ),
        ),
        new(
            "list-overlaps-itself",
            Faults("judge"),
            judging(
                "(i32.store8 (i32.const 96) (i32.const 3)) (i32.store (i32.const 104) (i32.const 96)) (i32.store (i32.const 108) (i32.const 8)) (i32.const 96)",
            ),
        ),
        new(
            "string-nowhere",
            Faults("judge"),
            opening(
                "(i32.store8 (i32.const 1064) (i32.const 1)) (i32.store (i32.const 1068) (i32.const -1)) (i32.store (i32.const 1072) (i32.const 2))",
            ),
        ),
        new(
            "string-no-text",
            Faults("utf-8"),
            judging(
                "(i32.store8 (i32.const 96) (i32.const 2)) (i32.store (i32.const 104) (i32.const 200)) (i32.store (i32.const 108) (i32.const 1)) (i32.store8 (i32.const 200) (i32.const 0xff)) (i32.const 96)",
            ),
        ),
        new(
            "forget-escapes",
            Harmless,
            with(
                "(data (i32.const 200) \"\\1b[2J\\0aopen door=ssh\\0d\\e2\\80\\ae\")",
                "(i32.store8 (i32.const 96) (i32.const 2)) (i32.store (i32.const 104) (i32.const 200)) (i32.store (i32.const 108) (i32.const 22)) (i32.const 96)",
            ),
        ),
        new(
            "remember-too-much",
            Faults("bytes to remember"),
            judging(
                "(i32.store8 (i32.const 96) (i32.const 1)) (i32.store (i32.const 104) (i32.const 1)) (i32.store (i32.const 108) (i32.const 1024)) (i32.store (i32.const 112) (i32.const 1025)) (i32.const 96)",
            ),
        ),
        new(
            "remember-all-for-ever",
            Harmless,
            judging(
                "(i32.store8 (i32.const 96) (i32.const 1)) (i32.store (i32.const 104) (i32.const -1)) (i32.store (i32.const 108) (i32.const 1024)) (i32.store (i32.const 112) (i32.const 1024)) (i64.store (i32.const 120) (i64.const -1)) (i32.const 96)",
            ),
        ),
        // The log.
        new("log-flood", Harmless, Box::new(|port| logging(port, 64, 400))),
        new("log-too-much", Faults("logs more than"), Box::new(|port| logging(port, 65, 10))),
        new(
            "log-no-text",
            Faults("utf-8"),
            with(LOG_NO_TEXT, "(call $log (i32.const 3) (i32.const 300) (i32.const 2)) (i32.const 96)"),
        ),
        new(
            "log-level",
            Faults("judge"),
            with(LOG, "(call $log (i32.const 77) (i32.const 300) (i32.const 2)) (i32.const 96)"),
        ),
        // What is beyond the grant, at load.
        new("watch-everything", Refused("asks for udp/0-65535"), Box::new(|_| every_port())),
        new(
            "watch-anywhere",
            Refused("asks for packets to other machines"),
            asking("(i32.store8 (i32.const 60) (i32.const 1))"),
        ),
        new(
            "watch-payload",
            Refused("asks for 1500 bytes of payload"),
            asking("(i32.store (i32.const 72) (i32.const 1500))"),
        ),
        new("watch-too-many", Refused("configure"), asking("(i32.store (i32.const 56) (i32.const 1025))")),
        new(
            "refuses-with-escapes",
            Refused(""),
            configuring(
                "(data (i32.const 200) \"\\1b[2J\\0anew line\\0a\\ff\")",
                "(i32.store8 (i32.const 400) (i32.const 1)) (i32.store (i32.const 404) (i32.const 200)) (i32.store (i32.const 408) (i32.const 13)) (i32.const 400)",
            ),
        ),
        // And when it judges.
        new(
            "another-door",
            Drops("door-not-granted"),
            opening(
                "(i32.store (i32.const 200) (i32.const 0x646f6f67)) (i32.store8 (i32.const 1064) (i32.const 1)) (i32.store (i32.const 1068) (i32.const 200)) (i32.store (i32.const 1072) (i32.const 4))",
            ),
        ),
        new(
            "whole-internet",
            Drops("client-not-granted"),
            opening(
                "(i32.store8 (i32.const 1084) (i32.const 1)) (i32.store8 (i32.const 1085) (i32.const 8))",
            ),
        ),
        new(
            "length-beyond",
            Faults("judge"),
            opening(
                "(i32.store8 (i32.const 1084) (i32.const 1)) (i32.store8 (i32.const 1085) (i32.const 255))",
            ),
        ),
        new(
            "for-a-century",
            Harmless,
            opening(
                "(i32.store8 (i32.const 1076) (i32.const 1)) (i32.store (i32.const 1080) (i32.const -1))",
            ),
        ),
        new(
            "for-no-time",
            Faults(""),
            opening("(i32.store8 (i32.const 1076) (i32.const 1)) (i32.store (i32.const 1080) (i32.const 0))"),
        ),
        new("tokens-without-end", Drops("tokens-full"), Box::new(tokens)),
        new(
            "closes-everything",
            Harmless,
            judging(
                "(memory.fill (i32.const 1024) (i32.const 0) (i32.const 64)) (i32.store8 (i32.const 96) (i32.const 4)) (i32.store (i32.const 104) (i32.const 1024)) (i32.store (i32.const 108) (i32.const 1)) (i32.store8 (i32.const 112) (i32.const 0)) (i32.const 96)",
            ),
        ),
    ]
}

const LOG_NO_TEXT: &str = "(import \"postern:rule/host@0.2.0\" \"log\" (func $log (param i32 i32 i32)))\n(data (i32.const 300) \"\\ff\\fe\")";

/// A guest that watches this port.
fn guest_at(port: u16, definitions: &str, configure: &str, judge: &str) -> Vec<u8> {
    Guest { port, definitions, configure, judge, ..Guest::default() }.module()
}

/// `cabi_realloc` never comes back, once the settings were handed over: each call of `judge` hands a payload over.
fn loop_in_realloc(port: u16) -> Vec<u8> {
    let definitions = "(global $is_stuck (mut i32) (i32.const 0))";
    let realloc = "(if (global.get $is_stuck) (then (loop $forever (br $forever))))";
    let configure =
        "(global.set $is_stuck (i32.const 1)) (i32.store (i32.const 72) (i32.const 1)) (i32.const 48)";
    Guest { port, definitions, realloc, configure, ..Guest::default() }.module()
}

/// So many lines, each of so many bytes, with what would move a cursor.
fn logging(port: u16, lines: u32, bytes: u32) -> Vec<u8> {
    let definitions = format!(
        "{LOG}(global $lines (mut i32) (i32.const 0))\n(data (i32.const 300) \"\\1b[2J\\0aevent=open\\0d\")"
    );
    let judge = format!(
        "(global.set $lines (i32.const {lines}))
         (loop $more
            (call $log (i32.const 2) (i32.const 300) (i32.const {bytes}))
            (global.set $lines (i32.sub (global.get $lines) (i32.const 1)))
            (br_if $more (global.get $lines)))
         (i32.const 96)"
    );
    guest_at(port, &definitions, INTEREST, &judge)
}

/// 1,024 watches, each of all ports.
fn every_port() -> Vec<u8> {
    let all = "\\01\\00\\00\\00\\ff\\ff\\00\\00".repeat(1024);
    let definitions = format!("(data (i32.const 8192) \"{all}\")");
    let configure = "(i32.store (i32.const 52) (i32.const 8192)) (i32.store (i32.const 56) (i32.const 1024)) (i32.const 48)";
    guest_at(7, &definitions, configure, IGNORE)
}

/// Each opening with a token that was never there before, of the time of the knock, and that is never forgotten.
fn tokens(port: u16) -> Vec<u8> {
    let judge = "(i64.store (i32.const 200) (i64.load (local.get $call)))
         (i32.store (i32.const 208) (i32.load16_u offset=32 (local.get $call)))
         (memory.fill (i32.const 1024) (i32.const 0) (i32.const 128))
         (i32.store8 (i32.const 1024) (i32.const 1))
         (i32.store (i32.const 1040) (i32.const 200)) (i32.store (i32.const 1044) (i32.const 12))
         (i32.store8 (i32.const 96) (i32.const 3)) (i32.store (i32.const 104) (i32.const 1024))
         (i32.store (i32.const 108) (i32.const 1)) (i32.store8 (i32.const 112) (i32.const 0)) (i32.const 96)";
    guest_at(port, "", INTEREST, judge)
}
