//! Sequence: judges a knock. It sees one client at a time, and of that one only its progress.

use std::net::IpAddr;
use std::time::Duration;

use postern_sdk::serde_json::{Map, Value};
use postern_sdk::{CloseRequest, Interest, Knock, OpenRequest, Rule, Timestamp, Transport, Verdict, debug};

use crate::family::ClientFamily;
use crate::progress::{HeldStep, SequenceProgress};
use crate::settings::{DoorAction, Duplicates, Settings};
use crate::step::{Step, push_number};

/// A rule that wants ports hit in order.
#[derive(Debug)]
pub struct Sequence {
    settings: Settings,
}

impl Rule for Sequence {
    type Settings = Map<String, Value>;
    type Memory = SequenceProgress;

    fn configure(written: Self::Settings) -> Result<(Self, Interest), String> {
        let settings = Settings::check(&written)?;
        let interest = settings.interest();
        Ok((Self { settings }, interest))
    }

    fn judge(&self, knock: &Knock, memory: Option<SequenceProgress>) -> Verdict<SequenceProgress> {
        let Settings { steps, tcp, duplicates, family, .. } = &self.settings;
        if family.is_some_and(|family| family != ClientFamily::of(knock.source)) {
            return Verdict::Ignore;
        }
        let lacks_flags = !knock.tcp_flags.contains(tcp.set) || knock.tcp_flags.intersects(tcp.clear);
        if knock.transport == Transport::Tcp && lacks_flags {
            return Verdict::Ignore;
        }
        if memory.as_ref().is_some_and(|progress| self.must_wait(progress, knock.time)) {
            debug!("{} knocked right a moment ago and waits out its cooldown", knock.source);
            return Verdict::Ignore;
        }
        let hit = Step::of(knock);
        let progress = memory
            .filter(|progress| self.is_current(progress, knock.time))
            .unwrap_or_else(|| SequenceProgress::none(knock.time));
        let Some(&expected) = steps.get(usize::from(progress.stage)) else { return Verdict::Ignore };
        let is_repeat = *duplicates == Duplicates::IgnoreLast && self.has_just_matched(hit, &progress);
        if hit == expected {
            match self.too_soon(&progress, knock.time) {
                None => self.advance(knock.source, progress, knock.time),
                Some(_) if is_repeat => Verdict::Ignore,
                Some(waited) => Verdict::forget(Self::haste(progress.stage, waited)),
            }
        } else if let Some(index) = self.overtaking(hit, &progress) {
            self.hold(index, progress, knock.time)
        } else if is_repeat || !progress.has_begun() {
            Verdict::Ignore
        } else {
            Verdict::forget(Self::reason(progress.stage, expected, hit))
        }
    }
}

impl Sequence {
    /// Whether the client is still in time, and its progress one that this sequence can have.
    /// A packet that seems to come before the first step, because the clock was set back, is in time.
    fn is_current(&self, progress: &SequenceProgress, now: Timestamp) -> bool {
        let count = self.settings.steps.len();
        // With the setting taken away nothing is held.
        let reorder = self.settings.reorder.unwrap_or_default();
        let can_come = |held: &HeldStep| {
            held.index > progress.stage && usize::from(held.index) < count && now.since(held.time) < reorder
        };
        progress.has_begun()
            && usize::from(progress.stage) < count
            && progress.held.iter().all(can_come)
            && now.since(progress.start) < self.settings.within
            && self.settings.gap.is_none_or(|gap| now.since(progress.last) < gap)
    }

    /// Whether the client knocked right so short a time ago that none of its packets counts. A clock that was set back by more than
    /// that lets it knock.
    fn must_wait(&self, progress: &SequenceProgress, now: Timestamp) -> bool {
        let last = progress.last;
        !progress.has_begun()
            && self.settings.cooldown.is_some_and(|wait| now.since(last).max(last.since(now)) < wait)
    }

    /// Whether this is the last step done once more, or one that is held.
    fn has_just_matched(&self, hit: Step, progress: &SequenceProgress) -> bool {
        let last = progress.stage.checked_sub(1);
        let held = progress.held.iter().map(|held| held.index);
        last.into_iter().chain(held).any(|index| self.settings.steps.get(usize::from(index)) == Some(&hit))
    }

