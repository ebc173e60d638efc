//! Moderation: whether each frame wakes the thread, or the thread polls the ring in intervals.
//!
//! A wake-up costs ten times what judging a frame does. That is worth it for a single knock, and not in a flood. Network drivers moderate
//! their interrupts for the same reason (NAPI in the kernel), and this works in the same way: the thread changes from wake-ups to polling when
//! many frames come in a short time, and back after the first poll that finds few.

use std::time::{Duration, Instant};

/// The poll interval, which is also the latency that polling adds; the kernel's ring holds ten times what can arrive in it.
const POLL_INTERVAL: Duration = Duration::from_micros(400);
/// So many frames within a window start polling: 16,000 a second, if they come evenly.
const MANY: usize = 16;
const WINDOW: Duration = Duration::from_millis(1);
/// A poll that finds fewer frames ends polling. It is less than [`MANY`], so that a steady rate does not switch back and forth.
const STILL_MANY: usize = 4;

/// Decides between wake-ups and polling by how many frames were read.
#[derive(Debug)]
pub(super) struct InterruptModeration {
    /// When the window began, and how many frames were read in it.
    since: Instant,
    frames: usize,
    is_polling: bool,
    /// The last batch was full, so more frames may wait.
    is_behind: bool,
}

impl InterruptModeration {
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, frames: 0, is_polling: false, is_behind: false }
    }

    /// Records how many frames were read in one batch of at most `limit`.
    pub(super) fn note(&mut self, frames: usize, limit: usize, now: Instant) {
        self.is_behind = frames == limit;
        if self.is_polling {
            self.is_polling = frames >= STILL_MANY;
            (self.since, self.frames) = (now, 0);
            return;
        }
        if now.duration_since(self.since) > WINDOW {
            (self.since, self.frames) = (now, 0);
        }
        self.frames += frames;
        self.is_polling = self.frames >= MANY;
    }

    /// How long to wait before the next poll, whatever comes meanwhile; none: until a frame comes.
    pub(super) const fn poll_interval(&self) -> Option<Duration> {
        match (self.is_polling, self.is_behind) {
            (true, true) => Some(Duration::ZERO),
            (true, false) => Some(POLL_INTERVAL),
            (false, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 256;

    #[test]
    fn a_knock_wakes_and_a_flood_is_polled_until_it_ends() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut moderation = InterruptModeration::new(start);
        for step in 0..10 {
            moderation.note(1, LIMIT, at(step * 50));
            assert_eq!(moderation.poll_interval(), None, "step {step}");
        }
        for packet in 0..100 {
            moderation.note(1, LIMIT, at(10_000 + packet * 110));
            assert_eq!(moderation.poll_interval(), None, "9000 a second are few");
        }
        moderation.note(40, LIMIT, at(30_000));
        assert_eq!(moderation.poll_interval(), Some(POLL_INTERVAL));
        moderation.note(100, LIMIT, at(30_400));
        assert_eq!(moderation.poll_interval(), Some(POLL_INTERVAL));
        moderation.note(LIMIT, LIMIT, at(30_500));
        assert_eq!(moderation.poll_interval(), Some(Duration::ZERO), "as fast as it comes");
        moderation.note(3, LIMIT, at(30_800));
        assert_eq!(moderation.poll_interval(), None);
        moderation.note(4, LIMIT, at(30_900));
        assert_eq!(moderation.poll_interval(), None, "it starts over");
    }
}
