//! CommandDoors: the doors that commands open, wherever these run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postern_capture::Shown;
use postern_config::DoorKind;
use postern_core::{DoorId, OpeningKey, OpeningNote, Order, RuleId};
use postern_runner::{Call, Commands, Journal, JournalRecord, Runner};

use crate::plan::Plan;

/// An opening that is to be recorded before it is ordered.
#[derive(Debug)]
pub struct RecordedOpening {
    /// The number of the record.
    pub serial: u64,
    /// Which opening.
    pub key: OpeningKey,
    /// From now.
    pub lasts: Duration,
    /// Whose it is.
    pub note: OpeningNote,
}

/// Has commands run, and the journal kept of what they open. Nothing here waits but [`CommandDoors::flush`].
pub trait CommandDoors: Send {
    /// Goes on with the doors of this plan. Those of earlier ones can still be closed: something may be open that only they can close.
    fn follow(&mut self, plan: &Plan);

    /// Whether this door is one of commands.
    fn has(&self, door: DoorId) -> bool;

    /// Carries out an order, after what was asked before for the same opening; its receipt comes as an event, also if it fails.
    fn carry_out(&self, order: Order, rule: Option<&RuleId>, door: &str);

    /// Has the journal write down how to close an opening, and whose it is. The answer comes as an event.
    fn record(&self, opening: RecordedOpening, rule: &RuleId, door: &str);

    /// Strikes out of the journal what was recorded and will not be ordered.
    fn strike_out(&self, key: OpeningKey);

    /// Notes in the journal for how long an opening lasts from now, and whose it is.
    fn note(&self, key: OpeningKey, lasts: Duration, note: OpeningNote);

    /// Keeps the journal's entry of an opening that the engine does not try to close any more.
    fn abandon(&self, key: OpeningKey);

    /// How many openings were given up and are still open.
    fn abandoned(&self) -> usize;

    /// Waits, at most two seconds, until the journal is written, if this process keeps it.
    fn flush(&self);

    /// Writes down in this journal what is opened from now on, if there was none. Without effect if another process keeps one.
    fn use_journal(&self, journal: Journal);

    /// Takes over an opening of an earlier run under this key. Without effect if another process keeps the journal.
    fn inherit(&mut self, key: OpeningKey, row: u64, record: JournalRecord);
}

/// Doors whose commands this process runs itself.
pub(crate) struct LocalCommandDoors {
    runner: Runner,
    commands: HashMap<DoorId, Commands>,
}

impl LocalCommandDoors {
    /// None so far.
    pub(crate) fn new(runner: Runner) -> Self {
        Self { runner, commands: HashMap::new() }
    }
}

impl CommandDoors for LocalCommandDoors {
    fn follow(&mut self, plan: &Plan) {
        let commands = plan.doors.iter().filter_map(|(id, kind)| Some((*id, commands_of(kind)?)));
        self.commands.extend(commands);
    }

    fn has(&self, door: DoorId) -> bool {
        self.commands.contains_key(&door)
    }

    fn carry_out(&self, order: Order, rule: Option<&RuleId>, door: &str) {
        let Some(commands) = self.commands.get(&order.door) else { return };
        let Order { serial, door: id, client, occurrence, act } = order;
        let (key, shown) = (OpeningKey { door: id, client, occurrence }, Shown(client));
        self.runner.run(commands, serial, act, &Call { key, rule, door, client: &shown });
    }

    fn record(&self, opening: RecordedOpening, rule: &RuleId, door: &str) {
        let RecordedOpening { serial, key, lasts, note } = opening;
        let Some(commands) = self.commands.get(&key.door) else { return };
        let shown = Shown(key.client);
        self.runner.record(
            commands,
            serial,
            lasts,
            note,
            &Call { key, rule: Some(rule), door, client: &shown },
        );
    }

    fn strike_out(&self, key: OpeningKey) {
        self.runner.strike_out(key);
    }

    fn note(&self, key: OpeningKey, lasts: Duration, note: OpeningNote) {
        self.runner.note(key, lasts, note);
    }

    fn abandon(&self, key: OpeningKey) {
        self.runner.abandon(key);
    }

    fn abandoned(&self) -> usize {
        self.runner.abandoned()
    }

    fn flush(&self) {
        self.runner.flush();
    }

    fn use_journal(&self, journal: Journal) {
        self.runner.use_journal(journal);
    }

    fn inherit(&mut self, key: OpeningKey, row: u64, record: JournalRecord) {
        self.commands.insert(key.door, Commands::Recorded(Arc::new(record.clone())));
        self.runner.inherit(key, row, record);
    }
}

/// The commands of a door; none if no command opens it.
fn commands_of(door: &DoorKind) -> Option<Commands> {
    match door {
        DoorKind::Net(_) => None,
        DoorKind::Command(door) => Some(Commands::Argv(Arc::new(door.clone()))),
        DoorKind::Shell(door) => Some(Commands::Shell(Arc::new(door.clone()))),
    }
}
