//! The runner's process and the engine's end of its link. The engine is this process; the runner is this binary once more, and may be killed.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use postern_config::DoorKind;
use postern_core::{
    Act, Client, CommandDoor, DoorId, DropReason, OpeningKey, Order, OrderError, Policy, Receipt,
    RecordError, RuleId, ShellDoor, TenantId,
};
use postern_link::{
    CommandsTable, FromRunner, Hello, LARGEST_ANSWER, OrderLink, Received, RunnerAnswer, RunnerRequest, Sent,
    TabledCommands, TabledDoor, Talk, TalkReceiver, TalkSender, ToRunner,
};
use postern_runner::RunnerEvent;
use posternd::command_doors::CommandDoors;
use posternd::plan::Plan;
use posternd::remote_runner::{RemoteRunner, RemoteRunnerEvent};
use posternd::roles::runner::RunnerRole;

/// Much longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);
/// How long a runner waits for an engine before it closes by itself.
const ALONE: Duration = Duration::from_secs(2);
/// So many may always be closed at once.
const CLOSING: usize = 512;
/// Long enough to see that nothing is answered.
const A_WHILE: Duration = Duration::from_millis(200);

/// Says to a child that it is the runner.
const IS_RUNNER: &str = "POSTERN_TEST_IS_RUNNER";

/// Not a test but the runner, if it is started as one.
#[test]
fn this_process_is_a_runner_if_asked_to() {
    if std::env::var_os(IS_RUNNER).is_none() {
        return;
    }
    let talk = Talk::of_standard_input().unwrap();
    // What it reports is not looked at here.
    let role = RunnerRole::start(talk, env!("CARGO_BIN_EXE_posternd").into(), |_| Ok(Arc::new(())));
    if let Some(role) = role.unwrap() {
        role.serve().unwrap();
    }
    std::process::exit(0);
}

/// A supervisor's end of a runner.
struct Process {
    supervisor: TalkSender,
    answers: TalkReceiver,
    child: Child,
    memory: OwnedFd,
}

impl Process {
    fn start(folder: &Path, engine: Option<u64>, memory: Option<&OwnedFd>) -> Self {
        let (ours, its) = Talk::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "this_process_is_a_runner_if_asked_to", "--nocapture"]);
        command.env(IS_RUNNER, "1").stdin(OwnedFd::from(its)).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        drop(command);
        let (supervisor, mut answers) = ours.split(None).unwrap();
        let start = ToRunner::Start {
            log_filter: String::new(),
            state_folder: folder.to_owned(),
            journal_stem: "postern".to_owned(),
            engine,
        };
        let (reports, _) = UnixStream::pair().unwrap();
        let descriptors: Vec<_> =
            [reports.as_fd()].into_iter().chain(memory.iter().map(|memory| memory.as_fd())).collect();
        supervisor.send(&start, &descriptors).unwrap();
        let (started, descriptors) = answers.receive::<FromRunner>(1000).unwrap().unwrap();
        assert_eq!(started, FromRunner::Started);
        let memory = descriptors.into_iter().next().unwrap();
        Self { supervisor, answers, child, memory }
    }

    /// The next one after it was killed, with its journal and a table.
    fn next(folder: &Path, engine: u64, memory: &OwnedFd) -> Self {
        let mut next = Self::start(folder, Some(engine), Some(memory));
        next.give(table(1, folder));
        assert_eq!(next.open_journal(), (true, None));
        next
    }

    fn open_journal(&mut self) -> (bool, Option<String>) {
        self.supervisor.send(&ToRunner::OpenJournal { ticket: 3, is_needed: true }, &[]).unwrap();
        match self.answers.receive(1000).unwrap().unwrap().0 {
            FromRunner::Journal { ticket: 3, is_there, error } => (is_there, error),
            other => panic!("{other:?}"),
        }
    }

    fn give(&mut self, table: CommandsTable) {
        let number = table.number;
        self.supervisor.send(&ToRunner::Table(table), &[]).unwrap();
        let (took, _) = self.answers.receive::<FromRunner>(1000).unwrap().unwrap();
        assert_eq!(took, FromRunner::Took { table: number });
    }

    /// An engine's end of a new link.
    fn link(&self, number: u64) -> OrderLink {
        let (engine, runner) = OrderLink::pair().unwrap();
        self.supervisor.send(&ToRunner::Engine { number }, &[OwnedFd::from(runner).as_fd()]).unwrap();
        engine
    }

    /// Ends it, with everything that it runs.
    fn end(mut self) {
        self.supervisor.end();
        assert!(self.child.wait().unwrap().success());
    }

    /// Ends it as a lack of memory does; what it noted is left.
    fn kill(mut self) -> OwnedFd {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.memory
    }
}

