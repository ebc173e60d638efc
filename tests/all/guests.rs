//! Guests that misbehave: each is stopped, affects no other rule, is reported, and opens nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postern_core::{DropReason, Moment, Observer, Report, RuleLogLevel, Severity, TenantId, What};
use postern_sandbox::thread_cpu_time;

use crate::modules::{component, guest, judging};
use crate::world::World;

const NEIGHBOUR: &str =
    "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"7/udp\", \"8/udp\"]\n";
const BAD: &str = "module = \"./bad.wasm\"\ndoor = \"ssh\"\n";

/// A guest's `judge` is called for the first of a neighbour's two knocks: the guest's fault is reported with these words, and
/// the neighbour opens its door all the same. So it is whether the module came as it is or as a component.
fn check_fault(module: &[u8], words: &str) {
    check_one_fault(module, words, Arc::new(()));
    check_one_fault(&component(module), words, Arc::new(()));
}

fn check_one_fault(module: &[u8], words: &str, observer: Arc<dyn Observer>) {
    let files: [(&str, &[u8]); 3] =
        [("bad.toml", BAD.as_bytes()), ("bad.wasm", module), ("good.toml", NEIGHBOUR.as_bytes())];
    let mut world = World::observed(&files, observer);
    let begin = Instant::now();
    world.play("+0 192.0.2.1 udp/7\n+1 192.0.2.1 udp/8");
    let took = begin.elapsed();
    let lines: Vec<_> = world.out.lines().collect();
    assert!(lines[0].starts_with("+0.0 bad fault: ") && lines[0].contains(words), "{}", world.out);
    assert_eq!(lines[1..], ["+0.0 good 192.0.2.1 stage 1", "+1.0 open ssh 192.0.2.1 10s"]);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// A guest's `judge` ignores what it is asked, time and again, either way it is called.
fn check_no_fault(module: &[u8]) {
    for module in [module, &component(module)] {
        let mut world = World::new(&[("good.toml", BAD.as_bytes()), ("bad.wasm", module)]);
        world.play("+0 192.0.2.1 udp/7\n+1 192.0.2.1 udp/7\n+2 192.0.2.1 udp/7");
        assert_eq!((world.out.as_str(), world.instances()), ("", 1));
    }
}

#[test]
fn an_endless_loop_is_stopped() {
    check_fault(
        &judging("(loop $forever (br $forever)) (i32.const 96)"),
        "`judge` ran past its CPU time of 2ms",
    );
}

#[test]
fn a_start_that_never_ends_is_stopped() {
    let forever = "(loop $forever (br $forever))";
    let configure = guest("", &format!("{forever} (i32.const 48)"), "(i32.const 96)");
    let start = guest(&format!("(func $start {forever}) (start $start)"), "(i32.const 48)", "(i32.const 96)");
    let mut world = World::new(&[("good.toml", NEIGHBOUR.as_bytes())]);
    for (during, module) in [("configure", configure), ("start", start)] {
        for module in [component(&module), module] {
            let mistakes = world.reload(&[("bad.toml", BAD.as_bytes()), ("bad.wasm", &module)]).unwrap_err();
            let words = format!("`{during}` ran past its CPU time of 20ms");
            assert!(mistakes.to_string().contains(&words), "{mistakes}");
        }
    }
}

#[test]
fn endless_recursion_is_stopped() {
    let module = guest(
        "(func $deeper (result i32) (i32.add (i32.const 1) (call $deeper)))",
        "(i32.const 48)",
        "(call $deeper)",
    );
    check_fault(&module, "`judge` overflowed its stack");
}

#[test]
fn a_trap_is_told_with_the_place() {
    check_fault(
        &guest("(func $oops (result i32) (unreachable))", "(i32.const 48)", "(call $oops)"),
        "`judge` panicked (unreachable) in `oops`",
    );
    check_fault(&judging("(i32.load (i32.const -4))"), "`judge` trapped: out of bounds memory access");
    check_fault(&judging("(i32.div_u (i32.const 1) (i32.const 0))"), "integer divide by zero");
}

#[test]
fn memory_is_limited() {
    check_fault(
        &judging("(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (i32.const 96)"),
        "limits.memory of its rule allows 16 MiB",
    );
}

/// Two tables, of which one starts large.
const TABLES: &str = "(table $small 1 funcref)\n(table $large 100000 funcref)\n(table $bounded 1 10 funcref)";

#[test]
fn tables_are_of_the_same_budget() {
    // For ever.
    let grow = |table| {
        let grow = format!("(drop (table.grow {table} (ref.null func) (i32.const 1048576)))");
        guest(TABLES, "(i32.const 48)", &format!("(loop $more {grow} (br $more)) (i32.const 96)"))
    };
    for module in [grow("$small"), grow("$large")] {
        check_fault(
            &module,
            "of memory and tables, at 8 bytes an element; limits.memory of its rule allows 16 MiB",
        );
    }
    // A mebibyte of elements, and so many pages beside them, once.
    let both = |pages| {
        let judge = format!(
            "(if (i32.eq (memory.size) (i32.const 1)) (then
                (drop (table.grow $large (ref.null func) (i32.const 31060)))
                (drop (memory.grow (i32.const {pages})))))
             (i32.const 96)"
        );
        guest(TABLES, "(i32.const 48)", &judge)
    };
    check_no_fault(&both(239));
    check_fault(&both(240), "limits.memory of its rule allows 16 MiB");
}

