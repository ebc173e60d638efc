//! Reload: prepares the next generation off the packet path, and off the main loop.
//!
//! Each preparation has a thread of its own. Reading a file may hang, and so may the compiler; then the next one begins in parallel, and the
//! result of the older is dropped once a newer one is there.

mod pace;

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use postern_config::{Activity, Config, ConfigSource, Doing, Mistake, Mistakes};
use postern_core::{Observer, Phase, Release, Report, What};
use postern_sandbox::{Generation, Loader, Runtime};
use tokio::signal::unix::Signal;
use tokio::time::Instant;

use crate::assemble::{Assembled, RunningRules, assemble};
use crate::clock::until;
use crate::guarding::ReleaseTimer;
use crate::main_loop_event::{MainLoopEvent, MainLoopSender, Prepared};
use crate::state;
use crate::systemd::ServiceManager;
use crate::watch::{FileWatch, Noticed};
use pace::Pace;

/// How long a preparation may take before it is reported what it waits for, and after how long that is reported again.
pub(crate) const SLOW: Duration = Duration::from_secs(5);
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Most preparations that may hang at once. The next one does not read the files on which they hang; if it hangs as well, there is no further one.
const MOST_STUCK: usize = 4;
/// How long a rule whose file is gone may wait for the preparation that withdraws it, and how often its file is looked for meanwhile.
const WITHDRAWN: Duration = Duration::from_secs(1);
/// A configuration whose folders change while it is read is read again, but not for ever.
const READINGS: u32 = 3;

/// Prepares generations when files change or a signal asks for it.
pub(crate) struct Reloads {
    source: Arc<dyn ConfigSource>,
    loader: Arc<Loader>,
    watch: Option<Arc<FileWatch>>,
    noticed: Arc<Noticed>,
    sender: MainLoopSender,
    observer: Arc<dyn Observer>,
    pace: Pace,
    /// When ports are released.
    pub(crate) release_timer: ReleaseTimer,
    /// The oldest first.
    under_way: Vec<Preparing>,
    /// How many have begun.
    begun: u64,
    /// The newest that has ended.
    come: u64,
    /// The newest that has ended has mistakes.
    is_refused: bool,
    /// The engine has the journal; until then each preparation that needs one opens it.
    pub(crate) has_journal: bool,
    in_force: Option<Watched>,
}

/// A preparation under way.
struct Preparing {
    ticket: u64,
    began: Instant,
    activity: Activity,
    /// When to report what it waits for.
    tell_at: Instant,
    /// A signal asked for it, as it is now and as a whole.
    is_asked: bool,
}

/// The rules in force, and when to look whether their files are still there.
struct Watched {
    rules: Arc<RunningRules>,
    /// A check is under way. It may hang; then no other one begins.
    is_looking: bool,
    look_at: Option<Instant>,
}

impl Reloads {
    /// Prepares nothing yet.
    pub(crate) fn new(
        source: Arc<dyn ConfigSource>,
        loader: Loader,
        sender: MainLoopSender,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let noticed = Arc::new(Noticed::default());
        // A source that is not watched is reloaded by a signal only, as with knockd.
        let watch =
            source.watched().and_then(|_| FileWatch::start(&noticed, Arc::clone(&observer))).map(Arc::new);
        Self {
            source,
            loader: Arc::new(loader),
            watch,
            noticed,
            sender,
            observer,
            pace: Pace::default(),
            release_timer: ReleaseTimer::default(),
            under_way: Vec::new(),
            begun: 0,
            come: 0,
            is_refused: false,
            has_journal: false,
            in_force: None,
        }
    }

    /// Waits for the next reason to do something about reloads, and does it. It never waits for a file, and is safe to cancel. The files of
    /// suspended rules are looked for until they are back.
    pub(crate) async fn turn(&mut self, hangup: &mut Signal, is_any_suspended: bool) {
        self.look_as_needed(is_any_suspended);
        let has_room = self.under_way.len() <= MOST_STUCK;
        let due = self.pace.due().filter(|_| has_room);
        let tell_at = self.newest().map(|newest| newest.tell_at);
        let unfinished_at = self.noticed.patience();
        let look_at =
            self.in_force.as_ref().filter(|rules| !rules.is_looking).and_then(|rules| rules.look_at);
        tokio::select! {
            () = self.noticed.changed.notified() => {
                self.release_timer.note_change();
                self.pace.note_change(Instant::now());
            }
            Some(()) = hangup.recv() => {
                self.observer.report(&Report::new(What::Hangup));
                self.release_timer.ask();
                self.pace.ask(Instant::now());
            }
            // Its time is looked at anew.
            () = self.noticed.written.notified() => {}
            () = until(unfinished_at) => {
                self.noticed.give_up(Instant::now());
                self.release_timer.note_change();
                self.pace.note_change(Instant::now());
            }
            () = until(due) => self.begin(),
            () = until(tell_at) => self.report_slow(),
            () = until(look_at) => self.look(),
        }
    }