/// An engine with its doors.
struct TestEngine {
    doors: RemoteRunner,
    events: Receiver<RemoteRunnerEvent>,
}

impl TestEngine {
    fn start(link: OrderLink, plan: &Plan) -> Self {
        let (sender, events) = channel();
        let listener = move |event| sender.send(event).is_ok();
        let mut doors =
            RemoteRunner::start(link, listener, Arc::new(()), Hello::of_this_process().unwrap()).unwrap();
        doors.follow(plan);
        Self { doors, events }
    }

    fn next(&self) -> RemoteRunnerEvent {
        self.events.recv_timeout(LONG).unwrap()
    }

    fn order(&self, serial: u64, door: u32, act: Act) {
        let order = Order { serial, door: DoorId(door), client: client(), occurrence: 0, act };
        self.doors.carry_out(order, Some(&rule()), "not for the runner");
    }

    /// Carries an order out; why not, if so.
    fn ordered(&self, serial: u64, door: u32, act: Act) -> Result<(), OrderError> {
        self.order(serial, door, act);
        self.receipt(serial)
    }

    fn receipt(&self, expected: u64) -> Result<(), OrderError> {
        match self.next() {
            RemoteRunnerEvent::Runner(RunnerEvent::Answered(Receipt { serial, outcome })) => {
                assert_eq!(serial, expected);
                outcome
            }
            other => panic!("{other:?}"),
        }
    }

    fn recorded(&self, serial: u64, door: u32) -> Result<(), RecordError> {
        self.doors.record(serial, key(door), MINUTE, &rule(), "not for the runner");
        match self.next() {
            RemoteRunnerEvent::Runner(RunnerEvent::Recorded { serial: number, result }) => {
                assert_eq!(number, serial);
                result
            }
            other => panic!("{other:?}"),
        }
    }
}

fn client() -> Client {
    Client::alone([192, 0, 2, 1].into())
}

fn key(door: u32) -> OpeningKey {
    OpeningKey { door: DoorId(door), client: client(), occurrence: 0 }
}

fn rule() -> RuleId {
    RuleId { tenant: TenantId::host(), name: "knock".into() }
}

/// Door 1 writes what it is told into a file, and takes its time if there is one called `slow`; door 2 is one of a knockd.conf.
fn doors(folder: &Path) -> Vec<(DoorId, DoorKind)> {
    let folder = folder.display();
    let argv = |verb| {
        let line = format!(
            "while [ -e {folder}/slow ]; do touch {folder}/runs; sleep 0.01; done; echo {verb} $0 $1 $2 >> {folder}/ran"
        );
        ["/bin/sh", "-c", &line, "{ip}", "{door}", "{rule}"].map(str::to_owned).to_vec()
    };
    let command = CommandDoor { open: argv("on"), close: argv("off"), timeout: MINUTE, user: None };
    let line = |verb| Some(format!("echo {verb} %IP% >> {folder}/ran").into());
    let shell = ShellDoor { start: line("start"), stop: line("stop"), ..ShellDoor::default() };
    vec![(DoorId(1), DoorKind::Command(command)), (DoorId(2), DoorKind::Shell(shell))]
}

fn plan(number: u32, folder: &Path) -> Plan {
    let policy = Policy { longest: MINUTE, max_openings: 10, ..Policy::default() };
    Plan { table: number, rules: [(rule(), 7)].into(), doors: doors(folder), policy: Arc::new(policy) }
}

fn table(number: u32, folder: &Path) -> CommandsTable {
    let door = |(id, kind)| {
        let (name, commands) = match kind {
            DoorKind::Command(door) => ("lamp", TabledCommands::Argv(door)),
            DoorKind::Shell(door) => ("bell", TabledCommands::Shell(door)),
            DoorKind::Net(_) => panic!("it has no commands"),
        };
        (id, TabledDoor { name: name.into(), commands })
    };
    CommandsTable {
        number,
        doors: doors(folder).into_iter().map(door).collect(),
        rules: [(7, rule())].into(),
        longest: MINUTE,
        most_openings: 10,
    }
}

