//! Places: how many readers there are at once, of each user and of all, and how long those of a user may take.
//!
//! A process that waits for a disk that hangs cannot always be killed. It counts against its user alone until it is gone, so that users whose
//! disks answer are never without a place for it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use postern_config::Unread;
use postern_text::panic::PastPanic;

/// Readers at work at once, and of one user: those of several preparations, of which each reads with one at a time but for large modules.
const MOST: usize = 32;
const MOST_OF_USER: usize = 2;
/// Of one user, those that were killed and are still there.
const MOST_STUCK: usize = 2;
/// How long all readers of a user together may take in one preparation, which waits for them with what others changed: hundreds of files on a busy
/// machine, many times over. Half as long for one whose readers took longer than that, half as long again after the next time, and so on.
pub(super) const WALL: Duration = Duration::from_secs(2);
pub(super) const LEAST_WALL: Duration = Duration::from_millis(250);
const MOST_HALVED: u32 = 3;
/// After how long one step of that is forgiven, if nothing took too long in between and so many readers were in time; one success may be had for
/// the asking. And after how long what was not read in time is read again.
pub(super) const SLOW_FOR: Duration = Duration::from_secs(60);
const IN_TIME: u32 = 3;

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
    slowness: Option<Slowness>,
}

/// How a user is held whose readers took too long.
#[derive(Clone, Copy, Debug)]
struct Slowness {
    /// How often its time is halved.
    halved: u32,
    /// When that changed last.
    since: Instant,
    /// Readers that were in time since then.
    in_time: u32,
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
    /// Waits for one until then, when its reader must be done as well.
    pub(super) fn take(places: &Arc<Places>, uid: u32, deadline: Instant) -> Result<Self, Unread> {
        let mut state = places.lock();
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
                return Ok(Self { places: Arc::clone(places), uid, is_stuck: false, deadline });
            }
            let now = Instant::now();
            let Some(left) = deadline.checked_duration_since(now).filter(|left| !left.is_zero()) else {
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
    pub(super) fn was_in_time(&self, now: Instant) {
        self.places.lock().user(self.uid).note_in_time(now);
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
        if (of_user.reading, of_user.stuck) == (0, 0) && of_user.slowness.is_none() {
            state.users.remove(&self.uid);
        }
        self.places.freed.notify_all();
    }
}

impl Places {
    /// How long the readers of this user may take in a preparation that begins to read its files.
    pub(super) fn wall(&self, uid: u32) -> Duration {
        self.lock().users.get(&uid).map_or(WALL, OfUser::wall)
    }

    /// Whether a reader of this user took too long, or found no place, and that is not forgiven.
    pub(super) fn is_slow(&self, uid: u32) -> bool {
        self.lock().users.get(&uid).is_some_and(|of_user| of_user.slowness.is_some() || of_user.stuck > 0)
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
    fn wall(&self) -> Duration {
        let halved = self.slowness.map_or(0, |slowness| slowness.halved);
        (WALL / 2_u32.pow(halved)).max(LEAST_WALL)
    }

    fn note_slow(&mut self, now: Instant) {
        let halved = self.slowness.map_or(0, |slowness| slowness.halved);
        self.slowness = Some(Slowness { halved: (halved + 1).min(MOST_HALVED), since: now, in_time: 0 });
    }

    fn note_in_time(&mut self, now: Instant) {
        let Some(slowness) = &mut self.slowness else { return };
        slowness.in_time = slowness.in_time.saturating_add(1);
        if slowness.in_time >= IN_TIME && now.saturating_duration_since(slowness.since) >= SLOW_FOR {
            let halved = slowness.halved - 1;
            self.slowness = (halved > 0).then_some(Slowness { halved, since: now, in_time: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const A: u32 = 1001;
    const B: u32 = 1002;

    fn take(places: &Arc<Places>, uid: u32) -> Result<Place, Unread> {
        Place::take(places, uid, Instant::now() + WALL)
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
        assert!(Place::take(&places, A, Instant::now()).is_err());
        assert!(places.is_slow(A));
        let waits = thread::spawn({
            let places = Arc::clone(&places);
            move || take(&places, A).is_ok()
        });
        all.pop();
        assert!(waits.join().unwrap());
    }

    #[test]
    fn who_was_slow_has_less_time_until_it_has_been_in_time_for_long() {
        let places: Arc<Places> = Arc::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let millis = |uid| places.wall(uid).as_millis();
        let place = take(&places, A).unwrap();
        let walls: Vec<_> = (0..5)
            .map(|_| {
                place.was_slow(at(0));
                millis(A)
            })
            .collect();
        assert_eq!((walls, millis(B)), (vec![1000, 500, 250, 250, 250], 2000));
        // Neither many successes in a short time nor few in a long one are enough.
        (0..100).for_each(|_| place.was_in_time(at(59)));
        assert_eq!(millis(A), 250);
        place.was_in_time(at(60));
        assert_eq!(millis(A), 500);
        (0..IN_TIME - 1).for_each(|_| place.was_in_time(at(200)));
        assert_eq!(millis(A), 500);
        place.was_in_time(at(200));
        assert_eq!(millis(A), 1000);
        // One step at a time, and the next failure takes it back.
        place.was_slow(at(201));
        assert_eq!(millis(A), 500);
        for minute in [5, 7] {
            (0..IN_TIME).for_each(|_| place.was_in_time(at(60 * minute)));
        }
        assert!(!places.is_slow(A) && millis(A) == 2000);
        drop(place);
        assert!(places.lock().users.is_empty());
    }
}