    /// Prepares at once, or as soon as that makes sense.
    pub(crate) fn ask(&mut self) {
        self.pace.ask(Instant::now());
    }

    /// Whether a file is being written at this moment.
    pub(crate) fn is_being_written(&self) -> bool {
        self.noticed.is_being_written()
    }

    /// Takes what was prepared, and whether a signal asked for it; none if it was overtaken.
    pub(crate) fn accept(&mut self, mut prepared: Prepared) -> Option<(Prepared, bool)> {
        let place = self.under_way.iter().position(|preparing| preparing.ticket == prepared.ticket)?;
        let Preparing { ticket, activity, is_asked, .. } = self.under_way.remove(place);
        if ticket == self.begun {
            self.pace.end();
        }
        let is_late = ticket < self.come;
        if is_late && self.is_refused {
            // A preparation that hung has ended. The newest may have been refused because of the files that it was reading.
            self.ask();
        }
        // A newer one will report the same mistakes, if they are still there.
        let is_told_by_another = activity.is_overtaken() && prepared.generation.is_err();
        if is_late || is_told_by_another {
            return None;
        }
        self.come = ticket;
        self.is_refused = prepared.generation.is_err() || !prepared.refused.is_empty();
        if !prepared.refused.is_empty() && !self.is_in_force(prepared.before.as_ref()) {
            // What tenants were to go on with is not what runs any more.
            if is_asked {
                self.release_timer.ask();
            }
            self.ask();
            return None;
        }
        if activity.is_overtaken() {
            // As above; but what others change is in force until then.
            prepared.refused.clear();
        }
        Some((prepared, is_asked))
    }

    /// Whether something newer than the newest that has ended is being prepared.
    pub(crate) fn is_pending(&self) -> bool {
        self.newest().is_some()
    }

    /// This generation is in force from now on, with the rules of this configuration.
    pub(crate) fn in_force(&mut self, config: &Config, generation: &Arc<Generation>) {
        let rules =
            Arc::new(RunningRules { rules: config.rules.clone(), generation: Arc::clone(generation) });
        let is_looking = self.in_force.as_ref().is_some_and(|rules| rules.is_looking);
        self.in_force = Some(Watched { rules, is_looking, look_at: None });
    }

    fn is_in_force(&self, rules: Option<&Arc<RunningRules>>) -> bool {
        match (&self.in_force, rules) {
            (Some(watched), Some(rules)) => Arc::ptr_eq(&watched.rules, rules),
            (None, None) => true,
            _ => false,
        }
    }

    /// A check which files are gone has ended.
    pub(crate) fn looked(&mut self) {
        if let Some(rules) = &mut self.in_force {
            rules.is_looking = false;
        }
    }

    /// The doors of a prepared configuration are in place. Ports are released only if no newer one is being prepared: it may guard them.
    pub(crate) fn in_place(&mut self, release: Release) {
        if self.is_pending() {
            self.release_timer.note_change();
        } else {
            self.release_timer.done(release, Instant::now());
        }
    }

    fn look_as_needed(&mut self, is_any_suspended: bool) {
        let is_pending = self.is_pending();
        if let Some(rules) = &mut self.in_force {
            let is_needed = is_pending || is_any_suspended;
            rules.look_at = is_needed.then(|| rules.look_at.unwrap_or_else(|| Instant::now() + WITHDRAWN));
        }
    }

    /// The newest that is under way; one that is older than the newest that has ended does not count.
    fn newest(&self) -> Option<&Preparing> {
        self.under_way.last().filter(|newest| newest.ticket > self.come)
    }

