//! ReadingService: the supervisor's end of everything that an engine asks about configurations.
//!
//! It reads them, numbers their doors and rules, and gives the processes that keep doors their tables before the engine hears of them. It
//! outlives engines, so no number is ever given twice, and what hangs while one engine asks for it is known to the next.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use postern_config::{Config, OneTime};
use postern_link::{Reply, Talk, serve};
use postern_sandbox::{CodeSource, FoundModule, LoadError, ModuleDigest};
use postern_text::panic::PastPanic;

use super::config_table::{ConfigTable, TableHolders};
use super::files_notices::FilesNotices;
use super::module_answers::with_code;
use super::permits::{Permit, Permits};
use super::reading_messages::{
    MOST_RANGES, MOST_REQUEST, ModuleAnswer, ReadingAnswer, ReadingRequest, as_place,
};
use super::rule_numbers::RuleNumbers;
use super::running_modules::RunningModules;
use crate::origin::{
    LocalOrigin, LocalPreparation, NumberedReading, Numbers, Origin as _, OriginFacts, Preparation as _,
    mistake_of_strict,
};
use crate::pace::Pace;
use crate::patience::MOST_STUCK;
use crate::plan::DoorNumbers;

/// How long an engine may take nothing of what it asked for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most requests of one engine that are worked on at once: a disk may hang.
const MOST_REQUESTS: usize = 128;
/// Most of all engines, those that are dead included.
const MOST_OF_ALL: usize = 4 * MOST_REQUESTS;
/// How often a configuration is read, however often an engine asks; and code made anew, which takes processors for seconds.
const READS: Pace = Pace::per_second(50, 500);
const MADE_ANEW: Pace = Pace::per_second(2, 2000);
/// Most of them that read configurations for one engine, as many as it would ask for.
const MOST_UNDER_WAY: usize = MOST_STUCK + 1;
/// Most readings of one engine that are kept: those that may hang, the newest, and the one in force.
const MOST_READINGS: usize = MOST_UNDER_WAY + 3;

/// Serves configurations to one engine after the other.
pub(crate) struct ReadingService {
    origin: Arc<LocalOrigin>,
    facts: OriginFacts,
    holders: Arc<dyn TableHolders>,
    state: Mutex<State>,
    requests: Permits,
    /// Which barriers are missing around processes.
    missing: MissingBarriers,
    /// Of readings, and of code that is made anew; of all engines together.
    paces: Mutex<(Pace, Pace)>,
}

/// Which barriers are missing around the daemon's processes, as far as known, a line each.
pub(crate) type MissingBarriers = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// Finds the module of a rule.
type FindModule<'a> = &'a dyn Fn() -> Result<Box<dyn FoundModule + 'a>, LoadError>;

#[derive(Default)]
struct State {
    doors: DoorNumbers,
    rules: RuleNumbers,
    last_table: u32,
    /// Whether any configuration has been in force.
    has_run: bool,
    /// Which engine is served, from 1 on.
    engine: u64,
    /// How many configurations are being read for it.
    under_way: Permits,
    /// How many requests of it are worked on.
    requests: Permits,
    /// Of that engine, by ticket.
    readings: BTreeMap<u64, Reading>,
    /// The ticket of what is in force, and the ranges of rules that it has besides those that were read for it.
    in_force: Option<(u64, Vec<(u32, u32)>)>,
    /// The modules of the rules that are in force, or were for the engine before.
    running: RunningModules,
    /// What its files are watched by ends with the engine.
    notices: Option<FilesNotices>,
}

struct Reading {
    /// Its number, whether it gets a table or not.
    table: u32,
    preparation: Arc<LocalPreparation>,
    /// As it was read, if it was.
    config: Option<Arc<Config>>,
    /// If it can be put in place.
    doors: Option<Arc<ConfigTable>>,
    /// Which modules its rules run, by the rules' places, as far as that was asked for.
    modules: HashMap<u32, ModuleDigest>,
}

