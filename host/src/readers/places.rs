//! Places: how many readers there are at once, of each user and of all, and how long the next of a user may take.
//!
//! A process that waits for a disk that hangs cannot always be killed. It counts against its user alone until it is gone, so that users whose
//! disks answer are never without a place for it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use postern_config::Unread;
use postern_text::panic::PastPanic;

/// Readers at work at once, and of one user.
const MOST: usize = 16;
const MOST_OF_USER: usize = 4;
/// Of one user, those that were killed and are still there.
const MOST_STUCK: usize = 2;
/// How long a reader may take: thousands of files on a busy machine, many times over.
const WALL: Duration = Duration::from_secs(5);
/// How long if one of the same user took longer than that a moment ago: each reload waits for it, with what others changed. Half as long after
/// the next that does, and so on; so however many files hang, together they take little longer than the first.
const WALL_AFTER_SLOW: Duration = Duration::from_secs(2);
const LEAST_WALL: Duration = Duration::from_millis(250);
/// How long such a moment is, and after how long what was not read in time is read again.
pub(super) const SLOW_FOR: Duration = Duration::from_secs(60);

/// Who reads at this moment.
#[derive(Debug, Default)]
pub(super) struct Places {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    reading: usize,
    users: HashMap<u32, OfUser>,
}

#[derive(Debug, Default)]
struct OfUser {
    reading: usize,
    stuck: usize,
    /// When one of it last took too long, and how many did, if none after them did not.
    slow: Option<(Instant, u32)>,
}

/// The right to read, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    uid: u32,
    is_stuck: bool,
    /// Until when.
    pub(super) deadline: Instant,
}

impl Place {
    /// Waits for one, as long as the reader itself might take.
    pub(super) fn take(places: &Arc<Places>, uid: u32, now: Instant) -> Result<Self, Unread> {
        let mut state = places.lock();
        let wall = state.user(uid).wall(now);
        let until = now + wall;
        loop {
            let is_free = state.reading < MOST;
            let of_user = state.user(uid);
            if of_user.stuck >= MOST_STUCK {
                let what =
                    format!("is not read: {MOST_STUCK} processes that tried hang there and cannot be killed");
                return Err(Unread::new(&what, "see to the disk that it is on"));
            }
            if is_free && of_user.reading < MOST_OF_USER {
                of_user.reading += 1;
                state.reading += 1;
                // What it waited for is not its own time.
                let deadline = Instant::now().max(now) + wall;
                return Ok(Self { places: Arc::clone(places), uid, is_stuck: false, deadline });
            }
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                state.user(uid).note_slow(now);
                let what = "is not read: other files are being read, and take too long";
                return Err(Unread::new(what, "see to the disks that tenants' files are on"));
            };
            state = places.freed.wait_timeout(state, left).past_panic().0;
        }
    }

    /// The reader took too long.
    pub(super) fn was_slow(&self, now: Instant) {
        self.places.lock().user(self.uid).note_slow(now);
    }

    /// The reader came to an end by itself.
    pub(super) fn was_in_time(&self) {
        self.places.lock().user(self.uid).slow = None;
    }

    /// The process was killed and is still there.
    pub(super) fn is_stuck(&mut self) {
        let mut state = self.places.lock();
        self.is_stuck = true;
        state.reading -= 1;
        let of_user = state.user(self.uid);
        of_user.reading -= 1;
        of_user.stuck += 1;
        self.places.freed.notify_all();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.reading -= usize::from(!self.is_stuck);
        let of_user = state.user(self.uid);
        if self.is_stuck {
            of_user.stuck -= 1;
        } else {
            of_user.reading -= 1;
        }
        if (of_user.reading, of_user.stuck, of_user.slow) == (0, 0, None) {
            state.users.remove(&self.uid);
        }
        self.places.freed.notify_all();
    }
}

