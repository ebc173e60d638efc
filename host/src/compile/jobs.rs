//! Jobs: which modules are being compiled, by at most as many processes at once as there are processors, and who waits for each.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;

/// How often a load that waits checks whether it was overtaken.
const LOOK: Duration = Duration::from_millis(100);
/// For how long a job goes on that only an overtaken load waits for: the newer one may be about to ask for the same.
const GRACE: Duration = Duration::from_secs(2);

/// Jobs under way, by what they make.
pub(super) struct Jobs<Key, Made> {
    state: Mutex<State<Key, Made>>,
    /// Notified when a job has ended.
    ended: Condvar,
    /// Most at once.
    most: usize,
}

struct State<Key, Made> {
    running: usize,
    jobs: HashMap<Key, Arc<Mutex<Job<Made>>>>,
}

struct Job<Made> {
    /// How many wait for it besides the one that does it.
    waiting: usize,
    /// What came of it; none if it was given up.
    made: Option<Option<Made>>,
}

impl<Key: Copy + Eq + Hash, Made: Clone> Jobs<Key, Made> {
    pub(super) fn new(most: usize) -> Self {
        let state = State { running: 0, jobs: HashMap::new() };
        Self { state: Mutex::new(state), ended: Condvar::new(), most: most.max(1) }
    }

    /// What is made for this key, by `work` unless another thread is making it already. None if this was overtaken before it was made.
    /// `work` gets a function that says whether anybody still waits, and answers none if it ended because nobody does.
    pub(super) fn make(
        &self,
        key: Key,
        is_overtaken: &dyn Fn() -> bool,
        work: impl FnOnce(&dyn Fn() -> bool) -> Option<Made>,
    ) -> Option<Made> {
        let mut state = self.lock();
        while let Some(job) = state.jobs.get(&key).map(Arc::clone) {
            job.lock().past_panic().waiting += 1;
            let made = loop {
                if let Some(made) = job.lock().past_panic().made.clone() {
                    break made;
                }
                if is_overtaken() {
                    job.lock().past_panic().waiting -= 1;
                    return None;
                }
                state = self.wait(state);
            };
            if made.is_some() {
                return made;
            }
            // It was given up in the moment in which this one came.
        }
        let job = Arc::new(Mutex::new(Job { waiting: 0, made: None }));
        state.jobs.insert(key, Arc::clone(&job));
        let mut begun = Begun { jobs: self, key, job: &job, has_permit: false, made: None };
        let overtaken_at = Cell::new(None);
        let is_wanted = || {
            let since = overtaken_at.get().or_else(|| is_overtaken().then(Instant::now));
            overtaken_at.set(since);
            since.is_none_or(|since| since.elapsed() < GRACE) || job.lock().past_panic().waiting > 0
        };
        while state.running >= self.most {
            if !is_wanted() {
                drop(state);
                return None;
            }
            state = self.wait(state);
        }
        state.running += 1;
        begun.has_permit = true;
        drop(state);
        begun.made = work(&is_wanted);
        begun.made.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State<Key, Made>> {
        self.state.lock().past_panic()
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State<Key, Made>>) -> MutexGuard<'a, State<Key, Made>> {
        self.ended.wait_timeout(state, LOOK).past_panic().0
    }
}

/// A job under way; ended when dropped, also by a panic.
struct Begun<'a, Key: Copy + Eq + Hash, Made: Clone> {
    jobs: &'a Jobs<Key, Made>,
    key: Key,
    job: &'a Mutex<Job<Made>>,
    has_permit: bool,
    made: Option<Made>,
}