impl ReadingService {
    /// Serves the configurations of `origin`, whose guard doors are in place already if `guarded` says whether there are any. `holders` are given
    /// each table; what is `missing` refuses a configuration that wants every barrier, once one has been in force. There is no engine yet.
    pub(crate) fn start(
        origin: Arc<LocalOrigin>,
        guarded: Option<bool>,
        holders: Arc<dyn TableHolders>,
        missing: MissingBarriers,
    ) -> Arc<Self> {
        let facts = OriginFacts { guarded, ..origin.facts().clone() };
        Arc::new(Self {
            origin,
            facts,
            missing,
            holders,
            state: Mutex::default(),
            requests: Permits::default(),
            paces: Mutex::new((READS, MADE_ANEW)),
        })
    }

    /// Serves another engine from now on, at the other end of `talk`, and no other. It ends when that does.
    ///
    /// # Errors
    /// If there can be no thread, or too many files are open.
    pub(crate) fn attach(self: &Arc<Self>, talk: Talk) -> io::Result<()> {
        let (sender, receiver) = talk.split(Some(PATIENCE))?;
        let engine = {
            let mut state = self.lock();
            state.engine += 1;
            state.in_force = None;
            state.under_way = Permits::default();
            state.requests = Permits::default();
            std::mem::take(&mut state.readings).into_values().for_each(|before| {
                before.preparation.overtake();
                before.preparation.outdate();
            });
            // The one before ends first, so that it takes no notice that is for this engine.
            state.notices = None;
            let noticed = Arc::clone(self.origin.noticed());
            state.notices = Some(FilesNotices::start(noticed, sender.clone())?);
            state.engine
        };
        let service = Arc::clone(self);
        thread::Builder::new().name("readings".to_owned()).spawn(move || {
            // If the engine sent what is no request it has lost its talk, and ends.
            let _ = serve(&sender, receiver, MOST_REQUEST, |request, reply| {
                service.take(engine, request, reply);
            });
        })?;
        Ok(())
    }

    /// Answers a request, or has a thread answer it.
    fn take(self: &Arc<Self>, engine: u64, request: ReadingRequest, reply: Reply) {
        let answer = match request {
            ReadingRequest::Facts => ReadingAnswer::Facts(self.facts.clone()),
            ReadingRequest::InForce { table, kept } => return self.note_in_force(engine, table, kept),
            ReadingRequest::Doing { ticket } => ReadingAnswer::Lines(self.doing(engine, ticket)),
            ReadingRequest::Read { ticket, avoids } => match self.begin(engine, ticket, avoids) {
                Ok((preparation, permit)) => {
                    let pause = self.paces.lock().past_panic().0.take(1, Instant::now());
                    return self.work(engine, reply, move |service| {
                        let _permit = permit;
                        thread::sleep(pause);
                        (ReadingAnswer::Reading(Box::new(service.read(engine, ticket, &preparation))), None)
                    });
                }
                Err(why) => ReadingAnswer::Refused(why),
            },
            // Each of these may hang.
            ReadingRequest::FindModule { ticket, place } => {
                return self.work(engine, reply, move |service| {
                    service.module(engine, ticket, place, |_, find| {
                        let module = find()?;
                        let (digest, signer) = (module.digest(), module.signer());
                        service.note_module(engine, ticket, place, digest);
                        Ok((ModuleAnswer::Found { digest, signer }, None))
                    })
                });
            }
            ReadingRequest::Code { anew: true, .. } if !self.may_make_anew() => {
                ReadingAnswer::Refused("too much code was made anew".to_owned())
            }
            ReadingRequest::Code { ticket, place, anew } => {
                return self.work(engine, reply, move |service| {
                    // What was read a moment ago is not read again if what it is suffices.
                    let found = service.found(engine, ticket, place).filter(|_| !anew);
                    service.module(engine, ticket, place, |code, find| {
                        match found.and_then(|digest| Some((digest, code.kept(as_place(place), digest)?))) {
                            Some((digest, kept)) => with_code(digest, kept),
                            None => find().and_then(|module| with_code(module.digest(), module.code(anew)?)),
                        }
                    })
                });
            }
            ReadingRequest::Journal { ticket } => {
                return self.work(engine, reply, move |service| (service.journal(engine, ticket), None));
            }
            ReadingRequest::Advice { ticket } => {
                return self.work(engine, reply, move |service| (service.advice(engine, ticket), None));
            }
            ReadingRequest::ProgramAdvice { ticket } => {
                return self
                    .work(engine, reply, move |service| (service.program_advice(engine, ticket), None));
            }
            ReadingRequest::Gone => {
                return self
                    .work(engine, reply, move |service| (ReadingAnswer::Gone(service.gone(engine)), None));
            }
            ReadingRequest::Claim { table, rule } => {
                return self.work(engine, reply, move |service| (service.claim(engine, table, rule), None));
            }
        };
        reply.send(&answer, &[]);
    }

