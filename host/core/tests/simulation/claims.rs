//! Claims: the ledger of this world, and its lines of one-time sequences. It outlives the engine.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use postern_core::{Claim, ClaimError, ClaimKind, UsedOnce};

/// How claims are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Full,
    Busy,
    Broken,
}

/// Tokens, counters, and lines that were used, and answers on their way.
pub(crate) struct Ledger {
    used: UsedOnce,
    /// Lines that were crossed out.
    lines: BTreeSet<u64>,
    /// Which line each generation of the running engine has.
    line_of: HashMap<u64, u64>,
    pub(crate) mood: Mood,
    /// How long an answer takes; none: it is lost.
    pub(crate) pace: Option<Duration>,
    /// In the order of their claims.
    answers: VecDeque<(Duration, ClaimAnswer)>,
}

/// An answer to a claim.
#[derive(Clone, Debug)]
pub(crate) struct ClaimAnswer {
    pub(crate) serial: u64,
    pub(crate) result: Result<(), ClaimError>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            used: UsedOnce::default(),
            lines: BTreeSet::new(),
            line_of: HashMap::new(),
            mood: Mood::Well,
            pace: Some(Duration::ZERO),
            answers: VecDeque::new(),
        }
    }

    /// A generation reads the file of lines, and takes the first that was not used.
    pub(crate) fn read_lines(&mut self, generation: u64) {
        let first = (0..).find(|line| !self.lines.contains(line)).unwrap_or_default();
        self.line_of.insert(generation, first);
    }

    /// The engine is another one: no answer reaches it, and generations are counted anew.
    pub(crate) fn forget_engine(&mut self) {
        self.answers.clear();
        self.line_of.clear();
    }

    pub(crate) fn claim(&mut self, claim: &Claim, now: Duration) {
        let broken = || ClaimError::NotRecorded("broken".to_owned());
        let result = match (self.mood, &claim.what) {
            (Mood::Full, _) => Err(ClaimError::Full),
            (Mood::Busy, _) => Err(ClaimError::Busy),
            (mood, what) => {
                let used = match what {
                    ClaimKind::Once(once) => self.used.claim(&claim.rule, once),
                    ClaimKind::Sequence { generation } => {
                        let line = self.line_of.get(generation).copied().unwrap_or_default();
                        self.lines.insert(line).then_some(()).ok_or(ClaimError::AlreadyUsed)
                    }
                };
                // It may count as used all the same.
                if mood == Mood::Broken { Err(broken()) } else { used }
            }
        };
        let Some(pace) = self.pace else { return };
        let last = self.answers.back().map_or(now, |(at, _)| *at);
        self.answers.push_back((last.max(now + pace), ClaimAnswer { serial: claim.serial, result }));
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.answers.front().map(|(at, _)| *at)
    }

    pub(crate) fn answer(&mut self) -> Option<ClaimAnswer> {
        self.answers.pop_front().map(|(_, answer)| answer)
    }
}
