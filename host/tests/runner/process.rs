//! The runner's process: this binary once more, and a supervisor's end of its links.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use postern_link::{CommandsTable, FromRunner, OrderLink, Talk, TalkReceiver, TalkSender, ToRunner};
use posternd::roles::runner::RunnerRole;

use crate::table;

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
pub(super) struct Process {
    pub(super) supervisor: TalkSender,
    pub(super) answers: TalkReceiver,
    pub(super) child: Child,
    memory: OwnedFd,
}

impl Process {
    pub(super) fn start(folder: &Path, engine: Option<u64>, memory: Option<&OwnedFd>) -> Self {
        let (ours, its) = Talk::pair().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process::this_process_is_a_runner_if_asked_to", "--nocapture"]);
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
    pub(super) fn next(folder: &Path, engine: u64, memory: &OwnedFd) -> Self {
        let mut next = Self::start(folder, Some(engine), Some(memory));
        next.give(table(1, folder));
        assert_eq!(next.open_journal(), (true, None));
        next
    }

    pub(super) fn open_journal(&mut self) -> (bool, Option<String>) {
        self.supervisor.send(&ToRunner::OpenJournal { ticket: 3, is_needed: true }, &[]).unwrap();
        match self.answers.receive(1000).unwrap().unwrap().0 {
            FromRunner::Journal { ticket: 3, is_there, error } => (is_there, error),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn give(&mut self, table: CommandsTable) {
        let number = table.number;
        self.supervisor.send(&ToRunner::Table(table), &[]).unwrap();
        let (took, _) = self.answers.receive::<FromRunner>(1000).unwrap().unwrap();
        assert_eq!(took, FromRunner::Took { table: number });
    }

    /// An engine's end of a new link.
    pub(super) fn link(&self, number: u64) -> OrderLink {
        let (engine, runner) = OrderLink::pair().unwrap();
        self.supervisor.send(&ToRunner::Engine { number }, &[OwnedFd::from(runner).as_fd()]).unwrap();
        engine
    }

    /// Ends it, with everything that it runs.
    pub(super) fn end(mut self) {
        self.supervisor.end();
        assert!(self.child.wait().unwrap().success());
    }

    /// Ends it as a lack of memory does; what it noted is left.
    pub(super) fn kill(mut self) -> OwnedFd {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.memory
    }
}
