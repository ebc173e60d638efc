//! Commands: the runner of this world, with its journal. Commands and records of one opening are done one after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use postern_core::{Act, Client, OpeningKey, OpeningNote, Order, Receipt, RecordError};

use crate::configuration::DOORS;

/// What commands have opened, what is recorded of it, and what is still to be done.
pub(crate) struct Runner {
    /// With a job that runs for each, until then.
    queues: BTreeMap<OpeningKey, (Duration, VecDeque<(Pace, Job)>)>,
    rows: BTreeMap<OpeningKey, Row>,
    /// Openings that the engine does not try to close any more.
    abandoned: Vec<(OpeningKey, Row)>,
    /// What a command has opened, or half opened.
    open: BTreeSet<OpeningKey>,
    /// Openings whose last answer was lost: they may be closed once more.
    unheard: BTreeSet<OpeningKey>,
    pub(crate) command_pace: Pace,
    pub(crate) record_pace: Pace,
    pub(crate) fails: [bool; DOORS.len()],
    pub(crate) disk_is_full: bool,
}

/// How long something takes; none: no time, and its answer is lost.
pub(crate) type Pace = Option<Duration>;

/// What is recorded of an opening.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The door whose command closes it.
    pub(crate) door: usize,
    pub(crate) until: Duration,
    /// Whose it is.
    pub(crate) note: OpeningNote,
}

#[derive(Clone, Debug)]
enum Job {
    Run { serial: u64, door: usize, act: Act },
    Record { serial: u64, row: Row },
}

/// An answer to a command or a record.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    Answered(Receipt),
    Recorded { serial: u64, result: Result<(), RecordError> },
}

impl Runner {
    pub(crate) const fn new() -> Self {
        Self {
            queues: BTreeMap::new(),
            rows: BTreeMap::new(),
            abandoned: Vec::new(),
            open: BTreeSet::new(),
            unheard: BTreeSet::new(),
            command_pace: Some(Duration::ZERO),
            record_pace: Some(Duration::ZERO),
            fails: [false; DOORS.len()],
            disk_is_full: false,
        }
    }

    pub(crate) fn order(&mut self, key: OpeningKey, order: Order, door: usize, now: Duration) {
        let job = Job::Run { serial: order.serial, door, act: order.act };
        self.enqueue(key, self.command_pace, job, now);
    }

    pub(crate) fn record(&mut self, key: OpeningKey, serial: u64, row: Row, now: Duration) {
        self.enqueue(key, self.record_pace, Job::Record { serial, row }, now);
    }

    fn enqueue(&mut self, key: OpeningKey, pace: Pace, job: Job, now: Duration) {
        let first = now + pace.unwrap_or_default();
        self.queues.entry(key).or_insert((first, VecDeque::new())).1.push_back((pace, job));
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.queues.values().map(|(at, _)| *at).min()
    }

