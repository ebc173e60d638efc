//! LocalOrigin: configurations from files of this process.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use postern_config::{
    Activity, Config, ConfigReading, ConfigSource, Doing, NoFiles, OneTime, ProcessUser, ProgramAdvice,
    RuleFile,
};
use postern_core::{GuardDoor, ModuleDigest, Observer, Report, RuleId, TenantId, What};
use postern_sandbox::CodeSource;
use postern_text::panic::PastPanic;

use super::presence::Presence;
use super::{NumberedReading, Origin, OriginFacts, Preparation, TellLines, mistake_of_strict};
use crate::advice::advice;
use crate::grant_files::GrantFiles;
use crate::module_code::CodeProvider;
use crate::readers::{Readers, TenantReadings};
use crate::state;
use crate::watch::{FileWatch, Noticed};

/// A configuration whose folders change while it is read is read again, but not for ever.
const READINGS: u32 = 3;

/// Where configurations come from that are in files of this process.
pub(crate) struct LocalOrigin {
    shared: Arc<Shared>,
    facts: OriginFacts,
    under_way: Mutex<Vec<Weak<LocalPreparation>>>,
}

struct Shared {
    source: Arc<dyn ConfigSource>,
    /// Reads the files of tenants with users of their own.
    readers: Arc<Readers>,
    presence: Presence,
    /// Given before anything is loaded.
    code: OnceLock<Arc<dyn CodeProvider>>,
    observer: Arc<dyn Observer>,
    noticed: Arc<Noticed>,
    /// Barriers whose want refuses a configuration that wants all.
    missing: OnceLock<Vec<String>>,
    /// Nothing if tenants are not told what they are granted.
    grants: OnceLock<GrantFiles>,
    /// None inside if nothing is or can be watched; begun with the first preparation.
    watch: OnceLock<Option<FileWatch>>,
}

/// A configuration that is being prepared from files of this process.
pub(crate) struct LocalPreparation {
    shared: Arc<Shared>,
    activity: Activity,
    /// Reads the files of tenants with users of their own.
    files: TenantReadings,
    /// Those that had begun when this one did.
    older: Vec<Weak<LocalPreparation>>,
}

/// What must be known before anything runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstLook {
    /// The guard doors as far as they can be read, whatever else is wrong.
    pub(crate) guards: Vec<GuardDoor>,
    /// As which user processes run, as far as it can be read.
    pub(crate) user: Option<ProcessUser>,
}

impl LocalOrigin {
    /// That of `source`, whose modules' code `code` provides; `observer` gets reports of what is left out of it, and of what cannot be watched. Nothing is read yet.
    pub(crate) fn new(
        source: Arc<dyn ConfigSource>,
        code: Arc<dyn CodeProvider>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let origin = Self::without_code(source, observer);
        origin.compile_by(code);
        origin
    }

    /// As [`LocalOrigin::new`], for a start: [`LocalOrigin::compile_by`] says before anything is loaded where code comes from.
    pub(crate) fn without_code(source: Arc<dyn ConfigSource>, observer: Arc<dyn Observer>) -> Self {
        let facts = OriginFacts::of(&*source);
        let (code, missing, watch) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let noticed: Arc<Noticed> = Arc::default();
        let readers = {
            let noticed = Arc::clone(&noticed);
            // Nothing changes when a disk answers again.
            Arc::new(Readers::new(Arc::clone(&observer), move || noticed.changed.notify_one()))
        };
        let presence = Presence::default();
        let grants = OnceLock::new();
        let shared =
            Arc::new(Shared { source, readers, presence, code, observer, noticed, missing, grants, watch });
        Self { shared, facts, under_way: Mutex::default() }
    }

    /// Code comes from there, if nothing was said before.
    pub(crate) fn compile_by(&self, code: Arc<dyn CodeProvider>) {
        let noticed = Arc::clone(&self.shared.noticed);
        code.tell_late(Box::new(move || noticed.changed.notify_one()));
        let _ = self.shared.code.set(code);
    }

    /// Refuses, from now on, configurations that want every barrier: these are missing.
    pub(crate) fn lacks(&self, missing: Vec<String>) {
        let _ = self.shared.missing.set(missing);
    }

    /// Has each tenant told what it is granted, from now on, if the source can have tenants.
    ///
    /// # Errors
    /// If there can be no thread for that.
    pub(crate) fn tell_tenants(&self) -> io::Result<()> {
        if self.shared.source.has_tenants() {
            let _ = self.shared.grants.set(GrantFiles::start(Arc::clone(&self.shared.observer))?);
        }
        Ok(())
    }