#[test]
fn what_may_not_grow_by_its_own_declaration_uses_nothing() {
    let grow = "(drop (table.grow $bounded (ref.null func) (i32.const 1000000)))";
    let module = guest(
        &format!("{TABLES}\n(global $times (mut i32) (i32.const 0))"),
        "(i32.const 48)",
        &format!(
            "(global.set $times (i32.const 100))
             (loop $more {grow} (global.set $times (i32.sub (global.get $times) (i32.const 1))) (br_if $more (global.get $times)))
             (i32.const 96)"
        ),
    );
    check_no_fault(&module);
}

#[test]
fn tables_that_a_rule_has_no_room_for_are_a_mistake_of_its_file() {
    let module = guest(TABLES, "(i32.const 48)", "(i32.const 96)");
    let rule = format!("{BAD}[limits]\nmemory = \"64KiB\"\n");
    let mut world = World::new(&[("good.toml", NEIGHBOUR.as_bytes())]);
    for module in [component(&module), module] {
        let mistakes = world.reload(&[("bad.toml", rule.as_bytes()), ("bad.wasm", &module)]).unwrap_err();
        let words = "of memory and tables, at 8 bytes an element; limits.memory of its rule allows 64 KiB";
        assert!(mistakes.to_string().contains(words), "{mistakes}");
    }
}

#[test]
fn nonsense_is_no_verdict() {
    // A verdict that does not exist, one outside of memory, and lists that cannot be.
    check_fault(&judging("(i32.store8 (i32.const 96) (i32.const 9)) (i32.const 96)"), "judge");
    check_fault(&judging("(i32.const -8)"), "judge");
    let list = |kind: u32, length: u32| {
        judging(&format!(
            "(i32.store8 (i32.const 96) (i32.const {kind})) (i32.store (i32.const 104) (i32.const 4096))
             (i32.store (i32.const 108) (i32.const {length})) (i32.const 96)"
        ))
    };
    check_fault(&list(3, 0), "`judge` returned nonsense: 0 doors in one verdict");
    check_fault(&list(3, 9), "`judge` returned nonsense: 9 doors in one verdict");
    check_fault(&list(3, 0x00ff_ffff), "judge");
    check_fault(&list(4, 0), "`judge` returned nonsense: 0 doors in one verdict");
    // A reason to forget that is not text.
    check_fault(
        &judging(
            "(i32.store8 (i32.const 96) (i32.const 2)) (i32.store (i32.const 104) (i32.const 200))
             (i32.store (i32.const 108) (i32.const 1)) (i32.store8 (i32.const 200) (i32.const 0xff)) (i32.const 96)",
        ),
        "judge",
    );
    // Too much to remember.
    check_fault(
        &judging(
            "(i32.store8 (i32.const 96) (i32.const 1)) (i32.store (i32.const 108) (i32.const 1024))
             (i32.store (i32.const 112) (i32.const 1025)) (i32.const 96)",
        ),
        "1025 bytes to remember",
    );
}

