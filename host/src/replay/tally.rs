//! Tally: what a replay comes to as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{Client, DropReason, Moment, Timestamp};

use super::seen::Seen;

/// Counts of one replay.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The time of the first packet; none before it.
    pub(super) first: Option<Timestamp>,
    /// When the last packet came.
    pub(super) end: Moment,
    /// Packets that were read.
    pub(super) packets: u64,
    /// Packets that a rule asked for.
    pub(super) judged: u64,
    /// Packets that came to nothing before any rule, by why.
    unjudged: BTreeMap<DropReason, u64>,
}

/// What one replica has opened, and what came to nothing there after a rule was asked.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// How many doors were opened.
    pub(super) opened: u64,
    /// What is open at the end: the door, for whom, and for how long it would stay so.
    pub(super) left: Vec<(Arc<str>, Client, Duration)>,
    /// What came to nothing, by why.
    pub(super) dropped: BTreeMap<DropReason, u64>,
}

impl Tally {
    /// Counts a packet.
    pub(super) fn note(&mut self, seen: &Seen) {
        match seen.drop {
            None => self.judged += 1,
            Some(reason) => *self.unjudged.entry(reason).or_default() += 1,
        }
    }

    /// What came to nothing, before any rule and after, by name.
    pub(super) fn drops(&self, openings: &Openings) -> BTreeMap<DropReason, u64> {
        let mut drops = self.unjudged.clone();
        for (reason, count) in &openings.dropped {
            *drops.entry(*reason).or_default() += count;
        }
        drops
    }
}