fn ran(folder: &Path) -> String {
    fs::read_to_string(folder.join("ran")).unwrap_or_default()
}

fn reason(outcome: Result<(), OrderError>) -> DropReason {
    outcome.unwrap_err().reason()
}

#[test]
fn what_is_recorded_is_opened_with_names_of_the_table_and_nothing_beyond_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    process.give(table(1, folder.path()));
    let engine = TestEngine::start(process.link(11), &plan(1, folder.path()));
    assert_eq!(engine.recorded(1, 1), Err(RecordError::NoJournal));
    assert_eq!(reason(engine.ordered(2, 1, Act::Open(MINUTE))), DropReason::NotRecorded);
    assert_eq!(process.open_journal(), (true, None));
    assert_eq!(reason(engine.ordered(3, 1, Act::Open(MINUTE))), DropReason::NotRecorded);
    assert_eq!(engine.recorded(4, 1), Ok(()));
    let long = MINUTE + Duration::from_secs(1);
    assert_eq!(reason(engine.ordered(5, 1, Act::Open(long))), DropReason::BeyondTable);
    assert_eq!(reason(engine.ordered(6, 9, Act::Open(MINUTE))), DropReason::BeyondTable);
    assert_eq!(ran(folder.path()), "");
    for (serial, door, act) in [(7, 1, Act::Open(MINUTE)), (8, 1, Act::Close), (9, 1, Act::Close)] {
        assert_eq!(engine.ordered(serial, door, act), Ok(()));
    }
    assert_eq!(ran(folder.path()), "on 192.0.2.1 lamp knock\noff 192.0.2.1 lamp knock\n", "closed once");
    assert_eq!(engine.recorded(10, 2), Ok(()));
    assert_eq!(engine.ordered(11, 2, Act::Open(MINUTE)), Ok(()));
    // A reload whose table the runner does not have.
    let mut engine = engine;
    engine.doors.follow(&plan(2, folder.path()));
    assert_eq!(reason(engine.ordered(12, 1, Act::Open(MINUTE))), DropReason::BeyondTable);
    assert_eq!(engine.ordered(13, 2, Act::Close), Ok(()), "what is open is closed all the same");
    process.give(table(2, folder.path()));
    assert_eq!(engine.recorded(14, 1), Ok(()));
    engine.doors.follow(&plan(1, folder.path()));
    assert!(engine.recorded(15, 1).is_err(), "the older table");
    assert!(ran(folder.path()).ends_with("start 192.0.2.1\nstop 192.0.2.1\n"));
    process.end();
}

/// Waits until there is something to see.
#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

const ON_OFF: &str = "on 192.0.2.1 lamp knock\noff 192.0.2.1 lamp knock\n";

/// A runner with a journal, an engine, and an opening that is recorded.
fn with_recorded(folder: &Path) -> (Process, TestEngine) {
    let mut first = Process::start(folder, None, None);
    first.give(table(1, folder));
    first.open_journal();
    let engine = TestEngine::start(first.link(11), &plan(1, folder));
    assert_eq!(engine.recorded(1, 1), Ok(()));
    (first, engine)
}

/// Has a command begin that does not end before the file `slow` is gone.
fn begin_slowly(folder: &Path, engine: &TestEngine, serial: u64, act: Act) {
    fs::write(folder.join("slow"), "").unwrap();
    engine.order(serial, 1, act);
    eventually("it runs", || folder.join("runs").exists());
    fs::remove_file(folder.join("runs")).unwrap();
}

#[test]
fn a_runner_that_is_killed_within_an_open_leaves_it_to_the_next_to_wait_for_it_and_close_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let (first, engine) = with_recorded(folder.path());
    begin_slowly(folder.path(), &engine, 2, Act::Open(MINUTE));
    let memory = first.kill();
    assert_eq!(reason(engine.receipt(2)), DropReason::Restarting);
    // While there is none, what is asked waits.
    engine.order(3, 1, Act::Close);
    let second = Process::next(folder.path(), 11, &memory);
    engine.doors.reconnector().reconnect(second.link(11).into());
    assert!(engine.events.recv_timeout(A_WHILE).is_err(), "it is still being opened");
    fs::remove_file(folder.path().join("slow")).unwrap();
    assert_eq!(engine.receipt(3), Ok(()));
    // Its receipt was lost, say.
    assert_eq!(engine.ordered(4, 1, Act::Close), Ok(()));
    assert_eq!(ran(folder.path()), ON_OFF);
    assert!(engine.events.try_recv().is_err(), "nothing was handed over that the engine knows");
    second.end();
}

