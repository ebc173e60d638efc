//! Runner: runs the commands of command doors, one after the other for each opening.

mod argv;
mod limits;
mod rows;
mod shell;

use std::collections::{HashMap, VecDeque};
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use postern_core::{
    Act, CommandDoor, Key, Observer, Order, OrderError, Receipt, Report, RuleId, ShellDoor, What,
};
use postern_text::panic::PastPanic;
use tokio::runtime::Handle;

use self::limits::Limits;
use self::rows::Rows;
use crate::journal::{Close, Journal, Record};

/// The commands of a door.
#[derive(Clone)]
pub enum Commands {
    /// Of Postern's own configuration.
    Argv(Arc<CommandDoor>),
    /// As knockd runs them.
    Shell(Arc<ShellDoor>),
    /// Of a door of an earlier run.
    Recorded(Arc<Record>),
}

/// An order to a door, and what its commands are told with it.
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

/// Takes the receipt of an order, and must not wait; false if nobody cares any more.
type Listener = Arc<dyn Fn(Receipt) -> bool + Send + Sync>;

/// Runs commands. As many wait as the engine gives orders, which the engine bounds.
#[derive(Clone)]
pub struct Runner {
    /// For each opening with a command under way, what comes after it.
    lines: Arc<Mutex<Lines>>,
    argv: Arc<Limits>,
    shell: Arc<Limits>,
    listener: Listener,
    observer: Arc<dyn Observer>,
    /// Where commands are started, whoever asks for it.
    runtime: Handle,
    journal: Arc<OnceLock<Journal>>,
    rows: Arc<Mutex<Rows>>,
}

type Lines = HashMap<Key, VecDeque<Job>>;

struct Job {
    serial: u64,
    act: Act,
    run: Run,
    door: Arc<str>,
    /// How to close what this opens.
    record: Option<Record>,
}

enum Run {
    Argv(argv::Run),
    Shell(shell::Run),
    Recorded(Arc<Record>),
}

