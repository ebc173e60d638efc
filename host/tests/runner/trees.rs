//! What is ended when a command runs longer than it may, and what goes on when it ended by itself.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use postern_core::{Act, HookRun, OrderError, TenantId};
use postern_link::{CommandsTable, TabledCommands, ToRunner};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::Process;
use crate::test_engine::TestEngine;
use crate::{LONG, MINUTE, eventually, plan, table};

/// A table whose first door runs these lines of a shell, each with the folder as `$0`, for as long as that.
fn lines(folder: &Path, open: &str, close: &str, timeout: Duration) -> CommandsTable {
    let mut table = table(1, folder);
    let TabledCommands::Argv(door) = &mut table.doors[0].1.commands else { panic!("a command door") };
    door.open = shell(open, folder);
    door.close = shell(close, folder);
    door.timeout = timeout;
    table
}

fn shell(line: &str, folder: &Path) -> Vec<String> {
    ["/bin/sh", "-c", line, &folder.display().to_string()].map(str::to_owned).to_vec()
}

/// A runner with such a table, and an engine that has recorded an opening.
fn recorded(folder: &Path, table: CommandsTable) -> (Process, TestEngine) {
    let mut process = Process::start(folder, None, None);
    process.give(table);
    process.open_journal();
    let engine = TestEngine::start(process.link(11), &plan(1, folder));
    assert_eq!(engine.recorded(1, 1), Ok(()));
    (process, engine)
}

/// The processes whose command line has the folder in it, but for those that have ended.
fn of(folder: &Path) -> Vec<i32> {
    let token = folder.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_token = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&token)
    };
    pids.filter(has_token).collect()
}

/// Waits until none of them is left, nor comes anew.
#[track_caller]
fn are_gone(folder: &Path) {
    let begun = Instant::now();
    let mut looks = 0;
    while looks < 20 {
        looks = if of(folder).is_empty() { looks + 1 } else { 0 };
        assert!(begun.elapsed() < LONG, "{:?}", of(folder));
        thread::sleep(Duration::from_millis(2));
    }
}

/// What is written in the folder as `started`, a line for each process that a command has started.
fn started(folder: &Path) -> usize {
    fs::read_to_string(folder.join("started")).unwrap_or_default().lines().count()
}

/// What becomes of an open command of this line that does not end by itself. It may run for so long that it has started as many processes as it says.
fn ended_with(line: &str, count: usize) -> OrderError {
    for seconds in [1, 4, 16] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (process, engine) = recorded(folder, lines(folder, line, "", Duration::from_secs(seconds)));
        let error = engine.ordered(2, 1, Act::Open(MINUTE)).unwrap_err();
        are_gone(folder);
        process.end();
        if started(folder) >= count {
            return error;
        }
    }
    panic!("the command has not started {count} processes in time");
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_all_that_it_started_in_whatever_session() {
    // Each ignores what it may, has closed what it was given, and says that it runs: the command, one that left its session, and one whose parents
    // have ended.
    let line = r#"
        trap '' TERM HUP INT
        exec 0<&- 1>&- 2>&-
        loop='trap "" TERM HUP INT; echo >> $0/started; while :; do sleep 0.1; done'
        setsid sh -c "$loop" $0 &
        (setsid sh -c "(setsid sh -c '$loop' $0 &)" $0 &)
        sh -c "$loop" $0
    "#;
    let error = ended_with(line, 3).to_string();
    assert!(error.starts_with("/bin/sh ran longer than ") && error.ends_with("s and was killed"), "{error}");
}

#[test]
fn processes_that_go_on_starting_others_come_to_an_end() {
    // Each starts the next and ends, faster than anybody could end one after the other.
    let chain = "next() { next & }; next; echo >> $0/started; sleep 61";
    let error = ended_with(chain, 1).to_string();
    assert!(error.ends_with("s and was killed"), "{error}");
    // A tree, all of which starts more.
    let tree = r#"
        grow() {
            echo >> $0/started
            if [ $1 -gt 0 ]; then grow $(($1 - 1)) & grow $(($1 - 1)) & fi
            while :; do sleep 0.05; done
        }
        grow 4
    "#;
    let error = ended_with(tree, 31).to_string();
    assert!(error.ends_with("s and was killed"), "{error}");
}