#[test]
fn what_was_recorded_and_had_not_begun_when_the_runner_was_killed_is_not_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (first, engine) = with_recorded(folder.path());
    let memory = first.kill();
    // It was ordered, and the order was lost.
    engine.order(2, 1, Act::Close);
    let second = Process::next(folder.path(), 11, &memory);
    engine.doors.reconnector().reconnect(second.link(11).into());
    assert_eq!(engine.receipt(2), Ok(()));
    assert_eq!(engine.recorded(3, 1), Ok(()));
    let memory = second.kill();
    // The order comes only now.
    engine.order(4, 1, Act::Open(MINUTE));
    let third = Process::next(folder.path(), 11, &memory);
    engine.doors.reconnector().reconnect(third.link(11).into());
    assert_eq!(engine.receipt(4), Ok(()));
    assert_eq!(engine.ordered(5, 1, Act::Close), Ok(()));
    assert_eq!(ran(folder.path()), ON_OFF);
    assert_eq!(engine.recorded(6, 1), Ok(()));
    let memory = third.kill();
    // The engine ends as well: the next one is handed nothing.
    drop(engine);
    let fourth = Process::next(folder.path(), 12, &memory);
    let engine = TestEngine::start(fourth.link(12), &plan(1, folder.path()));
    assert_eq!(engine.recorded(1, 1), Ok(()));
    assert!(engine.events.recv_timeout(A_WHILE).is_err());
    fourth.end();
    assert_eq!(ran(folder.path()), ON_OFF);
}

#[test]
fn a_close_that_outlives_its_runner_is_not_run_again() {
    for is_over_before in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (first, engine) = with_recorded(folder.path());
        assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
        begin_slowly(folder.path(), &engine, 3, Act::Close);
        let memory = first.kill();
        assert_eq!(reason(engine.receipt(3)), DropReason::Restarting);
        engine.order(4, 1, Act::Close);
        let end = || {
            fs::remove_file(folder.path().join("slow")).unwrap();
            eventually("it has ended", || ran(folder.path()) == ON_OFF);
        };
        if is_over_before {
            end();
        }
        let second = Process::next(folder.path(), 11, &memory);
        engine.doors.reconnector().reconnect(second.link(11).into());
        if !is_over_before {
            assert!(engine.events.recv_timeout(A_WHILE).is_err(), "it is still being closed");
            end();
        }
        assert_eq!(engine.receipt(4), Ok(()));
        assert_eq!(ran(folder.path()), ON_OFF);
        second.end();
    }
}

#[test]
fn a_close_that_fails_when_its_runner_is_gone_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (first, engine) = with_recorded(folder.path());
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    let ran_before = ran(folder.path());
    begin_slowly(folder.path(), &engine, 3, Act::Close);
    let memory = first.kill();
    assert_eq!(reason(engine.receipt(3)), DropReason::Restarting);
    // It cannot write there, and says so.
    fs::remove_file(folder.path().join("ran")).unwrap();
    fs::create_dir(folder.path().join("ran")).unwrap();
    fs::remove_file(folder.path().join("slow")).unwrap();
    engine.order(4, 1, Act::Close);
    let second = Process::next(folder.path(), 11, &memory);
    engine.doors.reconnector().reconnect(second.link(11).into());
    let failed = engine.receipt(4).unwrap_err().to_string();
    assert!(failed.contains("/bin/sh failed") && failed.contains("directory"), "{failed}");
    fs::remove_dir(folder.path().join("ran")).unwrap();
    fs::write(folder.path().join("ran"), ran_before).unwrap();
    assert_eq!(engine.ordered(5, 1, Act::Close), Ok(()));
    assert_eq!(ran(folder.path()), ON_OFF);
    second.end();
}

