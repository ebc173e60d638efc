//! The tests: one function each, run one after another.

use std::panic::catch_unwind;
use std::process::ExitCode;

use crate::child::{Outcome, Program, value};

/// A user that exists nowhere and owns nothing.
const NOBODY: u32 = 65_534;
/// And another.
const SOMEBODY: u32 = 65_533;
const LISTS: [&str; 4] = ["doorman", "engine", "compiler", "reader"];
/// What kills a process that made a call it may not make.
const SIGSYS: i32 = 31;
const SIGABRT: i32 = 6;

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("the_kernel_says_that_nothing_is_left", the_kernel_says_that_nothing_is_left),
    (
        "a_capability_that_is_kept_outlives_the_change_of_user",
        a_capability_that_is_kept_outlives_the_change_of_user,
    ),
    ("a_user_with_one_capability_keeps_it", a_user_with_one_capability_keeps_it),
    ("nothing_is_missing_on_this_machine", nothing_is_missing_on_this_machine),
    ("without_rights_the_user_stays_and_that_is_said", without_rights_the_user_stays_and_that_is_said),
    ("what_the_kernel_lacks_is_said", what_the_kernel_lacks_is_said),
    ("a_second_thread_is_refused", a_second_thread_is_refused),
    ("contradictions_are_refused", contradictions_are_refused),
    ("files_outside_cannot_be_opened", files_outside_cannot_be_opened),
    ("nothing_is_written", nothing_is_written),
    ("no_connection_is_made", no_connection_is_made),
    ("only_the_kernel_is_asked_over_new_sockets", only_the_kernel_is_asked_over_new_sockets),
    ("no_program_is_started", no_program_is_started),
    ("an_unlisted_call_kills", an_unlisted_call_kills),
    ("what_a_runtime_needs_goes_on", what_a_runtime_needs_goes_on),
    ("a_panic_says_where", a_panic_says_where),
    ("memory_is_bounded", memory_is_bounded),
    ("there_is_no_core_dump_but_of_what_a_runner_starts", there_is_no_core_dump_but_of_what_a_runner_starts),
    ("it_ends_with_its_parent", it_ends_with_its_parent),
    ("a_runner_starts_programs", a_runner_starts_programs),
];

/// Runs those whose name holds one of the words among the arguments, or all.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let words: Vec<_> = arguments.iter().filter(|it| !it.starts_with('-')).collect();
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        let is_ok = catch_unwind(test).is_ok();
        failed += usize::from(!is_ok);
        println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether this process may become any user: root, and not only of a namespace with one user.
fn may_change_user() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = map.split_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok());
    rustix::process::geteuid().is_root() && count.is_some_and(|count| count > u64::from(NOBODY))
}

fn skip(reason: &str) {
    println!("  skipped in part: {reason}");
}

/// The strictest confinement with a list, as far as this user may go.
fn strict(list: &str) -> String {
    if may_change_user() { format!("uid={NOBODY} list={list}") } else { format!("share=yes list={list}") }
}

fn attempt(arguments: &str) -> Outcome {
    Program::new().attempt(None, arguments)
}

/// The attempt ends like this, on every list.
fn on_every_list(attempt: &str, end: &str) {
    let program = Program::new();
    for list in LISTS {
        let outcome = program.attempt(None, &format!("{} {attempt}", strict(list)));
        let last = outcome.said.lines().last().unwrap_or_default();
        assert_eq!(last, end, "{list}: {} {:?}", outcome.complained, outcome.signal);
    }
}

fn the_kernel_says_that_nothing_is_left() {
    let program = Program::new();
    for list in LISTS {
        let (status, said) = program.status(None, &strict(list));
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(value(&status, set), "0000000000000000", "{list}: {set}\n{said}");
        }
        assert_eq!(value(&status, "NoNewPrivs"), "1", "{list}");
        assert_eq!(value(&status, "Seccomp"), "2", "{list}");
        if may_change_user() {
            assert_eq!(value(&status, "CapBnd"), "0000000000000000", "{list}");
            let all = format!("{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}");
            assert_eq!(value(&status, "Uid"), all, "{list}");
            assert_eq!(value(&status, "Gid"), all, "{list}");
            assert_eq!(value(&status, "Groups"), "", "{list}");
        } else {
            skip("this user cannot become another");
        }
    }
}

fn a_capability_that_is_kept_outlives_the_change_of_user() {
    if !may_change_user() {
        return skip("this user cannot become another");
    }
    let arguments = format!("uid={NOBODY} keep=net_admin list=doorman");
    let (status, said) = Program::new().status(None, &arguments);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(value(&status, set), "0000000000001000", "{set}\n{said}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(value(&status, set), "0000000000000000", "{set}\n{said}");
    }
    assert!(!said.contains("missing"), "{said}");
}

