//! Patience: what may hang is done on other threads, and waited for where signals are handled. What takes long is reported, and a reading begins
//! anew if files change meanwhile: the operator may have taken away what it hangs on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::thread::Result as Caught;
use std::time::Duration;

use postern_core::{Observer, Phase, Report, What};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::clock::until;
use crate::origin::Preparation;
use crate::signals::{Hangups, StopSignals};
use crate::watch::Noticed;

/// How long something may take before it is reported what it waits for, and after how long that is reported again.
pub(crate) const SLOW: Duration = Duration::from_secs(5);
pub(crate) const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Most preparations that may hang at once. The next one does not read the files on which they hang; if it hangs as well, there is no further one.
pub(crate) const MOST_STUCK: usize = 4;

/// Has something done that may hang, which is reported if it does; the signal if one stops the daemon meanwhile.
pub(crate) async fn off_loop<T: Send + 'static>(
    stop: &mut StopSignals,
    observer: &dyn Observer,
    detail: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, i32> {
    let mut work = pin!(spawn_blocking(work));
    let mut patience = pin!(sleep(SLOW));
    let mut is_reported = false;
    loop {
        tokio::select! {
            done = &mut work => return Ok(done.unwrap_or_else(|error| resume_unwind(error.into_panic()))),
            signal = stop.recv() => return Err(signal),
            () = &mut patience, if !is_reported => {
                is_reported = true;
                let (phase, seconds) = (Phase::Start, SLOW.as_secs());
                let what = What::Slow { phase, seconds, detail: detail.into(), may_overtake: None };
                observer.report(&Report::new(what));
            }
        }
    }
}

/// Reports at what a preparation is that began then, perhaps later; `idle` if it says nothing of it.
pub(crate) fn report_slow(
    observer: &Arc<dyn Observer>,
    (phase, began): (Phase, Instant),
    preparation: &dyn Preparation,
    idle: String,
    may_overtake: bool,
) {
    let (observer, seconds) = (Arc::clone(observer), began.elapsed().as_secs());
    preparation.doing(Box::new(move |doing| {
        let detail = if doing.is_empty() { idle } else { doing[..doing.len().min(3)].join("; ") };
        let what = What::Slow { phase, seconds, detail: detail.into(), may_overtake: Some(may_overtake) };
        observer.report(&Report::new(what));
    }));
}

/// What is being done, and how.
pub(crate) type Step<T> = (Arc<dyn Preparation>, Box<dyn FnOnce() -> T + Send>);

/// A part of the configuration that is being read before anything runs. What was read last counts, and nothing that is older.
pub(crate) struct PatientReading<T> {
    /// Begins it; with `avoids`, without files on which others hang.
    begin: Box<dyn Fn(bool) -> Step<T>>,
    noticed: Arc<Noticed>,
    observer: Arc<dyn Observer>,
    /// What it is at if it says nothing of it.
    idle: String,
    ended: UnboundedReceiver<(u64, Caught<T>)>,
    end: UnboundedSender<(u64, Caught<T>)>,
    /// The oldest first.
    under_way: Vec<(u64, Arc<dyn Preparation>)>,
    /// How many have begun.
    begun: u64,
    began: Instant,
    tell_at: Instant,
}

impl<T: Send + 'static> PatientReading<T> {
    /// Begins; on the runtime.
    pub(crate) fn start(
        begin: impl Fn(bool) -> Step<T> + 'static,
        noticed: &Arc<Noticed>,
        observer: &Arc<dyn Observer>,
        idle: String,
    ) -> Self {
        let (end, ended) = unbounded_channel();
        let now = Instant::now();
        let mut reading = Self {
            begin: Box::new(begin),
            noticed: Arc::clone(noticed),
            observer: Arc::clone(observer),
            idle,
            ended,
            end,
            under_way: Vec::new(),
            begun: 0,
            began: now,
            tell_at: now,
        };
        reading.begin();
        reading
    }

    /// Waits until it is done; safe to cancel.
    pub(crate) async fn done(&mut self, hangup: &mut Hangups) -> Caught<T> {
        loop {
            let has_room = self.under_way.len() <= MOST_STUCK;
            tokio::select! {
                Some((serial, read)) = self.ended.recv() => {
                    self.under_way.retain(|(of, _)| *of != serial);
                    if serial == self.begun {
                        return read;
                    }
                }
                () = self.noticed.changed.notified(), if has_room => self.begin(),
                () = hangup.recv(), if has_room => {
                    self.observer.report(&Report::new(What::Hangup));
                    self.begin();
                }
                () = until(Some(self.tell_at)) => self.report_slow(),
            }
        }
    }

    fn begin(&mut self) {
        self.under_way.iter().for_each(|(_, older)| older.overtake());
        let (preparation, read) = (self.begin)(self.under_way.len() >= MOST_STUCK);
        self.begun += 1;
        self.began = Instant::now();
        self.tell_at = self.began + SLOW;
        self.under_way.push((self.begun, preparation));
        let (end, serial) = (self.end.clone(), self.begun);
        // Not joined: it may hang.
        drop(spawn_blocking(move || {
            let read = catch_unwind(AssertUnwindSafe(read));
            let _ = end.send((serial, read));
        }));
    }

    fn report_slow(&mut self) {
        self.tell_at = Instant::now() + TOLD_EVERY;
        let may_overtake = self.under_way.len() <= MOST_STUCK;
        if let Some((_, newest)) = self.under_way.last() {
            let began = (Phase::Start, self.began);
            report_slow(&self.observer, began, &**newest, self.idle.clone(), may_overtake);
        }
    }
}
