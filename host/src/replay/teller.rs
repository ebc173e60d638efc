//! Teller: takes down what a replica's parts report, with the replica's own time.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use postern_core::{Client, DropReason, Knock, Moment, Observer, Report, RuleId, Silence, TenantId, What};
use postern_text::panic::PastPanic;

use crate::observe::{Line, Value, plain_line, words};

/// Something that was told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    /// When, from the first packet on.
    pub(super) at: Moment,
    /// For whom a door opens or closes, or whose packet it is about, if it is about any.
    pub(super) client: Option<Client>,
    /// The name of the door that it is about.
    pub(super) door: Option<Box<str>>,
    /// What it is to a client.
    pub(super) turn: Turn,
    /// As the log would have it.
    pub(super) line: Line,
}

/// What something is to the client that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It came this far.
    Stage(u32),
    /// It starts over.
    StartsOver,
    /// It has knocked right.
    Solved,
    /// A door is open, for so long.
    Opened(Duration),
    /// It stays open, for so long from now.
    Extended(Duration),
    /// It is closed.
    Closed,
    /// A rule on trial would open or close a door.
    Tried,
    /// Nothing is opened, or a rule failed.
    Refused,
    /// A rule ignored its packet.
    Ignored,
    /// Anything else.
    Other,
}

/// Takes reports down.
#[derive(Debug)]
pub(super) struct Teller {
    notes: Mutex<Notes>,
    needs_fields: bool,
}

#[derive(Debug, Default)]
struct Notes {
    now: Moment,
    told: Vec<Told>,
    opened: u64,
    dropped: BTreeMap<DropReason, u64>,
}

impl Teller {
    /// One that has heard nothing. Without fields, lines have words alone.
    pub(super) fn new(needs_fields: bool) -> Self {
        Self { notes: Mutex::default(), needs_fields }
    }

    /// What is reported from now on happens then.
    pub(super) fn set_time(&self, now: Moment) {
        self.lock().now = now;
    }

    /// Takes down that a command would be run.
    pub(super) fn would_run(&self, client: Client, door: &str, command: &[String]) {
        let command = command.join(" ");
        let words = format!("{door}: would run {command}");
        let fields = vec![
            ("event", Value::Text("would-run".to_owned())),
            ("door", Value::Text(door.to_owned())),
            ("detail", Value::Text(command)),
        ];
        let line = Line { level: "INFO", words, fields };
        self.lock().tell(Some(client), Some(door), Turn::Other, line);
    }

    /// Moves what was taken down, in its order, into an emptied list.
    pub(super) fn hand_over(&self, told: &mut Vec<Told>) {
        told.clear();
        told.append(&mut self.lock().told);
    }

    /// How many doors were opened, and what came to nothing.
    pub(super) fn counts(&self) -> (u64, BTreeMap<DropReason, u64>) {
        let notes = self.lock();
        (notes.opened, notes.dropped.clone())
    }

    fn line(&self, report: &Report<'_>) -> Line {
        if self.needs_fields {
            return plain_line(report);
        }
        Line { level: "", words: words(report), fields: Vec::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().past_panic()
    }
}

impl Notes {
    fn tell(&mut self, client: Option<Client>, door: Option<&str>, turn: Turn, line: Line) {
        self.told.push(Told { at: self.now, client, door: door.map(Box::from), turn, line });
    }

    fn count(&mut self, reason: DropReason, count: u64) {
        *self.dropped.entry(reason).or_default() += count;
    }
}

impl Observer for Teller {
    fn report(&self, report: &Report<'_>) {
        let mut notes = self.lock();
        if let Some(reason) = report.drop_reason() {
            notes.count(reason, 1);
        }
        let turn = turn(&report.what);
        notes.opened += u64::from(matches!(turn, Turn::Opened(_)));
        notes.tell(report.client, report.door.as_deref(), turn, self.line(report));
    }

    fn count_drops(&self, _tenant: Option<&TenantId>, reason: DropReason, count: u64) {
        self.lock().count(reason, count);
    }

    fn silent(&self, rule: &RuleId, _knock: &Knock, silence: Silence) {
        let (turn, event, words) = match silence {
            Silence::Ignored => (Turn::Ignored, "ignored", format!("{rule}: ignored")),
            Silence::Remembered => (Turn::Other, "remembered", format!("{rule}: remembered, at stage 0")),
            Silence::Dropped(reason) => (Turn::Refused, "dropped", format!("{rule}: not judged: {reason}")),
        };
        let mut fields = Vec::new();
        if self.needs_fields {
            fields.push(("event", Value::Text(event.to_owned())));
            fields.push(("tenant", Value::Plain(rule.tenant.to_string())));
            fields.push(("rule", Value::Text(rule.name.to_string())));
        }
        if let (true, Silence::Dropped(reason)) = (self.needs_fields, silence) {
            fields.push(("drop", Value::Text(reason.name().to_owned())));
        }
        self.lock().tell(None, None, turn, Line { level: "DEBUG", words, fields });
    }
}

fn turn(what: &What<'_>) -> Turn {
    match what {
        What::Stage { stage, .. } => Turn::Stage(*stage),
        What::TimedOut { .. } | What::Forgot { .. } => Turn::StartsOver,
        What::Solved { .. } => Turn::Solved,
        What::Opened { lasts, .. } => Turn::Opened(*lasts),
        What::Extended { lasts } => Turn::Extended(*lasts),
        What::Closed { .. } => Turn::Closed,
        What::WouldOpen { .. } | What::WouldClose => Turn::Tried,
        What::Refused { .. } | What::Fault { .. } => Turn::Refused,
        _ => Turn::Other,
    }
}
