//! Crowd: whether frames come one by one or in crowds.
//!
//! To be woken for a frame costs ten times what it takes to judge it, which is worth it for the one that opens a door, and not in a
//! flood. Drivers of network cards moderate their interrupts for the same reason.

use std::time::{Duration, Instant};

/// What a client may wait longer in a crowd; the kernel's ring holds ten times what can come meanwhile.
const NAP: Duration = Duration::from_micros(400);
/// As many frames in such a time are a crowd.
const MANY: usize = 16;
const WINDOW: Duration = Duration::from_millis(1);
/// As many frames after a nap, and it goes on.
const STILL_MANY: usize = 4;

/// Judges by what was read.
#[derive(Debug)]
pub(super) struct Crowd {
    since: Instant,
    frames: usize,
    is_here: bool,
    /// There was more than could be read at once.
    is_more_there: bool,
}

impl Crowd {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, frames: 0, is_here: false, is_more_there: false }
    }

    /// Takes note of frames that were read at once, of at most `limit`.
    pub(super) fn note(&mut self, frames: usize, limit: usize, now: Instant) {
        self.is_more_there = frames == limit;
        if self.is_here {
            self.is_here = frames >= STILL_MANY;
            (self.since, self.frames) = (now, 0);
            return;
        }
        if now.duration_since(self.since) > WINDOW {
            (self.since, self.frames) = (now, 0);
        }
        self.frames += frames;
        self.is_here = self.frames >= MANY;
    }

    /// For how long frames should not wake anybody, if there is a crowd.
    pub(super) fn nap(&self) -> Option<Duration> {
        match (self.is_here, self.is_more_there) {
            (true, true) => Some(Duration::ZERO),
            (true, false) => Some(NAP),
            (false, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 256;

    #[test]
    fn a_knock_is_no_crowd_and_a_flood_is_until_it_ends() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let mut crowd = Crowd::new(start);
        for step in 0..10 {
            crowd.note(1, LIMIT, at(step * 50));
            assert_eq!(crowd.nap(), None, "step {step}");
        }
        for packet in 0..100 {
            crowd.note(1, LIMIT, at(10_000 + packet * 110));
            assert_eq!(crowd.nap(), None, "9000 a second are no crowd");
        }
        crowd.note(40, LIMIT, at(30_000));
        assert_eq!(crowd.nap(), Some(NAP));
        crowd.note(100, LIMIT, at(30_400));
        assert_eq!(crowd.nap(), Some(NAP));
        crowd.note(LIMIT, LIMIT, at(30_500));
        assert_eq!(crowd.nap(), Some(Duration::ZERO), "as fast as it comes");
        crowd.note(3, LIMIT, at(30_800));
        assert_eq!(crowd.nap(), None);
        crowd.note(4, LIMIT, at(30_900));
        assert_eq!(crowd.nap(), None, "it starts over");
    }
}