/// As in a container: no root, and what it needs as an ambient capability.
fn a_user_with_one_capability_keeps_it() {
    if !may_change_user() {
        return skip("this user cannot become another");
    }
    let start = format!(
        "setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups --inh-caps -all,+net_admin,+net_raw \
         --ambient-caps -all,+net_admin,+net_raw"
    );
    let (status, said) = Program::new().status_by(&start, "share=yes keep=net_admin list=doorman");
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(value(&status, set), "0000000000001000", "{set}\n{said}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(value(&status, set), "0000000000000000", "{set}\n{said}");
    }
}

fn nothing_is_missing_on_this_machine() {
    let program = Program::new();
    for list in LISTS {
        let (_, said) = program.status(None, &strict(list));
        if may_change_user() && has_landlock() {
            assert!(!said.contains("missing"), "{list}: {said}");
        } else {
            skip("not root, or a kernel without Landlock");
        }
        for barrier in ["seccomp", "capabilities", "TCP", "packet sockets", "execution", "signals", "tracing"]
        {
            assert!(said.contains(&format!("holds {barrier}\n")), "{list}: {barrier}: {said}");
        }
    }
}

/// Whether this kernel has one, found by a process that tries.
fn has_landlock() -> bool {
    attempt("share=yes thread=").said.contains("holds Landlock\n")
}

fn without_rights_the_user_stays_and_that_is_said() {
    if !may_change_user() {
        return skip("this user cannot become another");
    }
    let program = Program::new();
    let (status, said) = program.status(Some(SOMEBODY), &format!("uid={NOBODY} list=engine"));
    let line =
        "missing own user: stays user 65533: without CAP_SETUID and CAP_SETGID it cannot become user 65534\n";
    assert!(said.contains(line), "{said}");
    let line = "missing capability bounding set: without CAP_SETPCAP it stays as it is\n";
    assert!(said.contains(line), "{said}");
    assert_eq!(value(&status, "CapEff"), "0000000000000000");
    assert_eq!(value(&status, "Seccomp"), "2");
    // The same user, and nobody said that this is well.
    let (_, said) = program.status(Some(SOMEBODY), "list=engine");
    assert!(said.contains("missing own user: stays user 65533, who started it"), "{said}");
    let (_, said) = program.status(Some(SOMEBODY), "share=yes list=engine");
    assert!(!said.contains("own user"), "{said}");
}

