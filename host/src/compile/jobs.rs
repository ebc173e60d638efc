//! Jobs: what is being made, by at most as many threads at once as there are processors, in an order that is fair to its owners, and who waits
//! for each.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use postern_core::TenantId;
use postern_text::panic::PastPanic;

/// How often a load that waits checks whether it was overtaken, and a job whether anybody wants it.
const LOOK: Duration = Duration::from_millis(100);
/// For how long a job goes on that only overtaken loads wanted: a newer one may be about to ask for the same.
const GRACE: Duration = Duration::from_secs(2);
/// Most jobs of one owner that nobody waits for, and most results that nobody has asked for again.
const MOST_LATE: usize = 8;
const MOST_RESULTS: usize = 256;

/// Whether a load was overtaken.
pub(super) type IsOvertaken = Arc<dyn Fn() -> bool + Send + Sync>;
/// Makes something as long as somebody wants it; may be called again.
type Work<Made> = Box<dyn Fn(&dyn Fn() -> bool) -> Option<Made> + Send>;

/// A load that asks for something to be made, and waits for that.
pub(super) struct WaitingLoad {
    pub(super) owner: TenantId,
    pub(super) is_overtaken: IsOvertaken,
    /// Until when it waits; none: until it is made.
    pub(super) until: Option<Instant>,
}

/// What became of a job, as a load is told that waited for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JobOutcome<Made> {
    Made(Made),
    /// The load was overtaken before it was made.
    Overtaken,
    /// It is not made yet: it will be told, and what was made then is there to be asked for.
    Late,
}

/// Jobs under way, by what they make. Another handle is the same jobs.
pub(super) struct Jobs<Key, Made>(Arc<Shared<Key, Made>>);

struct Shared<Key, Made> {
    state: Mutex<State<Key, Made>>,
    /// Notified when a job has ended.
    ended: Condvar,
    /// Most threads at once; of those of one tenant one less, if there are several, so that none keeps all of them.
    most: usize,
    /// Called when something was made that a load had no patience for.
    tell_late: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct State<Key, Made> {
    /// Threads.
    running: usize,
    jobs: HashMap<Key, Job<Made>>,
    /// Those that have not begun, in the order in which they came.
    queue: VecDeque<(Key, Work<Made>)>,
    owners: HashMap<TenantId, OwnerUse>,
    /// What was made and not asked for since, the oldest first.
    results: VecDeque<(Key, Made)>,
}

struct Job<Made> {
    owner: TenantId,
    wanted_by: Vec<IsOvertaken>,
    /// How many wait for it.
    waiting: usize,
    /// Whether somebody had no patience for it.
    is_late: bool,
    /// What came of it; none inside if that is nothing.
    made: Option<Option<Made>>,
}

/// What an owner has of the threads.
#[derive(Default)]
struct OwnerUse {
    running: usize,
    /// Jobs that were begun since the queue was empty.
    begun: usize,
}

impl<Key: Copy + Eq + Hash + Send + 'static, Made: Clone + Send + 'static> Jobs<Key, Made> {
    pub(super) fn new(most: usize) -> Self {
        let state = State {
            running: 0,
            jobs: HashMap::new(),
            queue: VecDeque::new(),
            owners: HashMap::new(),
            results: VecDeque::new(),
        };
        let (state, most) = (Mutex::new(state), most.max(1));
        Self(Arc::new(Shared { state, ended: Condvar::new(), most, tell_late: OnceLock::new() }))
    }

    /// Has this called when something was made that a load had no patience for, if nothing was said before.
    pub(super) fn tell_late(&self, tell: Box<dyn Fn() + Send + Sync>) {
        let _ = self.0.tell_late.set(tell);
    }

    /// What is made for this key, by `work` unless that is under way already. `work` gets a function that says whether anybody still wants it, and
    /// answers none if it ended because nobody does.
    pub(super) fn make(
        &self,
        key: Key,
        load: WaitingLoad,
        work: impl Fn(&dyn Fn() -> bool) -> Option<Made> + Send + 'static,
    ) -> JobOutcome<Made> {
        let WaitingLoad { owner, is_overtaken, until } = load;
        let mut state = self.0.lock();
        if let Some(place) = state.results.iter().position(|(known, _)| *known == key)
            && let Some((_, made)) = state.results.remove(place)
        {
            return JobOutcome::Made(made);
        }
        // It is asked after this thread has gone, too.
        let wanted_by = Arc::clone(&is_overtaken);
        match state.jobs.get_mut(&key) {
            Some(job) => {
                job.wanted_by.push(wanted_by);
                job.waiting += 1;
            }
            None => {
                let late = state.jobs.values().filter(|job| job.owner == owner && job.is_late).count();
                if until.is_some_and(|until| until <= Instant::now()) && late >= MOST_LATE {
                    return JobOutcome::Late;
                }
                let job = Job { owner, wanted_by: vec![wanted_by], waiting: 1, is_late: false, made: None };
                state.jobs.insert(key, job);
                state.queue.push_back((key, Box::new(work)));
                if state.running < self.0.most {
                    state.running += 1;
                    let shared = Arc::clone(&self.0);
                    let thread = thread::Builder::new().name("compiling".to_owned());
                    if thread.spawn(move || shared.work()).is_err() {
                        // Then this one does it, and all that waits with it.
                        drop(state);
                        Arc::clone(&self.0).work();
                        state = self.0.lock();
                    }
                }
            }
        }
        self.0.wait_for(state, key, until, &*is_overtaken)
    }
}

impl<Key: Copy + Eq + Hash, Made: Clone> Shared<Key, Made> {
    fn lock(&self) -> MutexGuard<'_, State<Key, Made>> {
        self.state.lock().past_panic()
    }