    /// This configuration is in force now, whose rules run these modules. Waits for nothing.
    pub(crate) fn note_in_force(&self, config: &Config, modules: &[(TenantId, ModuleDigest)]) {
        if let Some(code) = self.shared.code.get() {
            code.in_force(modules);
        }
        if let Some(grants) = self.shared.grants.get() {
            grants.write(config);
        }
    }

    /// As [`LocalOrigin::new`], for one that is read once: its files are not watched.
    pub(crate) fn unwatched(
        source: Arc<dyn ConfigSource>,
        code: Arc<dyn CodeProvider>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let origin = Self::new(source, code, observer);
        let _ = origin.shared.watch.set(None);
        origin
    }

    /// As [`Origin::prepare`].
    pub(crate) fn begin(&self, avoids: bool) -> Arc<LocalPreparation> {
        self.shared.watch.get_or_init(|| self.shared.start_watch());
        let mut under_way = self.under_way.lock().past_panic();
        under_way.retain(|preparation| preparation.strong_count() > 0);
        let avoided = if avoids { read_by(&under_way) } else { Vec::new() };
        let (shared, activity) = (Arc::clone(&self.shared), Activity::avoiding(avoided));
        let files = TenantReadings::new(Arc::clone(&shared.readers));
        let older = under_way.clone();
        let preparation = Arc::new(LocalPreparation { shared, activity, files, older });
        under_way.push(Arc::downgrade(&preparation));
        preparation
    }

    /// Which barriers are not around those who read tenants' files, in words; none if nothing was read by one yet.
    pub(crate) fn missing_around_readers(&self) -> Option<&[String]> {
        self.shared.readers.missing_barriers()
    }

    /// Which of these files of rules are not there any more. May never return.
    pub(crate) fn gone_of(&self, files: &[PathBuf]) -> Vec<bool> {
        self.shared.presence.gone(files, &TenantReadings::new(Arc::clone(&self.shared.readers)))
    }

    /// How many preparations read a file at this moment, or hang there.
    pub(crate) fn reading_now(&self) -> usize {
        let under_way = self.under_way.lock().past_panic();
        let reads = |preparation: &Arc<LocalPreparation>| {
            preparation.doing_now().iter().any(|doing| doing.reads().is_some())
        };
        under_way.iter().filter_map(Weak::upgrade).filter(reads).count()
    }

    /// Warnings about a configuration, a line each. May never return.
    pub(crate) fn advise(&self, config: &Config) -> Vec<String> {
        advice(&*self.shared.source, config)
    }

    /// Of these, those about programs. May never return.
    pub(crate) fn advise_of_programs(&self, config: &Config) -> Vec<ProgramAdvice> {
        self.shared.source.program_advice(config)
    }

    /// Uses a one-time sequence up. May never return.
    ///
    /// # Errors
    /// If that cannot be done, in words.
    pub(crate) fn use_up(&self, line: &OneTime) -> Result<(), String> {
        self.shared.source.claim(line)
    }
}

impl Origin for LocalOrigin {
    fn facts(&self) -> &OriginFacts {
        &self.facts
    }

    fn noticed(&self) -> &Arc<Noticed> {
        &self.shared.noticed
    }

    fn prepare(&self, _ticket: u64, avoids: bool) -> Arc<dyn Preparation> {
        self.begin(avoids)
    }

    fn advice(&self, _ticket: u64, config: &Config) -> Vec<String> {
        self.advise(config)
    }

    fn program_advice(&self, _ticket: u64, config: &Config) -> Option<Vec<ProgramAdvice>> {
        Some(self.advise_of_programs(config))
    }

    fn in_force(&self, config: &Config, modules: &[(TenantId, ModuleDigest)], _table: u32, _kept: &[u32]) {
        self.note_in_force(config, modules);
    }

    fn gone(&self, rules: &[RuleFile]) -> Option<HashSet<RuleId>> {
        let files: Vec<_> = rules.iter().map(|rule| rule.file.clone()).collect();
        let gone = rules.iter().zip(self.gone_of(&files)).filter(|(_, is_gone)| *is_gone);
        Some(gone.map(|(rule, _)| rule.id.clone()).collect())
    }

    fn claim(&self, _table: u32, _rule: u32, line: &OneTime) -> Result<(), String> {
        self.use_up(line)
    }
}

