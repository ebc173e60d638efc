//! Reload: prepares the next generation off the packet path, and off the main loop.
//!
//! Each preparation has a thread of its own. Reading a file may hang, and so may the compiler; then the next one begins in parallel, and the
//! result of the older is dropped once a newer one is there.

mod pace;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use postern_config::{Advice, Config, Door, Mistake, Mistakes, ProgramAdvice, RuleFile};
use postern_core::{ModuleDigest, ModuleSource, Observer, Phase, Release, Report, RuleId, TenantId, What};
use postern_sandbox::{Generation, Loader, Patience, Runtime};
use tokio::time::Instant;

use crate::assemble::{Assembled, RefusedTenant, RunningRules, assemble};
use crate::clock::until;
use crate::effects::ServiceStatus;
use crate::guarding::{ReadAs, ReleaseTimer};
use crate::main_loop_event::{MainLoopEvent, MainLoopSender, Prepared};
use crate::origin::{NumberedReading, Origin, Preparation};
use crate::patience::{MOST_STUCK, SLOW, TOLD_EVERY, report_slow};
use crate::signals::Hangups;
use crate::state;
use crate::watch::{FileOwner, Noticed};
use pace::Pace;

/// How long a rule whose file is gone may wait for the preparation that withdraws it, and how often its file is looked for meanwhile.
const WITHDRAWN: Duration = Duration::from_secs(1);

/// How long after a preparation that had no time for all rules of a tenant the next begins, which goes on with them: such a tenant may have
/// thousands, and would else keep a processor busy.
const UNFINISHED: Duration = Duration::from_secs(1);

/// Prepares generations when files change or a signal asks for it.
pub(crate) struct Reloads {
    origin: Arc<dyn Origin>,
    loader: Arc<Loader>,
    noticed: Arc<Noticed>,
    sender: MainLoopSender,
    observer: Arc<dyn Observer>,
    status: Arc<dyn ServiceStatus>,
    pace: Pace,
    /// When ports are released.
    pub(crate) release_timer: ReleaseTimer,
    /// The doors that are in place.
    doors: BTreeMap<Arc<str>, Door>,
    /// The oldest first.
    under_way: Vec<Preparing>,
    /// How many have begun.
    begun: u64,
    /// The newest that has ended.
    come: u64,
    /// The newest that has ended has mistakes.
    is_refused: bool,
    /// Tenants whose rules it had not enough time for.
    trying: HashSet<TenantId>,
    /// What was said of programs that the configuration in force has run.
    said_of_programs: HashSet<Advice>,
    /// The engine has the journal; until then each preparation that needs one opens it.
    pub(crate) has_journal: bool,
    in_force: Option<Watched>,
}

