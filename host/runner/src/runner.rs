//! Runner: runs the commands of command doors, one after the other for each opening.

mod argv;
mod limits;
mod record_index;
mod remote_engine;
mod shell;

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use postern_core::{
    Act, CommandDoor, Observer, OpeningKey, OpeningNote, OrderError, Receipt, RecordError, RuleId, ShellDoor,
};
use postern_text::panic::PastPanic;
use tokio::runtime::Handle;

pub use self::argv::filled;
use self::limits::CommandLimits;
use self::record_index::RecordIndex;
pub use self::remote_engine::is_handed_over;
use crate::journal::{Close, Journal, JournalRecord};
use crate::notes::{Note, NotedAct};
use crate::shims::Shims;

/// The commands of a door.
#[derive(Clone)]
pub enum Commands {
    /// Of Postern's own configuration.
    Argv(Arc<CommandDoor>),
    /// As knockd runs them.
    Shell(Arc<ShellDoor>),
    /// Of a door of an earlier run.
    Recorded(Arc<JournalRecord>),
}

/// An opening, and what commands are told of it.
pub struct Call<'a> {
    /// Which opening.
    pub key: OpeningKey,
    /// The rule that asked for it; none if the opening was found at the start.
    pub rule: Option<&'a RuleId>,
    /// The door's name.
    pub door: &'a str,
    /// The client as commands take it: a link-local address with the name of its link behind it.
    pub client: &'a dyn Display,
}

/// What a [`Runner`] says.
#[derive(Clone, Debug)]
pub enum RunnerEvent {
    /// An order was carried out, or not.
    Answered(Receipt),
    /// An opening is on the disk, or is not.
    Recorded {
        /// The number that [`Runner::record`] was given.
        serial: u64,
        /// Why it is not.
        result: Result<(), RecordError>,
    },
}

/// Takes what is said, and must not wait; false if nobody cares any more.
type ReceiptListener = Arc<dyn Fn(RunnerEvent) -> bool + Send + Sync>;

/// Runs commands. The engine bounds the number of orders, and so of jobs that wait here.
#[derive(Clone)]
pub struct Runner {
    /// For each opening with a command under way, what comes after it.
    queues: Arc<Mutex<JobQueues>>,
    argv: Arc<CommandLimits>,
    shell: Arc<CommandLimits>,
    listener: ReceiptListener,
    observer: Arc<dyn Observer>,
    /// The runtime that commands are started on.
    runtime: Handle,
    journal: Arc<OnceLock<Journal>>,
    records: Arc<Mutex<RecordIndex>>,
    /// How commands are started and ended; none if they are started directly.
    shims: Arc<OnceLock<Arc<Shims>>>,
    /// There is another runner if this process is killed, which learns from the notes.
    is_followed: Arc<AtomicBool>,
    /// What the runner before noted of openings that were not found in the journal so far, by the number of their record.
    inherited: Arc<Mutex<HashMap<u64, Note>>>,
    /// The engine of another process that gives orders now; 0 if there is none, or it is in this process.
    engine: Arc<AtomicU64>,
}

type JobQueues = HashMap<OpeningKey, VecDeque<Job>>;

/// What is done for an opening when all that came before is done.
enum Job {
    Run {
        serial: u64,
        act: Act,
        run: JobCommand,
        door: Arc<str>,
    },
    Record {
        serial: u64,
        /// None if there is nothing to run that closes it.
        record: Option<JournalRecord>,
    },
    /// Close it as the journal says then.
    CloseRecorded {
        serial: u64,
    },
    /// Wait for a command that the runner before left running.
    Adopted(Note),
}

enum JobCommand {
    Argv(argv::ArgvCommand),
    Shell(shell::ShellCommand),
    Recorded(Arc<JournalRecord>),
}

