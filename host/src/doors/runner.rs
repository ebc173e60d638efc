//! Runner: runs the commands of command doors, one after the other for each opening.

mod argv;
mod shell;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_core::{DoorId, Order, Receipt, RuleId};
use tokio::sync::Semaphore;

use super::Commands;
use crate::happening::{Happening, Teller};

/// Commands of our own configuration at once; they have a time limit.
const PARALLEL: usize = 32;
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
}

type Lines = HashMap<(DoorId, IpAddr, u64), VecDeque<Job>>;

struct Job {
    serial: u64,
    run: Run,
}

enum Run {
    Argv(argv::Run),
    Shell(shell::Run),
}

impl Runner {
    pub(super) fn new(teller: Teller) -> Self {
        Self {
            lines: Arc::default(),
            slots: Arc::new(Semaphore::new(PARALLEL)),
            shell_slots: Arc::new(Semaphore::new(PARALLEL_SHELLS)),
            teller,
        }
    }

    pub(super) fn run(&self, commands: &Commands, order: Order, rule: Option<&RuleId>, name: &str) {
        let run = match commands {
            Commands::Argv(door) => Run::Argv(argv::Run::new(door, &order, rule, name)),
            Commands::Shell(door) => Run::Shell(shell::Run::new(door, &order, name)),
        };
        let job = Job { serial: order.serial, run };
        let line = (order.door, order.client, order.turn);
        {
            let mut lines = self.lines();
            if let Some(waiting) = lines.get_mut(&line) {
                return waiting.push_back(job);
            }
            lines.insert(line, VecDeque::new());
        }
        let runner = self.clone();
        tokio::spawn(async move {
            let mut next = Some(job);
            while let Some(Job { serial, run }) = next {
                let outcome = runner.perform(&run).await;
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

    async fn perform(&self, run: &Run) -> Result<(), String> {
        let slots = match run {
            Run::Argv(_) => &self.slots,
            Run::Shell(_) => &self.shell_slots,
        };
        let Ok(_slot) = slots.acquire().await else { return Err("the daemon is stopping".to_owned()) };
        match run {
            Run::Argv(run) => run.perform().await,
            Run::Shell(run) => run.perform().await,
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
