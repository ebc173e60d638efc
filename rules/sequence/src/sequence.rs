//! Sequence: judges a knock. It sees one client at a time, and of that one only its progress.

use std::net::IpAddr;
use std::time::Duration;

use postern_sdk::serde_json::{Map, Value};
use postern_sdk::{CloseRequest, Interest, Knock, OpenRequest, Rule, Timestamp, Transport, Verdict, debug};

use crate::family::ClientFamily;
use crate::progress::SequenceProgress;
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
        if memory.is_some_and(|progress| self.must_wait(&progress, knock.time)) {
            debug!("{} knocked right a moment ago and waits out its cooldown", knock.source);
            return Verdict::Ignore;
        }
        let hit = Step::of(knock);
        let progress = memory.filter(|progress| self.is_current(progress, knock.time));
        let stage = progress.map_or(0, |progress| progress.stage);
        let done = usize::from(stage);
        let Some(&expected) = steps.get(done) else { return Verdict::Ignore };
        if hit == expected {
            return if done + 1 == steps.len() {
                self.success(knock.source, progress, knock.time)
            } else {
                self.advance(stage + 1, progress, knock.time)
            };
        }
        match (done.checked_sub(1), duplicates) {
            (None, _) => Verdict::Ignore,
            (Some(last), Duplicates::IgnoreLast) if steps.get(last) == Some(&hit) => Verdict::Ignore,
            (Some(_), _) => Verdict::forget(Self::reason(stage, expected, hit)),
        }
    }
}

impl Sequence {
    /// Whether the client is still in time, and its progress one that this sequence can have.
    /// A packet that seems to come before the first step, because the clock was set back, is in time.
    fn is_current(&self, progress: &SequenceProgress, now: Timestamp) -> bool {
        (1..self.settings.steps.len()).contains(&progress.stage.into())
            && now.since(progress.start) < self.settings.within
            && self.settings.gap.is_none_or(|gap| now.since(progress.last) < gap)
    }

    /// Whether the client knocked right so short a time ago that none of its packets counts. A clock that was set back by more than
    /// that lets it knock.
    fn must_wait(&self, progress: &SequenceProgress, now: Timestamp) -> bool {
        let SequenceProgress { stage, last, .. } = *progress;
        stage == 0 && self.settings.cooldown.is_some_and(|wait| now.since(last).max(last.since(now)) < wait)
    }

    fn advance(
        &self,
        stage: u8,
        progress: Option<SequenceProgress>,
        now: Timestamp,
    ) -> Verdict<SequenceProgress> {
        // If the clock was set back, `within` counts from now, or it would last too long.
        let start = progress.map_or(now, |progress| progress.start.min(now));
        let gap = self.settings.gap.unwrap_or(Duration::MAX);
        let until = (start + self.settings.within).min(now + gap);
        Verdict::remember(stage.into(), SequenceProgress { stage, start, last: now }, until)
    }

    /// Why the client starts over. Not by `format!`: a flood makes many of these, and that would take longer than the whole rest of the call.
    fn reason(stage: u8, expected: Step, hit: Step) -> String {
        let mut text = String::with_capacity(64);
        text.push_str("step ");
        push_number(&mut text, u16::from(stage) + 1);
        text.push_str(" should be ");
        expected.push(&mut text);
        text.push_str(", was ");
        hit.push(&mut text);
        text
    }

    fn success(
        &self,
        source: IpAddr,
        progress: Option<SequenceProgress>,
        now: Timestamp,
    ) -> Verdict<SequenceProgress> {
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
                let start = progress.map_or(now, |progress| progress.start);
                verdict.and_remember(SequenceProgress { stage: 0, start, last: now }, now + wait)
            }
            None => verdict,
        }
    }
}

#[cfg(test)]
mod tests;