#[test]
fn a_command_that_cannot_be_started_is_named_and_one_whose_shim_is_killed_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, engine) = with_recorded(folder.path());
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    begin_slowly(folder.path(), &engine, 3, Act::Close);
    let (shim, command) = shim_of(process.child.id());
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let failed = engine.receipt(3).unwrap_err().to_string();
    assert!(failed.starts_with("/bin/sh was killed with the process that watches it"), "{failed}");
    eventually("it goes with its shim", || !is_alive(command));
    fs::remove_file(folder.path().join("slow")).unwrap();
    assert_eq!(engine.ordered(4, 1, Act::Close), Ok(()));
    let mut missing = table(2, folder.path());
    let TabledCommands::Argv(door) = &mut missing.doors[0].1.commands else { panic!("a command door") };
    door.open = vec!["/missing/lamp".to_owned()];
    missing.doors[0].0 = DoorId(7);
    process.give(missing);
    let mut plan = plan(2, folder.path());
    plan.doors[0].0 = DoorId(7);
    let mut engine = engine;
    engine.doors.follow(&plan);
    assert_eq!(engine.recorded(5, 7), Ok(()));
    let failed = engine.ordered(6, 7, Act::Open(MINUTE)).unwrap_err().to_string();
    assert_eq!(failed, "/missing/lamp cannot be started: No such file or directory (os error 2)");
    process.end();
}

#[test]
fn a_runner_that_ends_because_the_supervisor_has_takes_what_it_runs_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (process, engine) = with_recorded(folder.path());
    begin_slowly(folder.path(), &engine, 2, Act::Open(MINUTE));
    let (shim, command) = shim_of(process.child.id());
    process.end();
    eventually("they end", || !is_alive(shim) && !is_alive(command));
    assert_eq!(ran(folder.path()), "");
}

/// The shim that a runner has started, and its command.
fn shim_of(runner: u32) -> (rustix::process::Pid, rustix::process::Pid) {
    let only = |of: rustix::process::Pid| {
        let children = children(of);
        assert_eq!(children.len(), 1, "{children:?}");
        children[0]
    };
    let shim = only(rustix::process::Pid::from_raw(runner.try_into().unwrap()).unwrap());
    (shim, only(shim))
}

fn stat_of(pid: &str) -> Option<(String, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn children(of: rustix::process::Pid) -> Vec<rustix::process::Pid> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let is_child = |pid: &String| stat_of(pid).is_some_and(|(_, parent)| parent == of.as_raw_nonzero().get());
    let pids = processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_child);
    pids.filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)).collect()
}

fn is_alive(process: rustix::process::Pid) -> bool {
    stat_of(&process.as_raw_nonzero().to_string()).is_some_and(|(state, _)| state != "Z")
}

#[test]
fn what_is_asked_while_the_journal_is_being_opened_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Process::start(folder.path(), None, None);
    first.give(table(1, folder.path()));
    first.open_journal();
    let engine = TestEngine::start(first.link(11), &plan(1, folder.path()));
    let reconnector = engine.doors.reconnector();
    assert_eq!(engine.recorded(1, 1), Ok(()));
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    let memory = first.kill();
    // Another daemon is starting there.
    let file = fs::File::open(folder.path().join("lock")).unwrap();
    file.lock().unwrap();
    let mut second = Process::start(folder.path(), Some(11), Some(&memory));
    second.give(table(1, folder.path()));
    for ticket in [3, 4] {
        second.supervisor.send(&ToRunner::OpenJournal { ticket, is_needed: true }, &[]).unwrap();
    }
    reconnector.reconnect(second.link(11).into());
    engine.order(3, 1, Act::Close);
    assert!(engine.events.recv_timeout(Duration::from_millis(200)).is_err(), "it is not known to be closed");
    drop(file);
    assert_eq!(engine.receipt(3), Ok(()));
    for ticket in [3, 4] {
        let answer = second.answers.receive::<FromRunner>(1000).unwrap().unwrap().0;
        assert_eq!(answer, FromRunner::Journal { ticket, is_there: true, error: None });
    }
    assert_eq!(ran(folder.path()), "on 192.0.2.1 lamp knock\noff 192.0.2.1 lamp knock\n");
    second.end();
}

#[test]
fn without_a_runner_requests_are_refused_by_name_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    process.give(table(1, folder.path()));
    process.open_journal();
    let engine = TestEngine::start(process.link(11), &plan(1, folder.path()));
    assert_eq!(engine.recorded(1, 1), Ok(()));
    process.end();
    let begun = Instant::now();
    assert_eq!(reason(engine.ordered(2, 1, Act::Close)), DropReason::Restarting);
    assert!((Duration::from_secs(1)..LONG).contains(&begun.elapsed()));
    let begun = Instant::now();
    assert!(engine.recorded(3, 1).is_err());
    assert!(begun.elapsed() < Duration::from_secs(1), "by now nothing waits");
}