#[test]
fn a_door_that_was_not_granted_stays_closed() {
    // An opening of the door named by the four bytes at 200.
    let module = judging(
        "(i32.store (i32.const 200) (i32.const 0x65766163)) (memory.fill (i32.const 1024) (i32.const 0) (i32.const 128))
         (i32.store8 (i32.const 1064) (i32.const 1)) (i32.store (i32.const 1068) (i32.const 200))
         (i32.store (i32.const 1072) (i32.const 4))
         (i32.store8 (i32.const 96) (i32.const 3)) (i32.store (i32.const 104) (i32.const 1024))
         (i32.store (i32.const 108) (i32.const 1)) (i32.const 96)",
    );
    let mut world = World::new(&[("bad.toml", BAD.as_bytes()), ("bad.wasm", &module)]);
    world.play("+0 192.0.2.1 udp/7");
    assert!(world.out.contains("Refused"), "{}", world.out);
    assert!(world.out.contains("DoorNotGranted"), "{}", world.out);
    assert!(!world.out.contains("open"), "{}", world.out);
}

#[test]
fn a_rule_that_keeps_faulting_rests_longer_and_longer() {
    let module = judging("(unreachable)");
    let mut world = World::new(&[("bad.toml", BAD.as_bytes()), ("bad.wasm", &module)]);
    for tenths in 0..30 {
        world.play(&format!("+{}.{} 192.0.2.1 udp/7", tenths / 10, tenths % 10));
    }
    let faults = world.out.lines().filter(|line| line.contains("fault")).count();
    let rests = world.out.lines().filter(|line| line.contains("dropped: backing-off")).count();
    assert_eq!((faults, faults + rests), (8, 30), "{}", world.out);
}

#[test]
fn a_rule_that_faults_or_rests_takes_no_place_among_the_instances() {
    let module = judging("(unreachable)");
    let mut world = World::new(&[
        ("bad.toml", BAD.as_bytes()),
        ("bad.wasm", &module),
        ("good.toml", NEIGHBOUR.as_bytes()),
    ]);
    for _ in 0..30 {
        world.play("+0 192.0.2.1 udp/7");
    }
    assert_eq!(world.instances(), 1, "the neighbour's");
}

#[test]
fn a_fault_costs_no_client_its_progress() {
    // Remembers what it is handed back, one more each time; traps when the source port is odd.
    let module = judging(
        "(if (i32.eq (i32.load16_u offset=32 (local.get $call)) (i32.const 1)) (then (unreachable)))
         (if (i32.load8_u offset=104 (local.get $call))
            (then (i32.store8 (i32.const 200) (i32.add (i32.const 1) (i32.load8_u (i32.load offset=108 (local.get $call))))))
            (else (i32.store8 (i32.const 200) (i32.const 1))))
         (i32.store8 (i32.const 96) (i32.const 1))
         (i32.store8 (i32.const 104) (i32.load8_u (i32.const 200)))
         (i32.store (i32.const 108) (i32.const 200)) (i32.store (i32.const 112) (i32.const 1))
         (i64.store (i32.const 120) (i64.add (i64.load (local.get $call)) (i64.const 5000000)))
         (i32.const 96)",
    );
    let mut world = World::new(&[("bad.toml", BAD.as_bytes()), ("bad.wasm", &module)]);
    world.play("+0 192.0.2.1 udp/7\n+1 192.0.2.1 udp/7");
    let mut poison = crate::world::knock(Moment(Duration::from_secs(1)), "192.0.2.1", "udp/7", "");
    poison.source_port = 1;
    world.judge(&poison);
    world.play("+2 192.0.2.1 udp/7");
    let lines: Vec<_> = world.out.lines().collect();
    assert_eq!(lines.len(), 4, "{}", world.out);
    assert!(lines[2].contains("fault"), "{}", world.out);
    assert_eq!(lines[3], "+2.0 bad 192.0.2.1 stage 3");
}