    fn wait_for<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<Key, Made>>,
        key: Key,
        until: Option<Instant>,
        is_overtaken: &dyn Fn() -> bool,
    ) -> JobOutcome<Made> {
        loop {
            let Some(job) = state.jobs.get_mut(&key) else { return JobOutcome::Overtaken };
            let asked = match job.made.clone() {
                Some(Some(made)) => JobOutcome::Made(made),
                Some(None) => JobOutcome::Overtaken,
                None if is_overtaken() => JobOutcome::Overtaken,
                None if until.is_some_and(|until| until <= Instant::now()) => {
                    job.is_late = true;
                    JobOutcome::Late
                }
                None => {
                    let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()));
                    state = self.ended.wait_timeout(state, left.min(LOOK)).past_panic().0;
                    continue;
                }
            };
            job.waiting -= 1;
            if job.made.is_some() && job.waiting == 0 {
                state.jobs.remove(&key);
            }
            return asked;
        }
    }

    /// Does what waits to be done, until nothing more may begin.
    fn work(&self) {
        let mut state = self.lock();
        while let Some((key, owner, work)) = state.begin_next(self.most) {
            drop(state);
            let unwanted_since = Mutex::new(None::<Instant>);
            let is_wanted = || {
                let mut since = unwanted_since.lock().past_panic();
                if self.lock().is_wanted(&key) {
                    *since = None;
                    return true;
                }
                since.get_or_insert_with(Instant::now).elapsed() < GRACE
            };
            // A job's panic is its own.
            let made = catch_unwind(AssertUnwindSafe(|| work(&is_wanted)));
            state = self.lock();
            let is_late = match made {
                Ok(None) if state.is_wanted(&key) => state.put_back(key, &owner, work),
                made => state.end(key, &owner, made.unwrap_or(None)),
            };
            self.ended.notify_all();
            if is_late && let Some(tell) = self.tell_late.get() {
                drop(state);
                tell();
                state = self.lock();
            }
        }
        state.running -= 1;
    }
}

impl<Key: Copy + Eq + Hash, Made: Clone> State<Key, Made> {
    /// Whether anybody wants this.
    fn is_wanted(&self, key: &Key) -> bool {
        self.jobs.get(key).is_some_and(|job| job.wanted_by.iter().any(|is_overtaken| !is_overtaken()))
    }

    /// Takes the next job out of the queue: of the owner that has begun fewest, and of its jobs the first. None if each that waits is of a tenant
    /// that has as many threads as it may.
    fn begin_next(&mut self, most: usize) -> Option<(Key, TenantId, Work<Made>)> {
        let Self { jobs, queue, .. } = self;
        queue.retain(|(key, _)| {
            let Some(job) = jobs.get_mut(key) else { return false };
            let is_wanted = job.wanted_by.iter().any(|is_overtaken| !is_overtaken());
            if !is_wanted {
                job.made = Some(None);
                if job.waiting == 0 {
                    jobs.remove(key);
                }
            }
            is_wanted
        });
        let most_of_one = most.saturating_sub(1).max(1);
        let rank = |(key, _): &(Key, Work<Made>)| {
            let owner = &self.jobs.get(key)?.owner;
            let (running, begun) = self.owners.get(owner).map_or((0, 0), |of| (of.running, of.begun));
            (owner.is_host() || running < most_of_one).then_some(if owner.is_host() { 0 } else { begun + 1 })
        };
        let ranked = self.queue.iter().enumerate().filter_map(|(place, entry)| Some((rank(entry)?, place)));
        let (_, place) = ranked.min()?;
        let (key, work) = self.queue.remove(place)?;
        let owner = self.jobs.get(&key)?.owner.clone();
        let of = self.owners.entry(owner.clone()).or_default();
        of.running += 1;
        of.begun += 1;
        Some((key, owner, work))
    }

    /// Somebody came who wants a job when it had been given up: it is done once more.
    fn put_back(&mut self, key: Key, owner: &TenantId, work: Work<Made>) -> bool {
        if let Some(of) = self.owners.get_mut(owner) {
            of.running -= 1;
        }
        self.queue.push_back((key, work));
        false
    }

    /// Notes what came of a job; whether somebody who does not wait any more is to be told.
    fn end(&mut self, key: Key, owner: &TenantId, made: Option<Made>) -> bool {
        if let Some(of) = self.owners.get_mut(owner) {
            of.running -= 1;
        }
        if self.queue.is_empty() {
            self.owners.retain(|_, of| of.running > 0);
            self.owners.values_mut().for_each(|of| of.begun = 0);
        }
        let Some(job) = self.jobs.get_mut(&key) else { return false };
        let is_late = job.is_late;
        job.made = Some(made.clone());
        if job.waiting == 0 {
            self.jobs.remove(&key);
        }
        let Some(made) = made.filter(|_| is_late) else { return false };
        if self.results.len() == MOST_RESULTS {
            self.results.pop_front();
        }
        self.results.push_back((key, made));
        // One telling for all of an owner, when the last of them is there.
        !self.jobs.values().any(|job| job.owner == *owner && job.is_late && job.made.is_none())
    }
}

#[cfg(test)]
mod tests;