#[test]
fn the_next_engine_is_handed_what_the_one_before_opened_and_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    process.give(table(1, folder.path()));
    process.open_journal();
    let first = TestEngine::start(process.link(11), &plan(1, folder.path()));
    assert_eq!(first.recorded(1, 1), Ok(()));
    assert_eq!(first.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    drop(first);
    let second = TestEngine::start(process.link(12), &plan(1, folder.path()));
    let RemoteRunnerEvent::HandedOver { key, remaining, name } = second.next() else { panic!("an opening") };
    assert_eq!((key.client, name.as_str()), (client(), "lamp"));
    assert!(second.doors.has(key.door) && remaining > MINUTE / 2);
    second.doors.abandon(key);
    let order = Order { serial: 1, door: key.door, client: client(), occurrence: 0, act: Act::Close };
    assert_eq!(second.doors.abandoned(), 1);
    // Given up, so it is for the operator and for the next start.
    second.doors.carry_out(order, None, "lamp");
    assert_eq!(second.receipt(1), Ok(()));
    assert_eq!(ran(folder.path()), "on 192.0.2.1 lamp knock\n");
    process.end();
    let mut next = Process::start(folder.path(), None, None);
    assert_eq!(next.open_journal(), (true, None));
    let third = TestEngine::start(next.link(13), &plan(1, folder.path()));
    let RemoteRunnerEvent::HandedOver { key, .. } = third.next() else { panic!("an opening") };
    third.doors.carry_out(Order { door: key.door, ..order }, None, "lamp");
    assert_eq!(third.receipt(1), Ok(()));
    assert_eq!(ran(folder.path()), "on 192.0.2.1 lamp knock\noff 192.0.2.1 lamp knock\n");
    next.end();
}

#[test]
fn without_an_engine_what_is_due_is_closed_by_the_runner_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    process.give(table(1, folder.path()));
    process.open_journal();
    let engine = TestEngine::start(process.link(11), &plan(1, folder.path()));
    assert_eq!(engine.recorded(1, 1), Ok(()));
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    engine.doors.note(key(1), Duration::from_millis(50));
    drop(engine);
    let begun = Instant::now();
    eventually("nobody closes it", || ran(folder.path()).lines().count() == 2);
    assert!(begun.elapsed() >= ALONE);
    process.end();
    assert_eq!(ran(folder.path()), "on 192.0.2.1 lamp knock\noff 192.0.2.1 lamp knock\n");
}

/// An engine that was taken over, with nothing but its link.
struct HostileEngine(OrderLink);

impl HostileEngine {
    /// Sends a message; waits while the link is full.
    fn say(&self, message: &[u8]) {
        let until = Instant::now() + LONG;
        while self.0.send(message) == Sent::Full {
            assert!(Instant::now() < until, "the runner takes nothing any more");
            thread::yield_now();
        }
    }

    fn ask(&self, request: &RunnerRequest) {
        self.say(&request.encode());
    }

    /// The next answer; none once the runner has ended the link.
    fn heard(&self) -> Option<RunnerAnswer> {
        let mut inbox = [0; LARGEST_ANSWER];
        let until = Instant::now() + LONG;
        loop {
            match self.0.receive(&mut inbox) {
                Received::Message(length) => return Some(RunnerAnswer::decode(&inbox[..length]).unwrap()),
                Received::Ended => return None,
                Received::Nothing => assert!(Instant::now() < until, "the runner is silent"),
            }
            thread::yield_now();
        }
    }

    fn greeted(link: OrderLink) -> Self {
        let hostile = Self(link);
        hostile.ask(&RunnerRequest::Hello(Hello::of_this_process().unwrap()));
        assert!(matches!(hostile.heard(), Some(RunnerAnswer::Hello(_))));
        hostile
    }
}