    /// Answers on a thread of its own, with a descriptor perhaps. The thread is not joined: it may hang.
    fn work(
        self: &Arc<Self>,
        engine: u64,
        reply: Reply,
        work: impl FnOnce(&Self) -> (ReadingAnswer, Option<OwnedFd>) + Send + 'static,
    ) {
        let permits = {
            let state = self.lock();
            let of_engine = (state.engine == engine).then(|| state.requests.take(MOST_REQUESTS)).flatten();
            of_engine.zip(self.requests.take(MOST_OF_ALL))
        };
        let Some(permits) = permits else {
            let why = format!("{MOST_REQUESTS} requests are being worked on; a disk may hang");
            return reply.send(&ReadingAnswer::Refused(why), &[]);
        };
        let service = Arc::clone(self);
        let work = move || {
            let _permits = permits;
            let (answer, descriptor) = work(&service);
            let descriptors: Vec<_> = descriptor.iter().map(OwnedFd::as_fd).collect();
            reply.send(&answer, &descriptors);
        };
        // Without a thread the reply is dropped, which the engine is told.
        drop(thread::Builder::new().name("reading".to_owned()).spawn(work));
    }

    /// Whether code may be made anew once more.
    fn may_make_anew(&self) -> bool {
        let (_, pace) = &mut *self.paces.lock().past_panic();
        pace.try_take(Instant::now())
    }

    fn begin(
        &self,
        engine: u64,
        ticket: u64,
        avoids: bool,
    ) -> Result<(Arc<LocalPreparation>, Permit), String> {
        let mut state = self.lock();
        let is_newest = state.readings.last_key_value().is_none_or(|(newest, _)| *newest < ticket);
        if state.engine != engine || !is_newest {
            return Err("a newer configuration is being read".to_owned());
        }
        let hang = || format!("{MOST_UNDER_WAY} readings of it hang");
        let permit = state.under_way.take(MOST_UNDER_WAY).ok_or_else(hang)?;
        let table = state.last_table.checked_add(1).ok_or("there are no more numbers; restart the daemon")?;
        state.last_table = table;
        state.readings.values().for_each(|older| older.preparation.overtake());
        // Those for engines before may hang as well.
        let preparation = self.origin.begin(avoids || self.origin.reading_now() >= MOST_STUCK);
        let reading = Reading {
            table,
            preparation: Arc::clone(&preparation),
            config: None,
            doors: None,
            modules: HashMap::new(),
        };
        state.readings.insert(ticket, reading);
        state.bound();
        Ok((preparation, permit))
    }

    /// Reads a configuration, and gives its table to those who must have it before the engine.
    fn read(&self, engine: u64, ticket: u64, preparation: &LocalPreparation) -> NumberedReading {
        let mut reading = preparation.read_files();
        let has_run = self.lock().has_run;
        if has_run && reading.config.as_ref().is_some_and(|config| config.sandbox.is_strict) {
            reading.mistakes.extend(mistake_of_strict(&self.facts.file, &(self.missing)()));
        }
        let mut state = self.lock();
        let State { doors, rules, readings, .. } = &mut *state;
        let held = readings.get_mut(&ticket);
        let (Some(config), Some(held)) = (&mut reading.config, held) else {
            return NumberedReading { reading, numbers: None };
        };
        for rule in &mut config.rules {
            rule.number = rules.number(&rule.id, &rule.file).unwrap_or(0);
        }
        let table = reading.mistakes.is_empty().then(|| {
            let numbers = doors.of(config);
            let by_number =
                config.doors.values().filter_map(|door| Some((*numbers.get(&door.name)?, door.clone())));
            let table = ConfigTable {
                number: held.table,
                doors: by_number.collect(),
                rules: rules.names(),
                longest: config.longest,
                max_openings: config.max_openings,
            };
            (Arc::new(table), numbers)
        });
        held.config = Some(Arc::new(config.clone()));
        held.doors = table.as_ref().map(|(table, _)| Arc::clone(table));
        let is_served = state.engine == engine;
        drop(state);
        let numbers = table.filter(|_| is_served).map(|(table, doors)| {
            self.holders.give(&table);
            Numbers { table: table.number, doors }
        });
        NumberedReading { reading, numbers }
    }