impl Runner {
    /// Without a journal so far. Commands are started on the runtime that this is called on, whoever asks for it; `listener` is called with
    /// each answer, must not wait, and says false when nobody cares any more.
    ///
    /// # Panics
    /// Outside a runtime of tokio's.
    pub fn new(
        listener: impl Fn(RunnerEvent) -> bool + Send + Sync + 'static,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            queues: Arc::default(),
            argv: Arc::new(CommandLimits::new(limits::ARGV)),
            shell: Arc::new(CommandLimits::new(limits::SHELL)),
            listener: Arc::new(listener),
            observer,
            runtime: Handle::current(),
            journal: Arc::default(),
            records: Arc::default(),
            shims: Arc::default(),
            is_followed: Arc::default(),
            inherited: Arc::default(),
            engine: Arc::default(),
        }
    }

    /// Has commands started and ended by these shims from now on; without effect if that was said before.
    pub fn start_by(&self, shims: Arc<Shims>) {
        let _ = self.shims.set(shims);
    }

    /// Records openings in this journal from now on; without effect if there is one already.
    pub fn use_journal(&self, journal: Journal) {
        // A second journal is ignored.
        let _ = self.journal.set(journal);
    }

    /// Notes that an opening of an earlier run is in the journal under this number.
    pub fn inherit(&self, key: OpeningKey, row: u64, record: JournalRecord) {
        self.records().adopt(key, row, record, 0, None);
    }

    /// Updates until when an opening lasts and whose it is, if it is in the journal.
    pub fn note(&self, key: OpeningKey, lasts: Duration, note: OpeningNote) {
        if let Some(journal) = self.journal.get() {
            self.records().note(&key, lasts, note, journal);
        }
    }

    /// Strikes out what is in the journal of an opening that was recorded and is not ordered.
    pub fn strike_out(&self, key: OpeningKey) {
        if let Some(journal) = self.journal.get() {
            self.records().strike_out(&key, journal);
        }
    }

    /// Keeps what is in the journal of an opening that nobody tries to close any more.
    pub fn abandon(&self, key: OpeningKey) {
        if let Some(journal) = self.journal.get() {
            self.records().abandon(&key, journal, &*self.observer);
        }
    }

    /// How many openings were given up and are still open.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.records().abandoned()
    }

    /// Waits, at most two seconds, until all changes of the journal were tried.
    pub fn flush(&self) {
        if let Some(journal) = self.journal.get() {
            journal.flush();
        }
    }

    /// Has the journal know how an opening that lasts so long is closed, and with `note` whose it is, after what was asked for before for the same
    /// opening. Returns at once; what comes of it is told with `serial`.
    pub fn record(
        &self,
        commands: &Commands,
        serial: u64,
        lasts: Duration,
        note: OpeningNote,
        call: &Call<'_>,
    ) {
        let client = call.key.client;
        let close = match commands {
            Commands::Argv(door) => argv::close(door, call),
            Commands::Shell(door) => shell::close(door, client),
            // It is in the journal, and is never opened.
            Commands::Recorded(_) => None,
        };
        let mut record = close.map(|close| {
            let mut record = JournalRecord::new(call.door, client, lasts, close);
            record.note = note;
            record
        });
        self.sign(call.key, record.as_mut());
        self.enqueue(call.key, Job::Record { serial, record });
    }

    /// Runs what an order asks for, after what was asked for before for the same opening. Returns at once; the receipt has the number
    /// `serial`.
    pub fn run(&self, commands: &Commands, serial: u64, act: Act, call: &Call<'_>) {
        let run = match commands {
            Commands::Argv(door) => JobCommand::Argv(argv::ArgvCommand::new(door, act, call)),
            Commands::Shell(door) => {
                JobCommand::Shell(shell::ShellCommand::new(door, call.key.client, act, call.door))
            }
            Commands::Recorded(record) => JobCommand::Recorded(Arc::clone(record)),
        };
        self.enqueue(call.key, Job::Run { serial, act, run, door: call.door.into() });
    }

    fn enqueue(&self, key: OpeningKey, job: Job) {
        {
            let mut queues = self.queues();
            if let Some(waiting) = queues.get_mut(&key) {
                return waiting.push_back(job);
            }
            queues.insert(key, VecDeque::new());
        }
        let runner = self.clone();
        self.runtime.spawn(async move {
            let mut next = Some(job);
            while let Some(job) = next {
                let event = match job {
                    Job::Adopted(note) => {
                        runner.wait_for_adopted(&key, note).await;
                        None
                    }
                    Job::Run { serial, act, run, door } => {
                        let outcome = runner.perform(&key, act, &run, &door).await.map_err(OrderError::from);
                        Some(RunnerEvent::Answered(Receipt { serial, outcome }))
                    }
                    Job::CloseRecorded { serial } => {
                        let outcome = runner.perform_recorded(&key).await.map_err(OrderError::from);
                        Some(RunnerEvent::Answered(Receipt { serial, outcome }))
                    }
                    Job::Record { serial, record } => {
                        let result = runner.write_down(&key, record).await;
                        Some(RunnerEvent::Recorded { serial, result })
                    }
                };
                if event.is_some_and(|event| !(runner.listener)(event)) {
                    return;
                }
                let mut queues = runner.queues();
                next = queues.get_mut(&key).and_then(VecDeque::pop_front);
                if next.is_none() {
                    queues.remove(&key);
                }
            }
        });
    }

    /// Runs a command when there is room for one more; what was recorded of an opening is struck out when it is closed. What was recorded and never
    /// begun is closed without a command.
    async fn perform(
        &self,
        key: &OpeningKey,
        act: Act,
        run: &JobCommand,
        door: &Arc<str>,
    ) -> Result<(), String> {
        let is_close = matches!(act, Act::Close | Act::Expire);
        let limits = match run {
            JobCommand::Shell(_) => &self.shell,
            JobCommand::Argv(_) | JobCommand::Recorded(_) => &self.argv,
        };
        let Some(_slot) = limits.acquire(door, is_close).await else {
            return Err("the daemon is stopping".to_owned());
        };
        if is_close
            && let Some(journal) = self.journal.get()
            && self.records().is_unbegun(key)
        {
            self.records().closed(key, journal, None);
            return Ok(());
        }
        // Noted before it begins: what is killed from here on is known to the next runner.
        let note = match run {
            JobCommand::Argv(run) if run.is_nothing() => None,
            JobCommand::Argv(_) | JobCommand::Recorded(_) => self.begin(key, is_close),
            // It has no shim, so nobody knows from here on whether it is open.
            JobCommand::Shell(_) => {
                drop(self.records().begin(key));
                None
            }
        };
        let outcome = self.run_now(run, note.as_ref()).await;
        if is_close
            && outcome.is_ok()
            && let Some(journal) = self.journal.get()
        {
            self.records().closed(key, journal, note);
        }
        outcome
    }

    /// The note of a command that is about to begin; none if it has no shim, or there is no room.
    fn begin(&self, key: &OpeningKey, is_close: bool) -> Option<Note> {
        let notes = &self.shims.get()?.notes;
        let mut records = self.records();
        let unbegun = if is_close { None } else { records.begin(key) };
        let record = records.get(key).and_then(|record| record.noted);
        let act = if is_close { NotedAct::Close } else { NotedAct::Open };
        unbegun.or_else(|| notes.asked(record, act))
    }

    async fn write_down(&self, key: &OpeningKey, record: Option<JournalRecord>) -> Result<(), RecordError> {
        let Some(mut record) = record else { return Ok(()) };
        let journal = self.journal.get().ok_or(RecordError::NoJournal)?;
        // It was open before and did not close.
        let engine = record.of.map_or(0, |of| of.engine);
        if self.records().replace(key, &record, engine, journal) {
            return Ok(());
        }
        // Before it is on the disk, or a runner that is killed in between would leave it as one that may be open.
        let shims = self.shims.get().filter(|_| self.is_followed());
        let note = shims.and_then(|shims| shims.notes.recorded());
        record.noted = note.as_ref().map(Note::record);
        let (row, note) = journal.put(&record, note).await.map_err(RecordError::Failed)?;
        self.records().insert(*key, row, record, engine, note);
        Ok(())
    }

    async fn run_now(&self, run: &JobCommand, note: Option<&Note>) -> Result<(), String> {
        let shim = self.shims.get().and_then(|shims| Some((shims, note?)));
        match run {
            JobCommand::Argv(run) => run.perform(shim).await,
            JobCommand::Shell(run) => run.perform(&*self.observer, self.input()).await,
            JobCommand::Recorded(record) => match &record.close {
                Close::Argv { argv, values, limit, user } => {
                    argv::ArgvCommand::recorded(argv, values, *limit, user.clone()).perform(shim).await
                }
                Close::Shell { line } => {
                    let (client, door) = (record.client.address(), record.door.as_str());
                    shell::run_recorded(line, client, door, &*self.observer, self.input()).await;
                    Ok(())
                }
            },
        }
    }

    /// A runner that has a next one is a process of its own, whose standard input is a link.
    fn input(&self) -> shell::CommandInput {
        if self.is_followed() { shell::CommandInput::None } else { shell::CommandInput::Inherited }
    }

    fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::Relaxed)
    }

    fn records(&self) -> MutexGuard<'_, RecordIndex> {
        self.records.lock().past_panic()
    }

    fn queues(&self) -> MutexGuard<'_, JobQueues> {
        self.queues.lock().past_panic()
    }
}

#[cfg(test)]
mod tests;
