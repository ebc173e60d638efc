//! Moderation: whether each frame wakes the thread, or the ring is polled in intervals.
//!
//! To be woken for a frame costs ten times what it takes to judge it, which is worth it for the one that opens a door, and not in a
//! flood. Drivers of network cards moderate their interrupts for the same reason, and as they do (NAPI in the kernel) this switches between
//! the two by the load: from wake-ups to polling when many frames come in a short time, and back with the first poll that finds few.

use std::time::{Duration, Instant};

/// The poll interval, and so what a client may wait longer under load; the kernel's ring holds ten times what can come meanwhile.
const POLL_INTERVAL: Duration = Duration::from_micros(400);
/// As many frames in a window begin the polling: 16,000 a second, if they come evenly.
const MANY: usize = 16;
const WINDOW: Duration = Duration::from_millis(1);
/// Fewer frames at one poll end it. That is fewer than begin it, or it would begin and end all the time at a rate in between.
const STILL_MANY: usize = 4;

/// Decides by how many frames were read.
#[derive(Debug)]
pub(super) struct InterruptModeration {
    /// When the window began, and how many frames were read in it.
    since: Instant,
    frames: usize,
    is_polling: bool,
    /// There was more than could be read at once.
    is_behind: bool,
}

impl InterruptModeration {
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, frames: 0, is_polling: false, is_behind: false }
    }

    /// Takes note of frames that were read at once, of at most `limit`.
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