    fn doing(&self, engine: u64, ticket: u64) -> Vec<String> {
        let preparation = self.of_ticket(engine, ticket, |reading| Some(Arc::clone(&reading.preparation)));
        let doing = preparation.map(|preparation| preparation.doing_now());
        doing.into_iter().flatten().map(|doing| doing.to_string()).collect()
    }

    /// Which module the rule at this place was found to run.
    fn found(&self, engine: u64, ticket: u64, place: u32) -> Option<ModuleDigest> {
        self.of_ticket(engine, ticket, |reading| reading.modules.get(&place).copied())
    }

    fn note_module(&self, engine: u64, ticket: u64, place: u32, digest: ModuleDigest) {
        let mut state = self.lock();
        if state.engine == engine
            && let Some(reading) = state.readings.get_mut(&ticket)
        {
            reading.modules.insert(place, digest);
        }
    }

    /// Answers something about the module of a rule; `answer` gets what finds it.
    fn module(
        &self,
        engine: u64,
        ticket: u64,
        place: u32,
        answer: impl FnOnce(&dyn CodeSource, FindModule<'_>) -> Result<(ModuleAnswer, Option<OwnedFd>), LoadError>,
    ) -> (ReadingAnswer, Option<OwnedFd>) {
        let found = self.of_ticket(engine, ticket, |reading| {
            Some((Arc::clone(&reading.preparation), Arc::clone(reading.config.as_ref()?)))
        });
        let place = as_place(place);
        let Some((preparation, config)) = found else { return (unknown(), None) };
        let Some(rule) = config.rules.get(place) else { return (unknown(), None) };
        let is_strict = config.sandbox.is_strict;
        let code = preparation.code(&config);
        let (answer, descriptor) = answer(&*code, &|| code.find(place, &rule.module))
            .and_then(|answer| if is_strict { self.held_strictly(answer) } else { Ok(answer) })
            .unwrap_or_else(|error| (error.into(), None));
        (ReadingAnswer::Module(answer), descriptor)
    }

    /// Refuses what was compiled without a barrier: until then no compiler has said what is missing.
    fn held_strictly<T>(&self, answer: T) -> Result<T, LoadError> {
        match mistake_of_strict(&self.facts.file, &(self.missing)()) {
            Some(mistake) => Err(LoadError::File(format!("is not run: {}: {}", mistake.key, mistake.what))),
            None => Ok(answer),
        }
    }

    fn journal(&self, engine: u64, ticket: u64) -> ReadingAnswer {
        let Some(table) = self.of_ticket(engine, ticket, |reading| reading.doors.clone()) else {
            return unknown();
        };
        match self.holders.open_journal(&table) {
            Ok(is_there) => ReadingAnswer::Journal { is_there, error: None },
            Err(error) => ReadingAnswer::Journal { is_there: false, error: Some(error) },
        }
    }

    fn advice(&self, engine: u64, ticket: u64) -> ReadingAnswer {
        match self.of_ticket(engine, ticket, |reading| reading.config.clone()) {
            Some(config) => ReadingAnswer::Lines(self.origin.advise(&config)),
            None => unknown(),
        }
    }

    fn program_advice(&self, engine: u64, ticket: u64) -> ReadingAnswer {
        match self.of_ticket(engine, ticket, |reading| reading.config.clone()) {
            Some(config) => ReadingAnswer::Programs(self.origin.advise_of_programs(&config)),
            None => unknown(),
        }
    }

    fn note_in_force(&self, engine: u64, table: u32, kept: Vec<(u32, u32)>) {
        let kept = merged(kept);
        let mut state = self.lock();
        if state.engine != engine {
            return;
        }
        let found =
            state.readings.iter().find(|(_, reading)| reading.table == table && reading.doors.is_some());
        let Some(ticket) = found.map(|(ticket, _)| *ticket) else { return };
        // What is older is of no use any more.
        state.readings.retain(|of, _| *of >= ticket);
        let State { readings, running, .. } = &mut *state;
        let Some(Reading { config: Some(config), modules, preparation, .. }) = readings.get(&ticket) else {
            return;
        };
        preparation.settle();
        running.change(&config.rules, modules, &kept);
        let (config, modules) = (Arc::clone(config), running.of_owners());
        state.has_run = true;
        state.in_force = Some((ticket, kept));
        state.forget_rules();
        drop(state);
        self.origin.note_in_force(&config, &modules);
    }

    fn gone(&self, engine: u64) -> Vec<u32> {
        let (numbers, files): (Vec<u32>, Vec<PathBuf>) = {
            let state = self.lock();
            if state.engine != engine {
                return Vec::new();
            }
            let known = |number| Some((number, state.rules.file(number)?.to_owned()));
            state.rules_in_force().into_iter().filter_map(known).unzip()
        };
        let gone = numbers.into_iter().zip(self.origin.gone_of(&files)).filter(|(_, is_gone)| *is_gone);
        gone.map(|(number, _)| number).collect()
    }

    fn claim(&self, engine: u64, table: u32, rule: u32) -> ReadingAnswer {
        let line: Option<OneTime> = {
            let state = self.lock();
            let reading = state.readings.values().find(|reading| reading.table == table);
            let config =
                reading.filter(|_| state.engine == engine).and_then(|reading| reading.config.as_ref());
            let rule = config.and_then(|config| config.rules.iter().find(|known| known.number == rule));
            rule.and_then(|rule| rule.one_time.clone())
        };
        match line {
            Some(line) => ReadingAnswer::Claimed(self.origin.use_up(&line)),
            None => ReadingAnswer::Claimed(Err("there is no such one-time sequence any more".to_owned())),
        }
    }

    fn of_ticket<T>(&self, engine: u64, ticket: u64, find: impl FnOnce(&Reading) -> Option<T>) -> Option<T> {
        let state = self.lock();
        state.readings.get(&ticket).filter(|_| state.engine == engine).and_then(find)
    }

    /// The state, also after a panic: what is left half done is a reading without a table.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().past_panic()
    }
}