#[test]
fn what_is_remembered_until_a_moment_that_is_past_is_no_progress() {
    let remember = |stage: u32, until: &str| {
        judging(&format!(
            "(i32.store8 (i32.const 96) (i32.const 1)) (i32.store (i32.const 104) (i32.const {stage}))
             (i32.store (i32.const 112) (i32.const 0)) (i64.store (i32.const 120) {until}) (i32.const 96)"
        ))
    };
    let told = |module: &[u8]| {
        let mut world = World::new(&[("bad.toml", BAD.as_bytes()), ("bad.wasm", module)]);
        world.play("+0 192.0.2.1 udp/7");
        world.out
    };
    // Five seconds, where a moment is meant; and the moment of the knock itself.
    for until in ["(i64.const 5000000)", "(i64.load (local.get $call))"] {
        let words = told(&remember(1, until));
        assert!(
            words.starts_with("+0.0 bad 192.0.2.1 forgot: the rule remembers it until a moment"),
            "{words}"
        );
        assert_eq!(told(&remember(0, until)), "", "stage 0 is no progress");
    }
    let later = "(i64.add (i64.load (local.get $call)) (i64.const 1))";
    assert_eq!(told(&remember(1, later)), "+0.0 bad 192.0.2.1 stage 1\n");
}

const LOG: &str = "(import \"postern:rule/host@0.2.0\" \"log\" (func $log (param i32 i32 i32)))\n";

/// A rule with 2 MiB of memory whose `judge` logs so many lines, each of so many bytes, in a loop.
fn logging(lines: u32, bytes: u32) -> Vec<u8> {
    guest(
        &format!("{LOG}(global $lines (mut i32) (i32.const 0))"),
        "(drop (memory.grow (i32.const 31))) (i32.const 48)",
        &format!(
            "(global.set $lines (i32.const {lines}))
             (loop $more
                (call $log (i32.const 3) (i32.const 65536) (i32.const {bytes}))
                (global.set $lines (i32.sub (global.get $lines) (i32.const 1)))
                (br_if $more (global.get $lines)))
             (i32.const 96)"
        ),
    )
}

#[test]
fn a_call_logs_so_many_lines_and_no_more() {
    check_no_fault(&logging(64, 10));
    check_fault(&logging(65, 10), "`judge` failed: it logs more than 64 lines in one call");
    // For ever, which no limit of time needs to end.
    check_fault(&logging(0, 0), "`judge` failed: it logs more than 64 lines in one call");
}

#[test]
fn a_call_logs_so_much_text_and_no_more() {
    let words = "`judge` failed: it logs more than 64 KiB of text in one call";
    check_no_fault(&logging(1, 65_536));
    check_fault(&logging(1, 65_537), words);
    check_no_fault(&logging(2, 32_768));
    check_fault(&logging(2, 32_769), words);
    check_fault(&logging(12_000, 1 << 20), words);
    // Its length is looked at before its bytes, which are no text.
    let no_text = |bytes| {
        let judge = format!(
            "(drop (memory.grow (i32.const 31))) (memory.fill (i32.const 65536) (i32.const 0xff) (i32.const 65537))
             (call $log (i32.const 2) (i32.const 65536) (i32.const {bytes})) (i32.const 96)"
        );
        guest(LOG, "(i32.const 48)", &judge)
    };
    check_fault(&no_text(65_537), words);
    check_fault(&no_text(65_536), "invalid utf-8");
}

#[test]
fn the_hosts_work_is_the_rules_time() {
    // Without a loop, so that nothing but the calls of the host can look at the clock.
    const LINES: usize = 60;
    let lines = "(call $log (i32.const 2) (i32.const 300) (i32.const 1))".repeat(LINES);
    let module = guest(LOG, "(i32.const 48)", &format!("{lines} (i32.const 96)"));
    for module in [component(&module), module] {
        // On a busy machine a tick may come late.
        let is_stopped_at_once = (0..10).any(|_| {
            let slow = Arc::new(SlowLog::default());
            check_one_fault(&module, "`judge` ran past its CPU time of 2ms", slow.clone());
            let heard = slow.0.load(Ordering::Relaxed);
            assert!((2..LINES).contains(&heard), "{heard} lines of a millisecond each");
            heard < 10
        });
        assert!(is_stopped_at_once);
    }
}

/// A log that takes a millisecond of the thread's CPU time for each line.
#[derive(Default)]
struct SlowLog(AtomicUsize);

