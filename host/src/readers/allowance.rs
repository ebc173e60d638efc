//! Allowances: how long the readers of each user may still take in one preparation, whatever they read and however many they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;

use super::places::{LEAST_WALL, Places};

/// When the readers of so many users took too long, others' have less time in this preparation: who has many users must not have it wait for each of
/// them in turn.
const MANY: usize = 8;

/// Those of one preparation.
#[derive(Debug, Default)]
pub(super) struct Allowances(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    users: HashMap<u32, TimeOfUser>,
    /// Users who have nothing left.
    late: usize,
}

/// That of one user.
#[derive(Debug)]
struct TimeOfUser {
    left: Duration,
    /// Readers that are at work or wait for a place.
    readers: usize,
    /// Since when there are any.
    since: Instant,
}

/// A reader that takes of its user's time until this is dropped.
#[derive(Debug)]
pub(super) struct Reading {
    allowances: Arc<Allowances>,
    uid: u32,
    /// Until when it may take.
    pub(super) deadline: Instant,
}

impl Allowances {
    /// Begins to take of this user's time; none if there is nothing left of it.
    pub(super) fn begin(self: &Arc<Self>, uid: u32, places: &Places, now: Instant) -> Option<Reading> {
        let mut state = self.lock();
        let many_are_late = state.late >= MANY;
        let allowance = state.users.entry(uid).or_insert_with(|| {
            let wall = places.wall(uid);
            let left = if many_are_late { wall.min(LEAST_WALL) } else { wall };
            TimeOfUser { left, readers: 0, since: now }
        });
        if allowance.readers == 0 {
            allowance.since = now;
        }
        let deadline = allowance.since + allowance.left;
        (deadline > now).then(|| {
            allowance.readers += 1;
            Reading { allowances: Arc::clone(self), uid, deadline }
        })
    }

    fn end(&self, uid: u32, now: Instant) {
        let mut state = self.lock();
        let Some(allowance) = state.users.get_mut(&uid) else { return };
        allowance.readers -= 1;
        if allowance.readers == 0 {
            // Several at once take the time once.
            let before = allowance.left;
            allowance.left = before.saturating_sub(now.saturating_duration_since(allowance.since));
            state.late += usize::from(allowance.left.is_zero() && !before.is_zero());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().past_panic()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.allowances.end(self.uid, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::super::places::WALL;
    use super::*;

    const A: u32 = 1001;

    fn begin(allowances: &Arc<Allowances>, uid: u32, now: Instant) -> Option<Duration> {
        let reading = allowances.begin(uid, &Places::default(), now)?;
        let left = reading.deadline - now;
        std::mem::forget(reading);
        Some(left)
    }

    #[test]
    fn what_one_reader_took_another_does_not_have_and_two_at_once_take_it_once() {
        let allowances = Arc::new(Allowances::default());
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let left = |millis| Some(WALL - Duration::from_millis(millis));
        assert_eq!(begin(&allowances, A, at(0)), Some(WALL));
        assert_eq!(begin(&allowances, A, at(300)), left(300));
        allowances.end(A, at(400));
        allowances.end(A, at(500));
        // Nobody reads between.
        assert_eq!(begin(&allowances, A, at(9000)), left(500));
        allowances.end(A, at(9100));
        assert_eq!(begin(&allowances, A, at(9200)), left(600));
        allowances.end(A, at(9200) + WALL);
        assert_eq!(begin(&allowances, A, at(20_000)), None);
        assert_eq!(begin(&allowances, A + 1, at(20_000)), Some(WALL));
    }

    #[test]
    fn who_has_many_users_does_not_have_a_preparation_wait_for_each() {
        let allowances = Arc::new(Allowances::default());
        let now = Instant::now();
        for uid in 0..8 {
            assert_eq!(begin(&allowances, uid, now), Some(WALL));
        }
        assert_eq!(begin(&allowances, 8, now), Some(WALL));
        (0..8).for_each(|uid| allowances.end(uid, now + WALL));
        assert_eq!(begin(&allowances, 9, now + WALL), Some(LEAST_WALL));
    }
}