    /// Ends the job that is due first; none if nobody hears of it.
    pub(crate) fn work(&mut self, now: Duration) -> Option<Done> {
        let key = self.queues.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| *key)?;
        let (at, jobs) = self.queues.get_mut(&key)?;
        let (pace, job) = jobs.pop_front()?;
        match jobs.front() {
            Some((next, _)) => *at = now + next.unwrap_or_default(),
            None => drop(self.queues.remove(&key)),
        }
        let done = self.end(key, job);
        if pace.is_none() {
            self.unheard.insert(key);
        }
        pace.map(|_| done)
    }

    fn end(&mut self, key: OpeningKey, job: Job) -> Done {
        match job {
            Job::Record { serial, row } => {
                let result = if self.disk_is_full && !self.rows.contains_key(&key) {
                    Err(RecordError::Failed("full".to_owned()))
                } else {
                    self.rows.insert(key, row);
                    Ok(())
                };
                Done::Recorded { serial, result }
            }
            Job::Run { serial, door, act } => {
                let fails = self.fails[door];
                match act {
                    // One that fails may have done half of its work.
                    Act::Open(_) | Act::Extend(_) => drop(self.open.insert(key)),
                    Act::Close | Act::Expire if !fails => self.closed(key, door),
                    Act::Close | Act::Expire => {}
                }
                let outcome = if fails { Err("broken".to_owned().into()) } else { Ok(()) };
                Done::Answered(Receipt { serial, outcome })
            }
        }
    }

    fn closed(&mut self, key: OpeningKey, door: usize) {
        let was_open = self.open.remove(&key) || self.rows.contains_key(&key);
        assert!(was_open || self.unheard.contains(&key), "{key:?} is closed twice");
        self.rows.remove(&key);
        // The same command closes them.
        let is_same = |other: &OpeningKey, row: &Row| (other.client, row.door) == (key.client, door);
        for (other, _) in self.abandoned.iter().filter(|(other, row)| is_same(other, row)) {
            self.open.remove(other);
        }
        self.abandoned.retain(|(other, row)| !is_same(other, row));
    }

    pub(crate) fn has_row(&self, key: OpeningKey) -> bool {
        self.rows.contains_key(&key)
    }

    pub(crate) fn note(&mut self, key: OpeningKey, until: Duration, note: OpeningNote) {
        if let Some(row) = self.rows.get_mut(&key) {
            (row.until, row.note) = (until, note);
        }
    }

    pub(crate) fn strike_out(&mut self, key: OpeningKey) {
        assert!(self.open().all(|open| open != key), "{key:?} is open and struck out");
        let mut jobs = self.queues.get(&key).into_iter().flat_map(|(_, jobs)| jobs);
        assert!(!jobs.any(|(_, job)| matches!(job, Job::Run { .. })), "{key:?} is under way and struck out");
        self.rows.remove(&key);
    }

    /// The engine gives an opening up. One without a record is the operator's now.
    pub(crate) fn abandon(&mut self, key: OpeningKey) {
        match self.rows.remove(&key) {
            Some(row) => self.abandoned.push((key, row)),
            None => drop(self.open.remove(&key)),
        }
    }

    /// What is open and was not given up.
    pub(crate) fn open(&self) -> impl Iterator<Item = OpeningKey> {
        let is_abandoned = |key: &OpeningKey| self.abandoned.iter().any(|(other, _)| other == key);
        self.open.iter().filter(move |key| !is_abandoned(key)).copied()
    }

    /// Whether the engine has given anything up.
    pub(crate) fn has_abandoned(&self) -> bool {
        !self.abandoned.is_empty()
    }

    /// Whether anything is recorded that the engine has not given up.
    pub(crate) fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.rows.is_empty() && self.abandoned.is_empty()
    }

    /// The runner dies: commands that run are done or not, those that wait are not run. The answers of all that was under way: errors.
    pub(crate) fn die(&mut self, orders_live: bool) -> Vec<Done> {
        let mut answers = Vec::new();
        for (key, (_, jobs)) in std::mem::take(&mut self.queues) {
            for (place, (_, job)) in jobs.into_iter().enumerate() {
                if place == 0 && orders_live {
                    self.end(key, job.clone());
                }
                self.unheard.insert(key);
                answers.push(match job {
                    Job::Run { serial, .. } => {
                        let outcome = Err("the runner is being restarted".to_owned().into());
                        Done::Answered(Receipt { serial, outcome })
                    }
                    Job::Record { serial, .. } => {
                        let result = Err(RecordError::Failed("the runner is being restarted".to_owned()));
                        Done::Recorded { serial, result }
                    }
                });
            }
        }
        answers
    }

    /// What is recorded and `is_known` does not hold of: it goes on under other keys, which are as `key` makes them.
    pub(crate) fn inherit(
        &mut self,
        is_known: impl Fn(OpeningKey) -> bool,
        mut key: impl FnMut(usize, Client) -> OpeningKey,
    ) -> Vec<(OpeningKey, Row)> {
        let (kept, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.rows).into_iter().partition(|(key, _)| is_known(*key));
        self.rows = kept;
        let mut inherited = Vec::new();
        for (before, row) in left.into_iter().chain(std::mem::take(&mut self.abandoned)) {
            let after = key(row.door, before.client);
            if self.open.remove(&before) {
                self.open.insert(after);
            }
            self.rows.insert(after, row.clone());
            inherited.push((after, row));
        }
        inherited
    }

    /// The engine is gone; what it knew and nothing was recorded of is the operator's.
    pub(crate) fn lose_engine(&mut self, orders_live: bool) -> Vec<OpeningKey> {
        self.die(orders_live);
        self.unheard.clear();
        let abandoned = |key: &OpeningKey| self.abandoned.iter().any(|(other, _)| other == key);
        let lost: Vec<_> =
            self.open.iter().filter(|key| !self.rows.contains_key(key) && !abandoned(key)).copied().collect();
        self.open.retain(|key| !lost.contains(key));
        lost
    }
}