impl<Key: Copy + Eq + Hash, Made: Clone> Drop for Begun<'_, Key, Made> {
    fn drop(&mut self) {
        let mut state = self.jobs.lock();
        state.running -= usize::from(self.has_permit);
        state.jobs.remove(&self.key);
        self.job.lock().past_panic().made = Some(self.made.take());
        self.jobs.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    const NEVER: &dyn Fn() -> bool = &|| false;

    #[test]
    fn one_does_it_for_all_who_want_it() {
        let jobs = Jobs::new(2);
        let done = AtomicUsize::new(0);
        let work = |_: &dyn Fn() -> bool| {
            thread::sleep(Duration::from_millis(50));
            Some(done.fetch_add(1, Ordering::SeqCst))
        };
        thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| jobs.make(7, NEVER, work))).collect();
            assert!(all.into_iter().all(|made| made.join().unwrap() == Some(0)));
        });
        assert_eq!(jobs.make(7, NEVER, work), Some(1), "nothing is kept here");
    }

    #[test]
    fn no_more_at_once_than_there_may_be() {
        let jobs = Jobs::new(2);
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_: &dyn Fn() -> bool| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(20));
            running.fetch_sub(1, Ordering::SeqCst);
            Some(())
        };
        thread::scope(|scope| {
            let all: Vec<_> = (0..6)
                .map(|n| {
                    scope.spawn({
                        let jobs = &jobs;
                        move || jobs.make(n, NEVER, work)
                    })
                })
                .collect();
            assert!(all.into_iter().all(|made| made.join().unwrap().is_some()));
        });
        assert_eq!(most.into_inner(), 2);
    }

    /// Works until nobody waits any more.
    fn endless(is_wanted: &dyn Fn() -> bool) -> Option<()> {
        while is_wanted() {
            thread::sleep(Duration::from_millis(5));
        }
        None
    }

    #[test]
    fn what_nobody_waits_for_is_given_up() {
        let jobs = Jobs::new(1);
        let is_overtaken = AtomicBool::new(false);
        let overtaken = || is_overtaken.load(Ordering::SeqCst);
        let began = Instant::now();
        thread::scope(|scope| {
            let endless_one = scope.spawn(|| jobs.make(1, &overtaken, endless));
            // This one waits for the other's permit, then does its own.
            thread::sleep(Duration::from_millis(20));
            let other = scope.spawn(|| jobs.make(2, NEVER, |_| Some(())));
            is_overtaken.store(true, Ordering::SeqCst);
            assert_eq!((endless_one.join().unwrap(), other.join().unwrap()), (None, Some(())));
        });
        assert!(began.elapsed() >= GRACE && began.elapsed() < 5 * GRACE, "{:?}", began.elapsed());
    }

    #[test]
    fn what_a_newer_load_waits_for_goes_on() {
        let jobs = Jobs::new(1);
        let is_overtaken = AtomicBool::new(false);
        let overtaken = || is_overtaken.load(Ordering::SeqCst);
        let (finish, finished) = channel();
        thread::scope(|scope| {
            let work = move |is_wanted: &dyn Fn() -> bool| {
                while finished.try_recv().is_err() {
                    if !is_wanted() {
                        return None;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                Some(9)
            };
            let (jobs, overtaken) = (&jobs, &overtaken);
            let older = scope.spawn(move || jobs.make(1, overtaken, work));
            thread::sleep(Duration::from_millis(50));
            is_overtaken.store(true, Ordering::SeqCst);
            let newer = scope.spawn(|| jobs.make(1, NEVER, |_| panic!("the other one does it")));
            // Another that is overtaken while it waits ends without it.
            assert_eq!(jobs.make(1, &|| true, |_| panic!("as before")), None);
            thread::sleep(GRACE + Duration::from_millis(300));
            finish.send(()).unwrap();
            assert_eq!((older.join().unwrap(), newer.join().unwrap()), (Some(9), Some(9)));
        });
    }

    #[test]
    fn a_panic_ends_its_job() {
        let jobs = Jobs::<_, ()>::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            jobs.make(1, NEVER, |_| panic!("of this test"))
        }));
        assert!(panicked.is_err());
        assert_eq!(jobs.make(1, NEVER, |_| Some(())), Some(()));
    }
}