    fn begin(&mut self) {
        let now = Instant::now();
        let is_asked = self.release_timer.begin();
        self.pace.begin(now);
        self.begun += 1;
        self.under_way.iter().for_each(|older| older.activity.overtake());
        let activity = Activity::avoiding(self.avoided());
        let ticket = self.begun;
        let tell_at = now + SLOW;
        let preparing = Preparing { ticket, began: now, activity: activity.clone(), tell_at, is_asked };
        self.under_way.push(preparing);
        if self.in_force.is_some() {
            ServiceManager::of_this_process().reloading();
        }
        let (source, loader, watch) =
            (Arc::clone(&self.source), Arc::clone(&self.loader), self.watch.clone());
        let (sender, has_journal, is_start) =
            (self.sender.clone(), self.has_journal, self.in_force.is_none());
        let observer = Arc::clone(&self.observer);
        let before = self.in_force.as_ref().map(|watched| Arc::clone(&watched.rules));
        let work = move || {
            let watch = watch.as_deref();
            let mut prepared = prepare(&*source, ticket, &loader, &activity, watch, before, &*observer);
            // What an earlier run left is taken over at the start; later only a configuration that needs a journal may wait for one.
            if let (false, Some(config), Ok(_)) = (has_journal, &prepared.config, &prepared.generation)
                && (is_start || config.has_commands())
            {
                prepared.state = state::open(&*source, config, &activity, &observer);
            }
            // The thread is not joined: it may hang.
            let _ = sender.send(MainLoopEvent::Prepared(Box::new(prepared)));
        };
        let thread = thread::Builder::new().name("loader".to_owned()).stack_size(Runtime::STACK);
        if let Err(error) = thread.spawn(work) {
            self.observer.report(&Report::new(What::NoThread { error: error.to_string().into() }));
            self.under_way.pop();
            self.pace.end();
            self.pace.note_change(now + SLOW);
        }
    }

    /// The files that the next one does not read, since the others hang on them.
    fn avoided(&self) -> Vec<PathBuf> {
        if self.under_way.len() < MOST_STUCK {
            return Vec::new();
        }
        let doing: Vec<Doing> =
            self.under_way.iter().flat_map(|preparing| preparing.activity.doing()).collect();
        doing.iter().filter_map(Doing::reads).map(PathBuf::from).collect()
    }

    /// Reports what the newest waits for.
    fn report_slow(&mut self) {
        let is_last = self.under_way.len() > MOST_STUCK;
        let phase = if self.in_force.is_some() { Phase::Reload } else { Phase::Start };
        let Some(newest) = self.under_way.last_mut() else { return };
        let now = Instant::now();
        newest.tell_at = now + TOLD_EVERY;
        let doing: Vec<_> = newest.activity.doing().iter().take(3).map(ToString::to_string).collect();
        let detail = if doing.is_empty() { "starting rules".to_owned() } else { doing.join("; ") };
        let seconds = now.duration_since(newest.began).as_secs();
        let may_overtake = Some(!is_last);
        let what = What::Slow { phase, seconds, detail: detail.into(), may_overtake };
        self.observer.report(&Report::new(what));
    }

    /// Starts a check which files of rules in force are gone.
    fn look(&mut self) {
        let Some(rules) = &mut self.in_force else { return };
        let (in_force, sender) = (Arc::clone(&rules.rules), self.sender.clone());
        let work = move || {
            let is_gone = |file: &PathBuf| {
                let gone = [ErrorKind::NotFound, ErrorKind::NotADirectory];
                file.symlink_metadata().is_err_and(|error| gone.contains(&error.kind()))
            };
            let gone = in_force.rules.iter().filter(|rule| is_gone(&rule.file)).map(|rule| rule.id.clone());
            let _ = sender.send(MainLoopEvent::Withdrawn(gone.collect()));
        };
        rules.look_at = Some(Instant::now() + WITHDRAWN);
        rules.is_looking = thread::Builder::new().name("looker".to_owned()).spawn(work).is_ok();
    }
}

/// Reads, checks, compiles and tries everything. What it reads is watched from before it is read. A tenant with mistakes goes on with what it has
/// in `before`, which is in force.
pub(crate) fn prepare(
    source: &dyn ConfigSource,
    ticket: u64,
    loader: &Loader,
    activity: &Activity,
    watch: Option<&FileWatch>,
    before: Option<Arc<RunningRules>>,
    observer: &dyn Observer,
) -> Prepared {
    let watch = watch.and_then(|watch| Some((watch, source.watched()?)));
    if let Some((watch, file)) = watch {
        // Reading may hang; that the file is taken away then must be noticed.
        watch.precede(file, activity);
    }
    let mut reading = source.read(activity, observer);
    if let Some((watch, file)) = watch {
        for _ in 1..READINGS {
            // Even with mistakes: a module that is not there yet is a mistake until it is.
            if !watch.follow(file, &reading, activity) {
                break;
            }
            // It may have changed before it was watched.
            reading = source.read(activity, observer);
        }
    }
    let folder = reading.config.as_ref().map(|config| config.rules_dir.clone());
    // What goes wrong there must not be waited for.
    let work = || assemble(reading, before.as_deref(), loader, activity);
    let assembled = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let what = "preparing the rules panicked; see the standard error".to_owned();
        let file = folder.unwrap_or_else(|| source.file().to_owned());
        let mistake = Mistake { file, line: None, key: String::new(), what };
        Assembled { config: None, generation: Err(Mistakes::new(vec![mistake])), refused: Vec::new() }
    });
    let Assembled { config, generation, refused } = assembled;
    Prepared { ticket, config, generation, refused, before, state: state::Opened::default() }
}