impl Runner {
    /// Without a journal so far. Commands are started on the runtime that this is called on, whoever asks for it; `listener` is called with
    /// the receipt of each order, must not wait, and says false when nobody cares any more.
    ///
    /// # Panics
    /// Outside a runtime of tokio's.
    pub fn new(
        listener: impl Fn(Receipt) -> bool + Send + Sync + 'static,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            lines: Arc::default(),
            argv: Arc::new(Limits::new(limits::ARGV)),
            shell: Arc::new(Limits::new(limits::SHELL)),
            listener: Arc::new(listener),
            observer,
            runtime: Handle::current(),
            journal: Arc::default(),
            rows: Arc::default(),
        }
    }

    /// Writes down in this journal what is opened from now on, if there was none.
    pub fn use_journal(&self, journal: Journal) {
        // A second one would not be heard of.
        let _ = self.journal.set(journal);
    }

    /// Knows that an opening is in the journal under this number.
    pub fn inherit(&self, key: Key, row: u64, record: Record) {
        self.rows().insert(key, row, record);
    }

    /// Corrects until when an opening lasts, if it is in the journal.
    pub fn note(&self, key: Key, lasts: Duration) {
        if let Some(journal) = self.journal.get() {
            self.rows().note(&key, lasts, journal);
        }
    }

    /// Keeps what is in the journal of an opening that nobody tries to close any more.
    pub fn abandon(&self, key: Key) {
        if let Some(journal) = self.journal.get() {
            self.rows().abandon(&key, journal, &*self.observer);
        }
    }

    /// How many openings were given up and are still open.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.rows().abandoned()
    }

    /// Waits a moment until the journal is as it should be.
    pub fn flush(&self) {
        if let Some(journal) = self.journal.get() {
            journal.flush();
        }
    }

    /// Runs what an order asks for, after what was asked for before for the same opening. Returns at once.
    pub fn run(&self, commands: &Commands, call: &Call<'_>) {
        let Call { order, door: name, .. } = *call;
        if matches!((commands, order.act), (Commands::Shell(_), Act::Open(_))) {
            self.observer.report(&Report::of_door(name, What::Granted).with_client(order.client));
        }
        let run = match commands {
            Commands::Argv(door) => Run::Argv(argv::Run::new(door, order.act, call)),
            Commands::Shell(door) => Run::Shell(shell::Run::new(door, &order, name)),
            Commands::Recorded(record) => Run::Recorded(Arc::clone(record)),
        };
        let close = match (commands, order.act) {
            (Commands::Argv(door), Act::Open(_)) => argv::close(door, call),
            (Commands::Shell(door), Act::Open(_)) => shell::close(door, &order),
            _ => None,
        };
        let record = match order.act {
            Act::Open(lasts) => close.map(|close| Record::new(name, order.client, lasts, close)),
            Act::Extend(_) | Act::Close | Act::Expire => None,
        };
        let job = Job { serial: order.serial, act: order.act, run, door: name.into(), record };
        let line = Key { door: order.door, client: order.client, turn: order.turn };
        {
            let mut lines = self.lines();
            if let Some(waiting) = lines.get_mut(&line) {
                return waiting.push_back(job);
            }
            lines.insert(line, VecDeque::new());
        }
        let runner = self.clone();
        self.runtime.spawn(async move {
            let mut next = Some(job);
            while let Some(job) = next {
                let serial = job.serial;
                let outcome = runner.perform(&line, job).await;
                if !(runner.listener)(Receipt { serial, outcome }) {
                    return;
                }
                let mut lines = runner.lines();
                next = lines.get_mut(&line).and_then(VecDeque::pop_front);
                if next.is_none() {
                    lines.remove(&line);
                }
            }
        });
    }

    /// Writes down how to close before it opens, and strikes that out when it is closed.
    async fn perform(&self, line: &Key, job: Job) -> Result<(), OrderError> {
        let is_close = matches!(job.act, Act::Close | Act::Expire);
        // What was not written down was not begun.
        if is_close && matches!(job.run, Run::Argv(_)) && !self.rows().contains(line) {
            return Ok(());
        }
        let limits = match job.run {
            Run::Shell(_) => &self.shell,
            Run::Argv(_) | Run::Recorded(_) => &self.argv,
        };
        let Some(_slot) = limits.acquire(&job.door, is_close).await else {
            return Err(OrderError::NotRecorded("the daemon is stopping".to_owned()));
        };
        if let Some(record) = &job.record {
            self.write_down(line, record, &job.run).await?;
        }
        let outcome = self.run_now(&job.run).await;
        if is_close
            && outcome.is_ok()
            && let Some(journal) = self.journal.get()
        {
            self.rows().closed(line, journal);
        }
        outcome.map_err(OrderError::Failed)
    }

    /// Has the journal know how an opening is closed. As knockd has none, a command of knockd's runs all the same.
    async fn write_down(&self, line: &Key, record: &Record, run: &Run) -> Result<(), OrderError> {
        let Some(journal) = self.journal.get() else {
            return match run {
                Run::Shell(_) => Ok(()),
                _ => Err(OrderError::NotRecorded("there is no journal; nothing was run".to_owned())),
            };
        };
        // It was open before and did not close.
        if self.rows().replace(line, record, journal) {
            return Ok(());
        }
        match (journal.put(record).await, run) {
            (Ok(row), _) => {
                self.rows().insert(*line, row, record.clone());
                Ok(())
            }
            (Err(why), Run::Shell(_)) => {
                let what = What::NotRecorded { detail: why.into() };
                self.observer.report(&Report::of_door(&record.door, what).with_client(record.client));
                Ok(())
            }
            (Err(why), _) => Err(OrderError::NotRecorded(format!("nothing was run, since {why}"))),
        }
    }

    async fn run_now(&self, run: &Run) -> Result<(), String> {
        match run {
            Run::Argv(run) => run.perform().await,
            Run::Shell(run) => run.perform(&*self.observer).await,
            Run::Recorded(record) => match &record.close {
                Close::Argv { argv, values, limit } => {
                    argv::Run::recorded(argv, values, *limit).perform().await
                }
                Close::Shell { line } => {
                    shell::run_recorded(line, record.client.address(), &record.door, &*self.observer).await;
                    Ok(())
                }
            },
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().past_panic()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().past_panic()
    }
}