/// As knockd has it: a start command may start something that stays.
#[test]
fn what_a_command_that_ended_by_itself_left_running_goes_on_whatever_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let open = "setsid sh -c 'echo $$ > $0/left; while :; do sleep 0.05; done' $0 & while ! [ -s $0/left ]; do sleep 0.01; done";
    let close = "echo $$ > $0/closes; sleep 61";
    let (process, engine) = recorded(folder, lines(folder, open, close, Duration::from_secs(5)));
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    let left = fs::read_to_string(folder.join("left")).unwrap().trim().parse::<i32>().unwrap();
    // The next command of the door is ended with what is its own.
    let error = engine.ordered(3, 1, Act::Close).unwrap_err().to_string();
    assert!(error.contains("ran longer than 5s and was killed"), "{error}");
    assert!(of(folder).contains(&left), "it was ended with another command");
    process.end();
    assert!(of(folder).contains(&left), "it was ended with the runner");
    kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    are_gone(folder);
}

#[test]
fn what_a_command_does_to_its_process_group_it_does_not_do_to_its_shim() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let open = "trap '' TERM; kill 0";
    let (process, engine) =
        recorded(folder, lines(folder, open, "trap 'exit 3' TERM; kill 0; sleep 61", MINUTE));
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    let error = engine.ordered(3, 1, Act::Close).unwrap_err().to_string();
    assert_eq!(error, "/bin/sh failed (exit status: 3)");
    process.end();
    are_gone(folder);
}

#[test]
fn what_writes_without_end_is_neither_blocked_nor_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let open = "yes no >&2; yes | head -c 10000000; exit 3";
    let (process, engine) = recorded(folder, lines(folder, open, "", MINUTE));
    let error = engine.ordered(2, 1, Act::Open(MINUTE)).unwrap_err().to_string();
    assert!(error.starts_with("/bin/sh failed (exit status: 3): no\nno"), "{error}");
    assert!(error.len() < 1000, "{}", error.len());
    process.end();
}

fn hook(number: u32, line: &str, folder: &Path, limit: Duration) -> HookRun {
    HookRun {
        hook: number,
        place: "postern.toml:7".to_owned(),
        owner: TenantId::host(),
        argv: shell(line, folder),
        user: None,
        limit,
        event: r#"{"event":"open"}"#.to_owned(),
        environment: vec![("POSTERN_EVENT".to_owned(), "open".to_owned())],
    }
}

impl Process {
    fn run_hook(&self, run: HookRun) {
        self.supervisor.send(&ToRunner::RunHook(run), &[]).unwrap();
    }
}

/// Has two hooks run, and kills their runner when they do: one goes on until there is a file `go`, the other for ever.
fn killed_while_hooks_run(folder: &Path, limit: Duration) -> OwnedFd {
    let process = Process::start(folder, None, None);
    process.run_hook(hook(
        0,
        "echo >> $0/started; while ! [ -e $0/go ]; do sleep 0.01; done; cat > $0/told",
        folder,
        MINUTE,
    ));
    let endless = "setsid sh -c 'echo >> $0/started; while :; do sleep 0.1; done' $0 & wait";
    process.run_hook(hook(1, endless, folder, limit));
    eventually("they run", || started(folder) == 2);
    process.kill()
}

#[test]
fn a_hook_outlives_its_runner_until_it_ends_or_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let memory = killed_while_hooks_run(folder, Duration::from_secs(8));
    let next = Process::start(folder, None, Some(&memory));
    eventually("the one whose time is over is ended", || {
        of(folder).iter().all(|pid| !line_of(*pid).contains("sleep 0.1;"))
    });
    assert!(!of(folder).is_empty(), "the other was ended as well");
    fs::write(folder.join("go"), "").unwrap();
    eventually("it reads what happened", || {
        fs::read_to_string(folder.join("told")).is_ok_and(|told| told == "{\"event\":\"open\"}\n")
    });
    are_gone(folder);
    next.end();
}

fn line_of(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

/// Nobody else keeps the time of a command when the whole daemon is killed.
#[test]
fn a_command_whose_runner_has_no_successor_is_ended_by_its_shim_a_little_later() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    drop(killed_while_hooks_run(folder, Duration::from_secs(8)));
    fs::write(folder.join("go"), "").unwrap();
    are_gone(folder);
}

#[test]
fn a_runner_that_ends_takes_with_it_what_its_commands_started_in_whatever_session() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let process = Process::start(folder, None, None);
    let line = "setsid sh -c 'echo >> $0/started; while :; do sleep 0.1; done' $0 & wait";
    for number in 0..2 {
        process.run_hook(hook(number, line, folder, MINUTE));
    }
    eventually("they run", || started(folder) == 2);
    process.end();
    are_gone(folder);
}