impl Places {
    /// Whether a reader of this user took too long, or found no place, and none has been in time since.
    pub(super) fn is_slow(&self, uid: u32) -> bool {
        self.lock().users.get(&uid).is_some_and(|of_user| of_user.slow.is_some() || of_user.stuck > 0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().past_panic()
    }
}

impl State {
    fn user(&mut self, uid: u32) -> &mut OfUser {
        self.users.entry(uid).or_default()
    }
}

impl OfUser {
    fn wall(&self, now: Instant) -> Duration {
        match self.slow {
            Some((last, times)) if now.saturating_duration_since(last) < SLOW_FOR => {
                let halved = 2_u32.saturating_pow(times.saturating_sub(1));
                (WALL_AFTER_SLOW / halved).max(LEAST_WALL)
            }
            _ => WALL,
        }
    }

    fn note_slow(&mut self, now: Instant) {
        let before = self.slow.filter(|(last, _)| now.saturating_duration_since(*last) < SLOW_FOR);
        self.slow = Some((now, before.map_or(0, |(_, times)| times).saturating_add(1)));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const A: u32 = 1001;
    const B: u32 = 1002;

    fn take(places: &Arc<Places>, uid: u32) -> Result<Place, Unread> {
        Place::take(places, uid, Instant::now())
    }

    #[test]
    fn readers_that_hang_count_against_their_user_alone() {
        let places = Arc::default();
        let mut stuck = [take(&places, A).unwrap(), take(&places, A).unwrap()];
        stuck.iter_mut().for_each(Place::is_stuck);
        let refused = take(&places, A).unwrap_err();
        assert!(refused.what.contains("2 processes that tried hang"), "{refused}");
        let of_b: Vec<_> = (0..MOST_OF_USER).map(|_| take(&places, B).unwrap()).collect();
        assert_eq!(places.lock().reading, MOST_OF_USER);
        // As soon as one is gone there is room again.
        drop(stuck);
        assert!(take(&places, A).is_ok());
        drop(of_b);
        assert!(places.lock().users.is_empty());
    }

    #[test]
    fn no_more_at_once_than_there_may_be_and_the_next_waits_for_a_place() {
        let places: Arc<Places> = Arc::default();
        let users = 1..=u32::try_from(MOST / MOST_OF_USER).unwrap();
        let mut all: Vec<_> = users
            .flat_map(|uid| (0..MOST_OF_USER).map(move |_| uid))
            .map(|uid| take(&places, uid).unwrap())
            .collect();
        assert_eq!(all.len(), MOST);
        // Its time is over before there is one.
        let now = Instant::now();
        let long_ago = now.checked_sub(WALL).unwrap();
        assert!(Place::take(&places, A, long_ago).is_err());
        let waits = thread::spawn({
            let places = Arc::clone(&places);
            move || take(&places, A).is_ok()
        });
        all.pop();
        assert!(waits.join().unwrap());
    }

    #[test]
    fn who_was_slow_has_less_time_until_it_is_not_slow_or_for_a_minute() {
        let places: Arc<Places> = Arc::default();
        let now = Instant::now();
        let wall = |uid, now| places.lock().user(uid).wall(now);
        let be_slow = |now| {
            let place = take(&places, A).unwrap();
            place.was_slow(now);
        };
        be_slow(now);
        assert_eq!((wall(A, now), wall(B, now)), (WALL_AFTER_SLOW, WALL));
        assert_eq!(wall(A, now + SLOW_FOR - Duration::from_millis(1)), WALL_AFTER_SLOW);
        assert_eq!(wall(A, now + SLOW_FOR), WALL);
        be_slow(now + SLOW_FOR);
        assert_eq!(wall(A, now + SLOW_FOR), WALL_AFTER_SLOW);
        let walls: Vec<_> = (0..40)
            .map(|_| {
                be_slow(now + SLOW_FOR);
                wall(A, now + SLOW_FOR)
            })
            .collect();
        assert_eq!(walls[..3], [1000, 500, 250].map(Duration::from_millis));
        assert!(walls[3..].iter().all(|wall| *wall == LEAST_WALL));
        take(&places, A).unwrap().was_in_time();
        assert_eq!(wall(A, now), WALL);
    }
}