fn what_the_kernel_lacks_is_said() {
    let missing = |arguments: &str| {
        let said = attempt(&format!("without={arguments} thread=")).said;
        let lines = said.lines().filter_map(|line| line.strip_prefix("missing "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    // The doorman opens no file by its list as well; the engine's list lets it read.
    let none = "Landlock: this kernel has none";
    assert_eq!(missing(&format!("landlock {}", strict("doorman")))[..], [none]);
    let engine = missing(&format!("landlock {}", strict("engine")));
    assert_eq!(engine[..], [none, "files: other files can be opened"]);
    // With neither, it all can be done, and the proof finds it: by the same user, whom the kernel would let signal the other.
    let nothing = missing("landlock share=yes");
    let all = [
        none,
        "files: other files can be opened",
        "abstract UNIX sockets: those of others can be connected to",
        "signals: the process that started it can be signalled",
        "TCP: connections can be made",
    ];
    for line in all {
        assert!(nothing.iter().any(|it| it == line), "{line}: {nothing:?}");
    }
    if has_landlock() {
        let engine = missing(&format!("seccomp {}", strict("engine")));
        assert_eq!(engine[..], ["seccomp: this kernel has none", "execution: processes can be started"]);
    }
}

fn a_second_thread_is_refused() {
    let outcome = attempt("threads=2 list=engine read=/");
    assert!(outcome.said.starts_with("refused: the process has 2 threads"), "{}", outcome.said);
}

fn contradictions_are_refused() {
    let outcome = attempt("gain=yes list=engine thread=");
    assert!(
        outcome.said.starts_with("refused: a list of system calls needs no_new_privs"),
        "{}",
        outcome.said
    );
}

fn files_outside_cannot_be_opened() {
    on_every_list("read=/etc/passwd", "read: failed: PermissionDenied");
    let folder = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    let file = folder.path().join("module");
    std::fs::write(&file, "bytes").unwrap();
    let (folder, file) = (folder.path().display(), file.display());
    for (list, end) in [("engine", "done"), ("reader", "done"), ("compiler", "failed: PermissionDenied")] {
        let outcome = attempt(&format!("{} files={folder} read={file}", strict(list)));
        assert!(outcome.said.ends_with(&format!("read: {end}\n")), "{list}: {}", outcome.said);
        assert!(!outcome.said.contains("missing files"), "{list}: {}", outcome.said);
    }
}

fn nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "bytes").unwrap();
    let (folder, file) = (folder.path().display(), file.display());
    for attempt in ["write", "remove"] {
        on_every_list(
            &format!("files={folder} {attempt}={file}"),
            &format!("{attempt}: failed: PermissionDenied"),
        );
    }
    // Landlock alone, without a list.
    if has_landlock() {
        for attempt in ["write", "remove"] {
            let outcome = self::attempt(&format!("share=yes files={folder} {attempt}={file}"));
            let end = format!("{attempt}: failed: PermissionDenied\n");
            assert!(outcome.said.ends_with(&end), "{}", outcome.said);
        }
    }
    assert_eq!(std::fs::read_to_string(file.to_string()).unwrap(), "bytes");
}

fn no_connection_is_made() {
    on_every_list("listen=", "listen: failed: PermissionDenied");
}

fn only_the_kernel_is_asked_over_new_sockets() {
    on_every_list("datagrams=", "datagrams: failed: PermissionDenied");
    let (route, netfilter) = (0, 12);
    for (list, family, end) in [
        ("engine", route, "done"),
        ("engine", netfilter, "failed: PermissionDenied"),
        ("doorman", netfilter, "done"),
        ("compiler", route, "failed: PermissionDenied"),
        ("reader", route, "failed: PermissionDenied"),
    ] {
        let outcome = attempt(&format!("{} netlink={family}", strict(list)));
        assert!(outcome.said.ends_with(&format!("netlink: {end}\n")), "{list} {family}: {}", outcome.said);
    }
}

fn no_program_is_started() {
    on_every_list("execute=/bin/sh", "execute: failed: PermissionDenied");
    on_every_list("spawn=/bin/true", "spawn: failed: PermissionDenied");
}

fn an_unlisted_call_kills() {
    let program = Program::new();
    for list in LISTS {
        let outcome = program.attempt(None, &format!("{} sync=", strict(list)));
        assert_eq!(outcome.signal, Some(SIGSYS), "{list}: {}", outcome.said);
    }
}

fn what_a_runtime_needs_goes_on() {
    on_every_list("thread=", "thread: done");
    on_every_list("runtime=", "runtime: done");
}

fn a_panic_says_where() {
    let program = Program::new();
    for list in LISTS {
        let outcome = program.attempt(None, &format!("{} panic=words", strict(list)));
        assert_eq!(outcome.signal, None, "{list}: {}", outcome.complained);
        assert!(outcome.complained.contains("words"), "{list}: {}", outcome.complained);
        assert!(outcome.complained.contains("attempts.rs"), "{list}: {}", outcome.complained);
        assert!(outcome.complained.contains("stack backtrace"), "{list}: {}", outcome.complained);
        let outcome = program.attempt(None, &format!("{} abort=", strict(list)));
        assert_eq!(outcome.signal, Some(SIGABRT), "{list}");
    }
}

fn memory_is_bounded() {
    let (limit, more) = (512 << 20, 600 << 20);
    let less = 100 << 20;
    let end = |size| {
        attempt(&format!("{} memory={limit} allocate={size}", strict("compiler")))
            .said
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(end(more), "allocate: failed: no memory");
    assert_eq!(end(less), "allocate: done");
}

fn there_is_no_core_dump_but_of_what_a_runner_starts() {
    on_every_list("core=", "core: 0");
    let before = match rustix::process::getrlimit(rustix::process::Resource::Core).maximum {
        Some(bytes) => bytes.to_string(),
        None => "unlimited".to_owned(),
    };
    let outcome = attempt("share=yes keep=all gain=yes files=all limits=none core=");
    assert!(outcome.said.ends_with(&format!("core: {before}\n")), "{}", outcome.said);
}

fn it_ends_with_its_parent() {
    for list in LISTS {
        assert!(Program::new().ends_with_its_parent(&strict(list)), "{list}");
    }
}

fn a_runner_starts_programs() {
    let outcome = attempt("share=yes keep=all gain=yes files=all spawn=/bin/true");
    assert!(outcome.said.ends_with("spawn: done\n"), "{} {}", outcome.said, outcome.complained);
    assert!(!outcome.said.contains("missing"), "{}", outcome.said);
}