impl Observer for SlowLog {
    fn report(&self, report: &Report<'_>) {
        assert!(matches!(report.what, What::Says { severity: Severity::Info, .. }), "{report:?}");
        self.0.fetch_add(1, Ordering::Relaxed);
        let begin = thread_cpu_time();
        while thread_cpu_time() - begin < Duration::from_millis(1) {}
    }

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

#[test]
fn an_answer_is_bounded_before_it_is_looked_at() {
    let words = "`judge` failed: its answer has more than 64 KiB";
    let list = |kind: u32, length: u32| {
        judging(&format!(
            "(drop (memory.grow (i32.const 31)))
             (i32.store8 (i32.const 96) (i32.const {kind})) (i32.store (i32.const 104) (i32.const 65536))
             (i32.store (i32.const 108) (i32.const {length})) (i32.const 96)"
        ))
    };
    // Openings, closings, and a reason.
    check_fault(&list(3, 10_000), words);
    check_fault(&list(4, 10_000), words);
    check_fault(&list(2, 65_537), words);
    // Eight openings whose doors' names are each half of what may be.
    let names = judging(
        "(drop (memory.grow (i32.const 31)))
         (memory.fill (i32.const 131072) (i32.const 97) (i32.const 32768))
         (i32.store8 (i32.const 65576) (i32.const 1)) (i32.store (i32.const 65580) (i32.const 131072))
         (i32.store (i32.const 65584) (i32.const 32768))
         (memory.copy (i32.const 65600) (i32.const 65536) (i32.const 64))
         (memory.copy (i32.const 65664) (i32.const 65536) (i32.const 128))
         (memory.copy (i32.const 65792) (i32.const 65536) (i32.const 256))
         (i32.store8 (i32.const 96) (i32.const 3)) (i32.store (i32.const 104) (i32.const 65536))
         (i32.store (i32.const 108) (i32.const 8)) (i32.const 96)",
    );
    check_fault(&names, words);
}

#[test]
fn what_a_rule_logs_is_reported_as_it_is_however_often() {
    let module = guest(
        &format!("{LOG}(data (i32.const 300) \"a\\0ab\")"),
        "(i32.const 48)",
        "(call $log (i32.const 2) (i32.const 300) (i32.const 3)) (i32.const 96)",
    );
    let said = Arc::new(Said::default());
    let files: [(&str, &[u8]); 2] = [("bad.toml", BAD.as_bytes()), ("bad.wasm", &module)];
    let mut world = World::observed(&files, said.clone());
    for _ in 0..1000 {
        world.play("+0 192.0.2.1 udp/7");
    }
    assert_eq!(world.out, "");
    let said = said.0.lock().unwrap();
    assert_eq!(said.len(), 1000);
    assert_eq!(said[0], "bad: a\nb");
    assert!(said.iter().all(|line| *line == said[0]));
}

/// Keeps what rules write.
#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Observer for Said {
    fn report(&self, report: &Report<'_>) {
        let What::Says { severity: Severity::Info, text, .. } = &report.what else { panic!("{report:?}") };
        let rule = &report.rule().unwrap().name;
        self.0.lock().unwrap().push(format!("{rule}: {text}"));
    }

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

/// Keeps the level that what a rule writes has.
#[derive(Default)]
struct Levels(Mutex<Vec<RuleLogLevel>>);

impl Observer for Levels {
    fn report(&self, report: &Report<'_>) {
        let What::Says { level, .. } = &report.what else { panic!("{report:?}") };
        self.0.lock().unwrap().push(*level);
    }

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

#[test]
fn what_a_rule_logs_has_the_level_that_its_file_says_now() {
    let judge = "(call $log (i32.const 2) (i32.const 300) (i32.const 1)) (i32.const 96)";
    let module = guest(LOG, "(i32.const 48)", judge);
    let levels = Arc::new(Levels::default());
    let mut world =
        World::observed(&[("bad.toml", BAD.as_bytes()), ("bad.wasm", &module)], Arc::clone(&levels) as _);
    let mut heard = |level: &str| {
        let file = format!("{level}{BAD}");
        world.reload(&[("bad.toml", file.as_bytes())]).unwrap();
        world.play("+0 192.0.2.1 udp/7");
        levels.0.lock().unwrap().drain(..).collect::<Vec<_>>()
    };
    assert_eq!(heard(""), [RuleLogLevel::OfDaemon]);
    assert_eq!(heard("log = \"debug\"\n"), [RuleLogLevel::AtLeast(Severity::Debug)]);
    assert_eq!(heard("log = \"off\"\n"), [RuleLogLevel::Off]);
    assert_eq!(heard(""), [RuleLogLevel::OfDaemon]);
}
