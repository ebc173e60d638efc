//! Holders: gives the processes that keep doors each new table, and their successors those that still count.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use postern_config::{Door, DoorKind};
use postern_core::{DoorsTable as NetTable, OrderLimits, Release};
use postern_link::{CommandsTable, TabledCommands, TabledDoor, ToDoorman, ToRunner};
use postern_text::panic::PastPanic;

use crate::roles::process::RoleProcess;
use crate::roles::{ConfigTable, TableHolders};

/// How long a process may take to take a table; after that it stands still, and gets it when it goes on.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the runner may take to open the journal; it gives up by itself before.
const JOURNAL: Duration = Duration::from_secs(20);
/// Tables that are kept for a successor: the one in place, and those that may be put in place next.
const MOST_TABLES: usize = 16;

/// The ticket of a journal that the next runner opens.
pub(super) const OF_NEXT_RUNNER: u64 = 0;

/// Whether a runner has a journal to open first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AwaitsJournal {
    Yes,
    No,
}

/// The processes that keep doors, and their tables.
#[derive(Default)]
pub(super) struct Holders {
    state: Mutex<State>,
    /// Notified when there is a runner.
    has_runner: Condvar,
}

#[derive(Default)]
struct State {
    doorman: Option<Arc<RoleProcess>>,
    runner: Option<Arc<RoleProcess>>,
    tables: BTreeMap<u32, ConfigTable>,
    /// The newest that was put in place.
    in_place: Option<u32>,
    last_ticket: u64,
    waiting: HashMap<u64, SyncSender<JournalAnswer>>,
    /// Who waits for which table to be taken by which process.
    taking: Vec<(u64, u32, SyncSender<()>)>,
    /// Whether a journal was opened or asked for.
    journal: Option<bool>,
}

/// Whether there is a journal, or why not.
type JournalAnswer = Result<bool, String>;

impl Holders {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().past_panic()
    }

    /// This doorman keeps the doors of the packet filter from now on; it gets all tables, and puts the one in place that was.
    pub(super) fn doorman(&self, doorman: Arc<RoleProcess>) {
        let mut state = self.lock();
        for table in state.tables.values() {
            doorman.send(&ToDoorman::Table(net_table(table)), &[]);
        }
        if let Some(table) = state.in_place {
            // Nobody waits for the answer: the engine looks at what is open then.
            doorman.send(&ToDoorman::PutInPlace { ticket: 0, table, release: Release::Later }, &[]);
        }
        state.doorman = Some(doorman);
    }

    /// This runner runs commands from now on; it gets all tables, and opens the journal if there was one. That is answered with the ticket
    /// [`OF_NEXT_RUNNER`].
    pub(super) fn runner(&self, runner: Arc<RoleProcess>) -> AwaitsJournal {
        let mut state = self.lock();
        for table in state.tables.values() {
            runner.send(&ToRunner::Table(commands_table(table)), &[]);
        }
        if let Some(is_needed) = state.journal {
            runner.send(&ToRunner::OpenJournal { ticket: OF_NEXT_RUNNER, is_needed }, &[]);
        }
        let awaits = if state.journal.is_some() { AwaitsJournal::Yes } else { AwaitsJournal::No };
        state.runner = Some(runner);
        self.has_runner.notify_all();
        awaits
    }

    /// The doorman or runner with this number has ended. Nobody waits for it any more.
    pub(super) fn ended(&self, number: u64) {
        let mut state = self.lock();
        let is_it = |process: &mut Arc<RoleProcess>| process.number == number;
        if state.runner.take_if(is_it).is_some() {
            state.waiting.clear();
        }
        state.doorman.take_if(is_it);
        state.taking.retain(|(process, ..)| *process != number);
    }

    /// A process has taken this table.
    pub(super) fn took(&self, number: u64, table: u32) {
        self.lock().taking.retain(|(process, taken, _)| (*process, *taken) != (number, table));
    }

    /// This table is in place; older ones are of no use any more.
    pub(super) fn in_place(&self, table: u32) {
        let mut state = self.lock();
        state.in_place = state.in_place.max(Some(table));
        let oldest = state.in_place;
        state.tables.retain(|number, _| Some(*number) >= oldest);
    }

    /// What became of the journal.
    pub(super) fn journal(&self, ticket: u64, answer: JournalAnswer) {
        if let Some(waiting) = self.lock().waiting.remove(&ticket) {
            let _ = waiting.try_send(answer);
        }
    }

    /// Asks the runner to open the journal, and waits for the answer; if the runner ends meanwhile, for that of the next.
    fn ask_for_journal(&self, is_needed: bool) -> JournalAnswer {
        let until = Instant::now() + JOURNAL;
        loop {
            let (sender, answer) = sync_channel(1);
            let mut state = self.lock();
            state.journal = Some(is_needed || state.journal == Some(true));
            let left = until.saturating_duration_since(Instant::now());
            state = self
                .has_runner
                .wait_timeout_while(state, left, |state| state.runner.is_none())
                .past_panic()
                .0;
            let Some(runner) = state.runner.clone() else {
                return Err("the runner, which keeps it, cannot be started".to_owned());
            };
            state.last_ticket += 1;
            let ticket = state.last_ticket;
            state.waiting.insert(ticket, sender);
            drop(state);
            runner.send(&ToRunner::OpenJournal { ticket, is_needed }, &[]);
            match answer.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(answer) => return answer,
                // It has ended.
                Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err("the runner, which keeps it, does not answer".to_owned());
                }
            }
        }
    }
}

