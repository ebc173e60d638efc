//! Runner: runs the commands of command doors, one after the other for each opening.

mod argv;
mod shell;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_core::{Act, Key, Order, Receipt, RuleId};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub(crate) use self::shell::IS_DAEMON;
use super::Commands;
use crate::happening::{Happening, Teller};
use crate::journal::{Close, Journal, Record};

/// Commands of our own configuration at once; they have a time limit.
const PARALLEL: usize = 32;
/// A record this near the truth is not written again: most commands take no time, and the disk does.
const NEAR: Duration = Duration::from_secs(1);
/// knockd's commands at once; some sleep until it is time to close what they opened.
const PARALLEL_SHELLS: usize = 4096;

/// Runs commands. As many wait as the engine gives orders, which the engine bounds.
#[derive(Clone)]
pub(super) struct Runner {
    /// For each opening with a command under way, what comes after it.
    lines: Arc<Mutex<Lines>>,
    slots: Arc<Semaphore>,
    shell_slots: Arc<Semaphore>,
    teller: Teller,
    /// Where commands are started, whoever asks for it.
    shell: Handle,
    journal: Option<Journal>,
    /// For each opening that is in the journal, its number there and what is written.
    rows: Arc<Mutex<HashMap<Key, (u64, Record)>>>,
}

type Lines = HashMap<Key, VecDeque<Job>>;

struct Job {
    serial: u64,
    act: Act,
    run: Run,
    /// How to close what this opens.
    record: Option<Record>,
}

enum Run {
    Argv(argv::Run),
    Shell(shell::Run),
    Recorded(Arc<Record>),
}

impl Runner {
    pub(super) fn new(teller: Teller, journal: Option<Journal>) -> Self {
        Self {
            lines: Arc::default(),
            slots: Arc::new(Semaphore::new(PARALLEL)),
            shell_slots: Arc::new(Semaphore::new(PARALLEL_SHELLS)),
            teller,
            shell: Handle::current(),
            journal,
            rows: Arc::default(),
        }
    }

    /// Knows that an opening is in the journal under this number.
    pub(super) fn inherit(&self, key: Key, row: u64, record: Record) {
        self.rows().insert(key, (row, record));
    }

    /// Corrects until when an opening lasts, if it is in the journal.
    pub(super) fn note(&self, key: Key, lasts: Duration) {
        if let (Some(journal), Some((row, record))) = (&self.journal, self.rows().get_mut(&key))
            && record.remaining().abs_diff(lasts) > NEAR
        {
            record.keep_for(lasts);
            journal.rewrite(*row, record);
        }
    }

    pub(super) fn run(&self, commands: &Commands, order: Order, rule: Option<&RuleId>, name: &str) {
        let run = match commands {
            Commands::Argv(door) => Run::Argv(argv::Run::new(door, &order, rule, name)),
            Commands::Shell(door) => Run::Shell(shell::Run::new(door, &order, name)),
            Commands::Recorded(record) => Run::Recorded(Arc::clone(record)),
        };
        let close = match (commands, order.act) {
            (Commands::Argv(door), Act::Open(_)) => argv::close(door, &order, rule, name),
            (Commands::Shell(door), Act::Open(_)) => shell::close(door, &order),
            _ => None,
        };
        let record = match order.act {
            Act::Open(lasts) => close.map(|close| Record::new(name, order.client, lasts, close)),
            Act::Extend(_) | Act::Close | Act::Expire => None,
        };
        let job = Job { serial: order.serial, act: order.act, run, record };
        let line = Key { door: order.door, client: order.client, turn: order.turn };
        {
            let mut lines = self.lines();
            if let Some(waiting) = lines.get_mut(&line) {
                return waiting.push_back(job);
            }
            lines.insert(line, VecDeque::new());
        }
        let runner = self.clone();
        self.shell.spawn(async move {
            let mut next = Some(job);
            while let Some(job) = next {
                let serial = job.serial;
                let outcome = runner.perform(&line, job).await;
                if runner.teller.send(Happening::Answered(Receipt { serial, outcome })).is_err() {
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
    async fn perform(&self, line: &Key, job: Job) -> Result<(), String> {
        if let (Some(journal), Some(record)) = (&self.journal, &job.record) {
            let row =
                journal.put(record).await.map_err(|error| format!("it cannot be written down: {error}"))?;
            self.rows().insert(*line, (row, record.clone()));
        }
        let outcome = self.run_now(&job.run).await;
        if matches!(job.act, Act::Close | Act::Expire)
            && outcome.is_ok()
            && let (Some(journal), Some((row, _))) = (&self.journal, self.rows().remove(line))
        {
            journal.erase(row);
        }
        outcome
    }

    async fn run_now(&self, run: &Run) -> Result<(), String> {
        let slots = match run {
            Run::Argv(_) | Run::Recorded(_) => &self.slots,
            Run::Shell(_) => &self.shell_slots,
        };
        let Ok(_slot) = slots.acquire().await else { return Err("the daemon is stopping".to_owned()) };
        match run {
            Run::Argv(run) => run.perform().await,
            Run::Shell(run) => run.perform().await,
            Run::Recorded(record) => match &record.close {
                Close::Argv { argv, values, limit } => {
                    argv::Run::recorded(argv, values, *limit).perform().await
                }
                Close::Shell { line } => {
                    shell::run_recorded(line, record.client.address(), &record.door).await;
                    Ok(())
                }
            },
        }
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Key, (u64, Record)>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