impl State {
    /// Forgets the oldest readings that are not in force, if there are too many.
    fn bound(&mut self) {
        let in_force = self.in_force.as_ref().map(|(ticket, _)| *ticket);
        while self.readings.len() > MOST_READINGS {
            let oldest = self.readings.keys().copied().find(|ticket| Some(*ticket) != in_force);
            let Some(oldest) = oldest else { return };
            self.readings.remove(&oldest);
        }
    }

    fn rules_in_force(&self) -> Vec<u32> {
        let Some((ticket, kept)) = &self.in_force else { return Vec::new() };
        let config = self.readings.get(ticket).and_then(|reading| reading.config.as_ref());
        let read = config.into_iter().flat_map(|config| &config.rules).map(|rule| rule.number);
        let mut numbers: Vec<_> =
            read.chain(kept.iter().flat_map(|(first, last)| self.rules.between(*first, *last))).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Forgets the numbers of rules that are neither in force nor in a newer configuration.
    fn forget_rules(&mut self) {
        let mut kept = self.rules_in_force();
        let configs = self.readings.values().filter_map(|reading| reading.config.as_ref());
        kept.extend(configs.flat_map(|config| &config.rules).map(|rule| rule.number));
        kept.sort_unstable();
        self.rules.keep(|number| kept.binary_search(&number).is_ok());
    }
}

/// The same numbers, in as few ranges as there can be.
fn merged(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.truncate(MOST_RANGES);
    ranges.retain(|(first, last)| first <= last);
    ranges.sort_unstable();
    ranges.dedup_by(|(first, last), (_, before)| {
        let is_within = *first <= before.saturating_add(1);
        if is_within {
            *before = (*last).max(*before);
        }
        is_within
    });
    ranges
}

fn unknown() -> ReadingAnswer {
    ReadingAnswer::Refused("there is a newer configuration".to_owned())
}

#[cfg(test)]
mod tests;