/// A preparation under way.
struct Preparing {
    ticket: u64,
    began: Instant,
    preparation: Arc<dyn Preparation>,
    /// When to report what it waits for.
    tell_at: Instant,
    read: ReadAs,
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
        origin: Arc<dyn Origin>,
        loader: Loader,
        sender: MainLoopSender,
        observer: Arc<dyn Observer>,
        status: Arc<dyn ServiceStatus>,
    ) -> Self {
        let noticed = Arc::clone(origin.noticed());
        Self {
            origin,
            loader: Arc::new(loader),
            noticed,
            sender,
            observer,
            status,
            pace: Pace::default(),
            release_timer: ReleaseTimer::default(),
            doors: BTreeMap::new(),
            under_way: Vec::new(),
            begun: 0,
            come: 0,
            is_refused: false,
            trying: HashSet::new(),
            said_of_programs: HashSet::new(),
            has_journal: false,
            in_force: None,
        }
    }

    /// Waits for the next reason to do something about reloads, and does it. It never waits for a file, and is safe to cancel. The files of
    /// suspended rules are looked for until they are back.
    pub(crate) async fn turn(&mut self, hangup: &mut Hangups, is_any_suspended: bool) {
        self.look_as_needed(is_any_suspended);
        let has_room = self.under_way.len() <= MOST_STUCK;
        let due = self.pace.due().filter(|_| has_room);
        let tell_at = self.newest().map(|newest| newest.tell_at);
        let unfinished_at = self.noticed.patience();
        let look_at =
            self.in_force.as_ref().filter(|rules| !rules.is_looking).and_then(|rules| rules.look_at);
        tokio::select! {
            () = self.noticed.changed.notified() => {
                let owner = self.noticed.take_owner();
                if owner == FileOwner::Host {
                    self.release_timer.note_change();
                }
                self.pace.note_change(owner, Instant::now());
            }
            () = hangup.recv() => {
                self.observer.report(&Report::new(What::Hangup));
                self.ask_as_people_do();
            }
            // Its time is looked at anew.
            () = self.noticed.written.notified() => {}
            // It counts as changed then.
            () = until(unfinished_at) => self.noticed.give_up(Instant::now()),
            () = until(due) => self.begin(),
            () = until(tell_at) => self.report_slow(),
            () = until(look_at) => self.look(),
        }
    }

    /// Prepares at once, or as soon as that makes sense.
    pub(crate) fn ask(&mut self) {
        self.pace.ask(FileOwner::Host, Instant::now());
    }

    /// As [`Reloads::ask`], for somebody who means it: ports that nothing guards any more are released at once. The first ticket of a preparation that
    /// reads what the files say now.
    pub(crate) fn ask_as_people_do(&mut self) -> u64 {
        self.release_timer.ask();
        self.pace.ask(FileOwner::Host, Instant::now());
        self.begun + 1
    }

    /// Whether a file of the host is being written at this moment.
    pub(crate) fn is_being_written(&self) -> bool {
        self.noticed.is_host_being_written()
    }

    /// Takes what was prepared, and as what it was read; none if it was overtaken.
    pub(crate) fn accept(&mut self, mut prepared: Prepared) -> Option<(Prepared, ReadAs)> {
        let place = self.under_way.iter().position(|preparing| preparing.ticket == prepared.ticket)?;
        let Preparing { ticket, preparation, read, .. } = self.under_way.remove(place);
        if ticket == self.begun {
            self.pace.end();
        }
        let is_late = ticket < self.come;
        if is_late && self.is_refused {
            // A preparation that hung has ended. The newest may have been refused because of the files that it was reading.
            self.pace.ask(FileOwner::Tenant, Instant::now());
        }
        // A newer one will report the same mistakes, if they are still there.
        let is_told_by_another = preparation.is_overtaken() && prepared.generation.is_err();
        if is_late || is_told_by_another {
            return None;
        }
        self.come = ticket;
        if prepared.generation.is_err() {
            self.release_timer.doubt();
        }
        self.is_refused = prepared.generation.is_err() || !prepared.refused.is_empty();
        self.go_on_trying(&mut prepared.refused);
        if !prepared.refused.is_empty() && !self.is_in_force(prepared.before.as_ref()) {
            // What tenants were to go on with is not what runs any more.
            if read.is_asked {
                self.release_timer.ask();
            }
            // Nothing has changed that must not wait for what is under way.
            self.pace.ask(FileOwner::Tenant, Instant::now());
            return None;
        }
        if preparation.is_overtaken() {
            // As above; but what others change is in force until then.
            prepared.refused.clear();
        }
        Some((prepared, read))
    }

    /// Has those tenants whose rules were not all tried go on with them soon. What is said of each is said once.
    fn go_on_trying(&mut self, refused: &mut [RefusedTenant]) {
        let is_trying = |of: &RefusedTenant| of.untried > 0 && of.mistakes.iter().next().is_none();
        let before = mem::take(&mut self.trying);
        for of in refused.iter_mut().filter(|of| is_trying(of)) {
            of.is_told = before.contains(&of.tenant);
            self.trying.insert(of.tenant.clone());
        }
        if !self.trying.is_empty() {
            self.pace.ask(FileOwner::Tenant, Instant::now() + UNFINISHED);
        }
    }

    /// Whether something newer than the newest that has ended is being prepared.
    pub(crate) fn is_pending(&self) -> bool {
        self.newest().is_some()
    }

    /// This generation is in force from now on, with the rules of this configuration, whose doors are those of a table. Of refused tenants they
    /// are those that they had.
    pub(crate) fn in_force(
        &mut self,
        config: &Config,
        generation: &Arc<Generation>,
        table: u32,
        refused: &[RefusedTenant],
    ) {
        let is_kept = |tenant: &TenantId| refused.iter().any(|of| of.tenant == *tenant);
        let kept = config.rules.iter().filter(|rule| is_kept(&rule.id.tenant)).map(|rule| rule.number);
        let modules: HashSet<_> =
            generation.rules.iter().map(|rule| (rule.id.tenant.clone(), rule.module())).collect();
        let modules: Vec<_> = modules.into_iter().collect();
        self.origin.in_force(config, &modules, table, &kept.collect::<Vec<_>>());
        let before = self.in_force.as_ref().map(|before| &*before.rules.generation);
        report_loaded(&*self.observer, config, generation, before);
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

    /// What is to be said of programs by now: of each once until something else is to be said of it. None if nobody knows.
    pub(crate) fn news_of_programs(&mut self, programs: Option<Vec<ProgramAdvice>>) -> Vec<Advice> {
        let Some(programs) = programs else { return Vec::new() };
        let now = programs.iter().map(|program| program.about.clone()).collect();
        let before = mem::replace(&mut self.said_of_programs, now);
        let news = programs.into_iter().filter(|program| !before.contains(&program.about));
        news.map(Advice::from).collect()
    }

    /// The doors of a configuration that was read so are in place.
    pub(crate) fn in_place(&mut self, config: &Config, read: ReadAs, release: Release) {
        let is_same = self.doors == config.doors;
        self.release_timer.in_place(read, release, is_same, Instant::now());
        if !is_same {
            self.doors.clone_from(&config.doors);
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
        let read = self.release_timer.begin();
        self.pace.begin(now);
        self.begun += 1;
        self.under_way.iter().for_each(|older| older.preparation.overtake());
        let ticket = self.begun;
        // The files on which the others hang are not read.
        let preparation = self.origin.prepare(ticket, self.under_way.len() >= MOST_STUCK);
        let tell_at = now + SLOW;
        let preparing =
            Preparing { ticket, began: now, preparation: Arc::clone(&preparation), tell_at, read };
        self.under_way.push(preparing);
        if self.in_force.is_some() {
            self.status.reloading();
        }
        let (origin, loader) = (Arc::clone(&self.origin), Arc::clone(&self.loader));
        let (sender, has_journal, is_start) =
            (self.sender.clone(), self.has_journal, self.in_force.is_none());
        let before = self.in_force.as_ref().map(|watched| Arc::clone(&watched.rules));
        let work = move || {
            let mut prepared = prepare(&*origin, &*preparation, ticket, &loader, before, Patience::OfReload);
            if let (Some(config), Ok(_)) = (&prepared.config, &prepared.generation) {
                // Here, where a disk that hangs holds up nothing else.
                prepared.programs = origin.program_advice(ticket, config);
            }
            // What an earlier run left is taken over at the start; later only a configuration that needs a journal may wait for one.
            if let (false, Some(config), Ok(_)) = (has_journal, &prepared.config, &prepared.generation)
                && (is_start || config.has_commands())
            {
                prepared.state = preparation.open_journal(config);
            }
            // The thread is not joined: it may hang.
            let _ = sender.send(MainLoopEvent::Prepared(Box::new(prepared)));
        };
        let thread = thread::Builder::new().name("loader".to_owned()).stack_size(Runtime::STACK);
        if let Err(error) = thread.spawn(work) {
            self.observer.report(&Report::new(What::NoThread { error: error.to_string().into() }));
            self.under_way.pop();
            self.pace.end();
            self.pace.note_change(FileOwner::Host, now + SLOW);
        }
    }

    /// Reports what the newest waits for.
    fn report_slow(&mut self) {
        let is_last = self.under_way.len() > MOST_STUCK;
        let phase = if self.in_force.is_some() { Phase::Reload } else { Phase::Start };
        let Some(newest) = self.under_way.last_mut() else { return };
        newest.tell_at = Instant::now() + TOLD_EVERY;
        let began = (phase, newest.began);
        report_slow(&self.observer, began, &*newest.preparation, "starting rules".to_owned(), !is_last);
    }

    /// Starts a check which files of rules in force are gone.
    fn look(&mut self) {
        let Some(rules) = &mut self.in_force else { return };
        let (in_force, sender) = (Arc::clone(&rules.rules), self.sender.clone());
        let origin = Arc::clone(&self.origin);
        let work = move || drop(sender.send(MainLoopEvent::Withdrawn(origin.gone(&in_force.rules))));
        rules.look_at = Some(Instant::now() + WITHDRAWN);
        rules.is_looking = thread::Builder::new().name("looker".to_owned()).spawn(work).is_ok();
    }
}

/// Reports which rules run a module of a file that they did not run before.
fn report_loaded(
    observer: &dyn Observer,
    config: &Config,
    generation: &Generation,
    before: Option<&Generation>,
) {
    let modules = |of: &Generation| of.rules.iter().map(|rule| (rule.id.clone(), rule.module())).collect();
    let before: HashMap<RuleId, ModuleDigest> = before.map(modules).unwrap_or_default();
    let is_file = |rule: &&RuleFile| matches!(rule.module, ModuleSource::File(_));
    let of_files: HashSet<&RuleId> = config.rules.iter().filter(is_file).map(|rule| &rule.id).collect();
    for rule in generation.rules.iter().filter(|rule| of_files.contains(&rule.id)) {
        let module = rule.module();
        if before.get(&rule.id) != Some(&module) {
            let what = What::Loaded { module, signer: rule.signer().map(Into::into) };
            observer.report(&Report::of_rule(&rule.id, what));
        }
    }
}

/// Reads, checks, compiles and tries everything, as far as `patience` goes. A tenant with mistakes goes on with what it has in `before`, which is in force.
pub(crate) fn prepare(
    origin: &dyn Origin,
    preparation: &dyn Preparation,
    ticket: u64,
    loader: &Loader,
    before: Option<Arc<RunningRules>>,
    patience: Patience,
) -> Prepared {
    let NumberedReading { reading, numbers } = preparation.read();
    let folder = reading.config.as_ref().map(|config| config.rules_dir.clone());
    // What goes wrong there must not be waited for.
    let work = || assemble(reading, before.as_deref(), loader, preparation, patience);
    let assembled = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let what = "preparing the rules panicked; see the standard error".to_owned();
        let file = folder.unwrap_or_else(|| origin.facts().file.clone());
        let mistake = Mistake { file, line: None, key: String::new(), what };
        Assembled { config: None, generation: Err(Mistakes::new(vec![mistake])), refused: Vec::new() }
    });
    let Assembled { config, generation, refused } = assembled;
    let (programs, state) = (None, state::Opened::default());
    Prepared { ticket, config, numbers, generation, refused, before, programs, state }
}