#[test]
fn an_engine_cannot_have_what_is_open_forgotten_or_kept_for_longer_than_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    process.give(table(1, folder.path()));
    process.open_journal();
    let hostile = HostileEngine::greeted(process.link(11));
    let years = Duration::from_millis(postern_link::LONGEST_MS);
    for door in [1, 2] {
        hostile.ask(&RunnerRequest::Record {
            table: 1,
            rule: Some(7),
            serial: 1,
            key: key(door),
            lasts: MINUTE,
        });
        assert_eq!(hostile.heard(), Some(RunnerAnswer::Recorded { serial: 1, result: Ok(()) }));
        let act = Act::Open(MINUTE);
        let order = Order { serial: 2, door: DoorId(door), client: client(), occurrence: 0, act };
        hostile.ask(&RunnerRequest::Run { table: 1, rule: Some(7), order });
        assert_eq!(hostile.heard(), Some(RunnerAnswer::Receipt(Receipt { serial: 2, outcome: Ok(()) })));
        hostile.ask(&RunnerRequest::Note { key: key(door), lasts: years });
        hostile.ask(&RunnerRequest::StrikeOut(key(door)));
    }
    drop(hostile);
    let next = TestEngine::start(process.link(12), &plan(1, folder.path()));
    let mut handed: Vec<_> = (0..2)
        .map(|_| match next.next() {
            RemoteRunnerEvent::HandedOver { remaining, name, .. } => {
                assert!(remaining <= MINUTE, "{name} is kept open for {remaining:?}");
                name
            }
            other => panic!("{other:?}"),
        })
        .collect();
    handed.sort();
    assert_eq!(handed, ["bell", "lamp"]);
    process.end();
}

#[test]
fn a_flood_of_closes_is_refused_by_name_and_what_is_under_way_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    let mut slow = table(1, folder.path());
    let slow_stop =
        ShellDoor { start: Some("true".into()), stop: Some("sleep 60".into()), ..ShellDoor::default() };
    slow.doors[1].1.commands = TabledCommands::Shell(slow_stop);
    process.give(slow);
    let hostile = HostileEngine::greeted(process.link(11));
    let most = 2 * CLOSING;
    for n in 0..4 * most as u64 {
        // All of one client: one runs, and the others wait for it.
        let order = Order { serial: n, door: DoorId(2), client: client(), occurrence: 0, act: Act::Close };
        hostile.ask(&RunnerRequest::Run { table: 1, rule: None, order });
        if n >= most as u64 {
            let Some(RunnerAnswer::Receipt(Receipt { serial, outcome })) = hostile.heard() else {
                panic!("an answer")
            };
            assert_eq!((serial, reason(outcome)), (n, DropReason::BeyondTable));
        }
    }
    process.end();
}

#[test]
fn garbage_ends_the_link_of_the_engine_that_sent_it_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), None, None);
    process.give(table(1, folder.path()));
    process.open_journal();
    let hello = RunnerRequest::Hello(Hello::of_this_process().unwrap()).encode();
    let garbage: [&[&[u8]]; 6] = [
        &[b"garbage"],
        &[&[0xff; postern_link::REQUEST_SIZE]],
        &[&[7; LARGEST_ANSWER + 1]],
        &[&hello, &hello],
        &[&hello, &[0; postern_link::REQUEST_SIZE]],
        &[&RunnerRequest::Abandon(key(1)).encode()],
    ];
    for (number, messages) in (11..).zip(garbage) {
        let hostile = HostileEngine(process.link(number));
        messages.iter().for_each(|message| hostile.say(message));
        while hostile.heard().is_some() {}
    }
    // One that takes no answer is asked for nothing more.
    let silent = HostileEngine::greeted(process.link(90));
    let asked = (0..1_000_000).take_while(|_| {
        silent.0.send(&RunnerRequest::Abandon(key(1)).encode()) == Sent::Sent || {
            thread::sleep(Duration::from_millis(20));
            silent.0.send(&RunnerRequest::Abandon(key(1)).encode()) == Sent::Sent
        }
    });
    let asked = asked.count();
    assert!(asked < 100_000, "the runner keeps answers without end: {asked}");
    let engine = TestEngine::start(process.link(99), &plan(1, folder.path()));
    assert_eq!(engine.recorded(1, 1), Ok(()));
    assert_eq!(engine.ordered(2, 1, Act::Open(MINUTE)), Ok(()));
    assert_eq!(engine.ordered(3, 1, Act::Close), Ok(()));
    process.end();
}

#[test]
fn without_a_fit_folder_there_is_no_journal_and_the_reason_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(&state, "").unwrap();
    let mut process = Process::start(&state, None, None);
    let (is_there, error) = process.open_journal();
    let error = error.unwrap();
    assert!(!is_there && error.contains("the state folder"), "{error}");
    // Later it may be.
    fs::remove_file(&state).unwrap();
    assert_eq!(process.open_journal(), (true, None));
    process.end();
}
