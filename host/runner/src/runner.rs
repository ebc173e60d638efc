//! Runner: runs the commands of command doors, one after the other for each opening.

mod argv;
mod limits;
mod record_index;
mod shell;

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use postern_core::{
    Act, CommandDoor, Observer, OpeningKey, Order, OrderError, Receipt, Report, RuleId, ShellDoor, What,
};
use postern_text::panic::PastPanic;
use tokio::runtime::Handle;

use self::limits::CommandLimits;
use self::record_index::RecordIndex;
use crate::journal::{Close, Journal, JournalRecord};

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

/// An order to a door, and the values that its commands get.
pub struct Call<'a> {
    /// What to do.
    pub order: Order,
    /// The rule that asked for it; none if the opening was found at the start.
    pub rule: Option<&'a RuleId>,
    /// The door's name.
    pub door: &'a str,
    /// The client as commands take it: a link-local address with the name of its link behind it.
    pub client: &'a dyn Display,
}

/// Takes the receipt of an order and must not block; false if the receiver of receipts is gone.
type ReceiptListener = Arc<dyn Fn(Receipt) -> bool + Send + Sync>;

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
}

type JobQueues = HashMap<OpeningKey, VecDeque<Job>>;

struct Job {
    serial: u64,
    act: Act,
    run: JobCommand,
    door: Arc<str>,
    /// How to close what this opens.
    record: Option<JournalRecord>,
}

enum JobCommand {
    Argv(argv::ArgvCommand),
    Shell(shell::ShellCommand),
    Recorded(Arc<JournalRecord>),
}

impl Runner {
    /// Without a journal so far. Commands are started on the runtime that this is called on; `listener` is called with the receipt
    /// of each order, must not block, and returns false when the receiver of receipts is gone.
    ///
    /// # Panics
    /// Outside a runtime of tokio's.
    pub fn new(
        listener: impl Fn(Receipt) -> bool + Send + Sync + 'static,
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
        }
    }

    /// Records openings in this journal from now on; without effect if there is one already.
    pub fn use_journal(&self, journal: Journal) {
        // A second journal is ignored.
        let _ = self.journal.set(journal);
    }

    /// Notes that an opening of an earlier run is in the journal under this number.
    pub fn inherit(&self, key: OpeningKey, row: u64, record: JournalRecord) {
        self.records().insert(key, row, record);
    }

    /// Updates until when an opening lasts, if it is in the journal.
    pub fn note(&self, key: OpeningKey, lasts: Duration) {
        if let Some(journal) = self.journal.get() {
            self.records().note(&key, lasts, journal);
        }
    }

    /// Keeps the record of an opening that could not be closed, for the operator and for the next start.
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

    /// Runs the command of an order after those of earlier orders for the same opening. Returns at once.
    pub fn run(&self, commands: &Commands, call: &Call<'_>) {
        let Call { order, door: name, .. } = *call;
        if matches!((commands, order.act), (Commands::Shell(_), Act::Open(_))) {
            self.observer.report(&Report::of_door(name, What::Granted).with_client(order.client));
        }
        let run = match commands {
            Commands::Argv(door) => JobCommand::Argv(argv::ArgvCommand::new(door, order.act, call)),
            Commands::Shell(door) => JobCommand::Shell(shell::ShellCommand::new(door, &order, name)),
            Commands::Recorded(record) => JobCommand::Recorded(Arc::clone(record)),
        };
        let close = match (commands, order.act) {
            (Commands::Argv(door), Act::Open(_)) => argv::close(door, call),
            (Commands::Shell(door), Act::Open(_)) => shell::close(door, &order),
            _ => None,
        };
        let record = match order.act {
            Act::Open(lasts) => close.map(|close| JournalRecord::new(name, order.client, lasts, close)),
            Act::Extend(_) | Act::Close | Act::Expire => None,
        };
        let job = Job { serial: order.serial, act: order.act, run, door: name.into(), record };
        let key = OpeningKey { door: order.door, client: order.client, occurrence: order.occurrence };
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
                let serial = job.serial;
                let outcome = runner.perform(&key, job).await;
                if !(runner.listener)(Receipt { serial, outcome }) {
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

    /// Runs one job: records how to close the door before opening it, and erases the record when it is closed.
    async fn perform(&self, key: &OpeningKey, job: Job) -> Result<(), OrderError> {
        let is_close = matches!(job.act, Act::Close | Act::Expire);
        // Without a record nothing was run to open it, so there is nothing to close.
        if is_close && matches!(job.run, JobCommand::Argv(_)) && !self.records().contains(key) {
            return Ok(());
        }
        let limits = match job.run {
            JobCommand::Shell(_) => &self.shell,
            JobCommand::Argv(_) | JobCommand::Recorded(_) => &self.argv,
        };
        let Some(_permit) = limits.acquire(&job.door, is_close).await else {
            return Err(OrderError::NotRecorded("the daemon is stopping".to_owned()));
        };
        if let Some(record) = &job.record {
            self.write_down(key, record, &job.run).await?;
        }
        let outcome = self.run_now(&job.run).await;
        if is_close
            && outcome.is_ok()
            && let Some(journal) = self.journal.get()
        {
            self.records().closed(key, journal);
        }
        outcome.map_err(OrderError::Failed)
    }

    /// Records how an opening is closed. If that fails, nothing is run, except knockd's commands: knockd has no journal either.
    async fn write_down(
        &self,
        key: &OpeningKey,
        record: &JournalRecord,
        run: &JobCommand,
    ) -> Result<(), OrderError> {
        let Some(journal) = self.journal.get() else {
            return match run {
                JobCommand::Shell(_) => Ok(()),
                _ => Err(OrderError::NotRecorded("there is no journal; nothing was run".to_owned())),
            };
        };
        // It was opened before and could not be closed, so there is a record already.
        if self.records().replace(key, record, journal) {
            return Ok(());
        }
        match (journal.put(record).await, run) {
            (Ok(row), _) => {
                self.records().insert(*key, row, record.clone());
                Ok(())
            }
            (Err(why), JobCommand::Shell(_)) => {
                let what = What::NotRecorded { detail: why.into() };
                self.observer.report(&Report::of_door(&record.door, what).with_client(record.client));
                Ok(())
            }
            (Err(why), _) => Err(OrderError::NotRecorded(format!("nothing was run, since {why}"))),
        }
    }

    async fn run_now(&self, run: &JobCommand) -> Result<(), String> {
        match run {
            JobCommand::Argv(run) => run.perform().await,
            JobCommand::Shell(run) => run.perform(&*self.observer).await,
            JobCommand::Recorded(record) => match &record.close {
                Close::Argv { argv, values, limit } => {
                    argv::ArgvCommand::recorded(argv, values, *limit).perform().await
                }
                Close::Shell { line } => {
                    shell::run_recorded(line, record.client.address(), &record.door, &*self.observer).await;
                    Ok(())
                }
            },
        }
    }

    fn records(&self) -> MutexGuard<'_, RecordIndex> {
        self.records.lock().past_panic()
    }

    fn queues(&self) -> MutexGuard<'_, JobQueues> {
        self.queues.lock().past_panic()
    }
}