impl Shared {
    fn start_watch(&self) -> Option<FileWatch> {
        // A source that is not watched is reloaded by a signal only, as with knockd.
        self.source.watched()?;
        if let Err(error) = self.readers.watch(&self.noticed) {
            let error = error.to_string().into();
            self.observer.report(&Report::new(What::NotWatched { folder: None, error }));
        }
        FileWatch::start(&self.noticed, Arc::clone(&self.observer))
    }
}

impl LocalPreparation {
    /// Reads the configuration as it is now; what it reads is watched from before it is read. May never return.
    pub(crate) fn read_files(&self) -> ConfigReading {
        let Self { shared, activity, files, .. } = self;
        let Shared { source, readers, observer, watch, .. } = &**shared;
        let watch = watch.get().and_then(Option::as_ref);
        let watch = watch.and_then(|watch| Some((watch, source.watched()?)));
        self.precede();
        let mut reading = source.read(files, activity, &**observer);
        if let Some((watch, file)) = watch {
            for _ in 1..READINGS {
                // Even with mistakes: a module that is not there yet is a mistake until it is.
                if !watch.follow(file, &reading, activity) {
                    break;
                }
                // It may have changed before it was watched.
                reading = source.read(files, activity, &**observer);
            }
        }
        self.outdate_older();
        if let Some(config) = &reading.config {
            shared.presence.note(config);
            if !activity.is_overtaken() {
                readers.follow(config);
            }
        }
        if reading.config.as_ref().is_some_and(|config| config.sandbox.is_strict) {
            let missing = shared.missing.get().map_or(&[][..], Vec::as_slice);
            reading.mistakes.extend(mistake_of_strict(source.file(), missing));
        }
        reading
    }

    /// Reads what must be known before anything runs. Nothing is reported, for it will be read again. May never return.
    pub(crate) fn first_look(&self) -> FirstLook {
        self.precede();
        let source = &self.shared.source;
        // It must not be avoided by one that looks for guard doors: there would be none.
        let look = || Ok(FirstLook { guards: source.guards(), user: source.process_user() });
        self.activity.read(source.file(), look).unwrap_or_default()
    }

    /// Reads the configuration as it is now, but for the rules of tenants with users of their own; and reports nothing, for it will be read again.
    /// May never return.
    pub(crate) fn glance(&self) -> ConfigReading {
        self.precede();
        self.shared.source.read(&NoFiles, &self.activity, &())
    }

    /// Nobody waits any more for the modules that this one has.
    pub(crate) fn outdate(&self) {
        self.activity.outdate();
        self.files.forget();
    }

    /// Its modules have been loaded.
    pub(crate) fn settle(&self) {
        self.files.forget();
    }

    /// What is wanted now is known.
    fn outdate_older(&self) {
        self.older.iter().filter_map(Weak::upgrade).for_each(|older| older.outdate());
    }

    /// Watches what is about to be read: reading may hang, and that the file is taken away then must be noticed.
    fn precede(&self) {
        let Shared { source, watch, .. } = &*self.shared;
        if let (Some(Some(watch)), Some(file)) = (watch.get(), source.watched()) {
            watch.precede(file, &self.activity);
        }
    }

    /// What has begun and not ended, the oldest first.
    pub(crate) fn doing_now(&self) -> Vec<Doing> {
        self.activity.doing()
    }
}

impl Preparation for LocalPreparation {
    fn guards(&self) -> Vec<GuardDoor> {
        self.first_look().guards
    }

    fn read(&self) -> NumberedReading {
        NumberedReading { reading: self.read_files(), numbers: None }
    }

    fn code<'a>(&'a self, config: &'a Config) -> Box<dyn CodeSource + 'a> {
        let code = self.shared.code.get().expect("what is loaded is loaded after the start");
        code.code_of(config, &self.files, &self.activity)
    }

    fn open_journal(&self, config: &Config) -> state::Opened {
        state::open(&*self.shared.source, config, &self.activity, &self.shared.observer)
    }

    fn doing(&self, tell: TellLines) {
        tell(&self.doing_now().iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    fn overtake(&self) {
        self.activity.overtake();
    }

    fn is_overtaken(&self) -> bool {
        self.activity.is_overtaken()
    }
}

/// The files that are being read, and may hang.
fn read_by(under_way: &[Weak<LocalPreparation>]) -> Vec<PathBuf> {
    let doing = under_way.iter().filter_map(Weak::upgrade).flat_map(|preparation| preparation.doing_now());
    doing.filter_map(|doing| doing.reads().map(Path::to_owned)).collect()
}