impl TableHolders for Holders {
    fn give(&self, table: &ConfigTable) {
        let mut taken = Vec::new();
        let (doorman, runner) = {
            let mut state = self.lock();
            state.tables.insert(table.number, table.clone());
            while state.tables.len() > MOST_TABLES {
                // Not the one in place, which is the oldest.
                let Some(oldest) =
                    state.tables.keys().copied().find(|number| Some(*number) != state.in_place)
                else {
                    break;
                };
                state.tables.remove(&oldest);
            }
            let (doorman, runner) = (state.doorman.clone(), state.runner.clone());
            for process in doorman.iter().chain(&runner) {
                let (sender, receiver) = sync_channel(1);
                state.taking.push((process.number, table.number, sender));
                taken.push(receiver);
            }
            (doorman, runner)
        };
        if let Some(doorman) = doorman {
            doorman.send(&ToDoorman::Table(net_table(table)), &[]);
        }
        if let Some(runner) = runner {
            runner.send(&ToRunner::Table(commands_table(table)), &[]);
        }
        // The sender is dropped when it is taken, or when the process has ended.
        for taken in taken {
            let _ = taken.recv_timeout(PATIENCE);
        }
    }

    fn open_journal(&self, table: &ConfigTable) -> Result<bool, String> {
        self.ask_for_journal(table.command_doors().next().is_some())
    }
}

fn net_table(table: &ConfigTable) -> NetTable {
    let limits = OrderLimits {
        longest: table.longest,
        most_openings: table.max_openings,
        orders_per_second: OrderLimits::ORDERS_PER_SECOND,
    };
    NetTable { number: table.number, doors: table.net_doors(), limits }
}

fn commands_table(table: &ConfigTable) -> CommandsTable {
    let door = |door: &Door| {
        let commands = match &door.kind {
            DoorKind::Net(_) => return None,
            DoorKind::Command(door) => TabledCommands::Argv(door.clone()),
            DoorKind::Shell(door) => TabledCommands::Shell(door.clone()),
        };
        Some(TabledDoor { name: Arc::clone(&door.name), commands })
    };
    CommandsTable {
        number: table.number,
        doors: table.doors.iter().filter_map(|(id, of)| Some((*id, door(of)?))).collect(),
        rules: table.rules.clone(),
        longest: table.longest,
        most_openings: table.max_openings,
    }
}