    /// How short a time after the last step this one comes, if that is too short. It makes the client start over: if it were
    /// ignored, a client that repeats the whole sequence as fast as it can would have the right distance sooner or later. If the clock
    /// was set back, the time between the two is not known.
    fn too_soon(&self, progress: &SequenceProgress, now: Timestamp) -> Option<Duration> {
        let waited = now.since(progress.last);
        self.settings.min_gap.is_some_and(|least| progress.has_begun() && waited < least).then_some(waited)
    }

    /// Which step behind the next one this is, if steps may overtake each other.
    fn overtaking(&self, hit: Step, progress: &SequenceProgress) -> Option<u8> {
        self.settings.reorder?;
        let steps = (0..).zip(&self.settings.steps).skip(usize::from(progress.stage) + 1);
        let mut fitting = steps.filter(|(_, step)| **step == hit).map(|(index, _)| index);
        fitting.find(|index| progress.held.iter().all(|held| held.index != *index))
    }

    fn advance(
        &self,
        source: IpAddr,
        mut progress: SequenceProgress,
        now: Timestamp,
    ) -> Verdict<SequenceProgress> {
        progress.advance();
        if usize::from(progress.stage) == self.settings.steps.len() {
            return self.success(source, progress.start, now);
        }
        self.remember(progress, now)
    }

    fn hold(&self, index: u8, mut progress: SequenceProgress, now: Timestamp) -> Verdict<SequenceProgress> {
        progress.held.push(HeldStep { index, time: now });
        self.remember(progress, now)
    }

    fn remember(&self, mut progress: SequenceProgress, now: Timestamp) -> Verdict<SequenceProgress> {
        let Settings { within, gap, reorder, .. } = self.settings;
        // If the clock was set back, times count from now, or they would last too long.
        progress.start = progress.start.min(now);
        progress.last = now;
        let mut until = (progress.start + within).min(now + gap.unwrap_or(Duration::MAX));
        for held in &mut progress.held {
            held.time = held.time.min(now);
            until = until.min(held.time + reorder.unwrap_or_default());
        }
        let done = usize::from(progress.stage) + progress.held.len();
        Verdict::remember(u32::try_from(done).unwrap_or(u32::MAX), progress, until)
    }

    /// Why the client starts over. Not by `format!`: a flood makes many of these, and that would take longer than the whole rest of the call.
    fn reason(stage: u8, expected: Step, hit: Step) -> String {
        let mut text = String::with_capacity(64);
        text.push_str("step ");
        push_number(&mut text, u32::from(stage) + 1);
        text.push_str(" should be ");
        expected.push(&mut text);
        text.push_str(", was ");
        hit.push(&mut text);
        text
    }

    /// Why a client starts over whose right step came too soon.
    fn haste(stage: u8, waited: Duration) -> String {
        let mut text = String::with_capacity(64);
        text.push_str("step ");
        push_number(&mut text, u32::from(stage) + 1);
        text.push_str(" came after ");
        // Less than the longest `min_gap`, an hour.
        push_number(&mut text, u32::try_from(waited.as_millis()).unwrap_or(u32::MAX));
        text.push_str(" ms, too soon");
        text
    }

    fn success(&self, source: IpAddr, start: Timestamp, now: Timestamp) -> Verdict<SequenceProgress> {
        let verdict = match (self.settings.action, self.settings.widths.around(source)) {
            (DoorAction::Open, None) => Verdict::open(),
            (DoorAction::Open, Some(bits)) => {
                Verdict::open_doors([OpenRequest::default().prefix_length(bits)])
            }
            (DoorAction::Close, None) => Verdict::close(),
            (DoorAction::Close, Some(bits)) => {
                Verdict::close_doors([CloseRequest::default().prefix_length(bits)])
            }
        };
        match self.settings.cooldown {
            Some(wait) => {
                verdict.and_remember(SequenceProgress { start, ..SequenceProgress::none(now) }, now + wait)
            }
            None => verdict,
        }
    }
}

#[cfg(test)]
mod tests;
