//! Bench: how long a module takes to load, to start and to judge, and what it needs. The daemon's work around a call is no part of it.

mod figures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_config::RuleHead;
use postern_core::{Interest, Knock, Timestamp};
use postern_lines::ORIGIN;
use postern_sandbox::{Instance, Loader, Module, RunPermit, Runtime, StartError};
use postern_text::{line, piece, terminal};

use self::figures::{Called, Figures, Percentiles};
use super::module_file::ModuleFile;
use super::rehearsal::{Rehearsal, Said};
use super::settings;
use crate::cli::BenchArgs;
use crate::compile::Compile;
use crate::exit::Exit;
use crate::sample_knock::sample_knock;

/// Instances that are started one after the other, and that are then there together; fewer where they would take more than [`MOST_MEMORY`].
const INSTANCES: usize = 64;
/// Most bytes of all instances together.
const MOST_MEMORY: usize = 1 << 30;
/// Most calls of which the times are kept.
const MOST_CALLS: usize = 4 << 20;
/// Sources of knocks; each sends one knock after the other for a while, as a client does.
const SOURCES: u64 = 1024;
/// Knocks of one source before the next one's come.
const IN_A_ROW: u64 = 8;
/// Most watches of which knocks are made.
const MOST_WATCHES: usize = 32;
/// Calls before it is measured.
const WARM_UP: usize = 1000;

/// What was measured.
struct Times(Vec<Duration>);

/// Measures a module.
///
/// # Errors
/// If the system does not let us run modules, or standard output is closed.
pub fn bench(args: &BenchArgs, compiler: &dyn Compile) -> anyhow::Result<Exit> {
    let read = settings::read(args.module.settings.as_deref()).and_then(|head| {
        let file =
            ModuleFile::read(ModuleFile::named(&args.module.module)).map_err(|mistake| vec![mistake])?;
        Ok((head, file))
    });
    let (head, file) = match read {
        Ok(read) => read,
        Err(mistakes) => return tell(&mistakes, Exit::Usage),
    };
    // Each loader keeps what it has loaded.
    let load = |anew| -> anyhow::Result<_> {
        let loader = Loader::new(Runtime::start()?, Arc::new(()))?;
        let begun = Instant::now();
        let module = file.load(&loader, compiler, anew);
        Ok((module, begun.elapsed(), loader.runtime().clone()))
    };
    let (module, cold, _) = load(true)?;
    if let Err(error) = module {
        return tell(&[file.mistake(&error)], Exit::Mistakes);
    }
    let is_kept = compiler.kept(file.digest(), &postern_core::TenantId::host()).is_some();
    let (module, cached, runtime) = load(false)?;
    let module = match module {
        Ok(module) => module,
        Err(error) => return tell(&[file.mistake(&error)], Exit::Mistakes),
    };
    let name = piece(file.name().display()).to_string();
    let started = start(&module, &head);
    let Started { first, mut starts, memory, resident, count } = match started {
        Ok(started) => started,
        Err(error) => return tell(&[format!("{name}: {}", line(error))], Exit::Mistakes),
    };
    // Nobody reads what it logs, and in millions of calls that may be more than there is memory.
    let mut rehearsal = match Rehearsal::start(module, head, Arc::new(())) {
        Ok(rehearsal) => rehearsal,
        Err(error) => return tell(&[format!("{name}: {}", line(error))], Exit::Mistakes),
    };
    let running = runtime.running();
    let called = call(&mut rehearsal, &running, args.lasts);
    drop(running);
    let (called, fault) = match called {
        Ok(called) => (Some(called), None),
        Err(fault) => (None, Some(fault)),
    };
    let figures = Figures {
        bytes: file.bytes().len() as u64,
        cold,
        cached: is_kept.then_some(cached),
        first_start: first,
        start: Percentiles::of(&mut starts),
        memory,
        resident,
        count,
        called,
    };
    match (&fault, args.json) {
        // A rule that faults is no measure of anything.
        (Some(_), true) => {}
        (None, true) => terminal::out_json(figures.to_json(&name))?,
        (_, false) => figures.show(&name)?,
    }
    match fault {
        None => Ok(Exit::Success),
        Some(fault) => tell(&[format!("{name}: {}", line(fault))], Exit::Mistakes),
    }
}

/// How instances start.
struct Started {
    first: Duration,
    starts: Times,
    /// Bytes of memory and tables of one.
    memory: usize,
    /// Bytes that one takes in the machine, on average.
    resident: u64,
    /// How many there were beside each other.
    count: usize,
}

/// Starts instances one after the other, and keeps them.
fn start(module: &Arc<Module>, head: &RuleHead) -> Result<Started, StartError> {
    let id = postern_core::RuleId { tenant: postern_core::TenantId::host(), name: "measured".into() };
    let observer: Arc<dyn postern_core::Observer> = Arc::new(());
    let once = || {
        let begun = Instant::now();
        let (instance, _) = Instance::start(module, &id, head.limits, &head.settings, &observer)?;
        Ok::<_, StartError>((instance, begun.elapsed()))
    };
    let (instance, first) = once()?;
    let memory = instance.memory();
    let count = (MOST_MEMORY / memory.max(1)).clamp(1, INSTANCES);
    let (mut instances, mut starts) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let before = resident();
    for _ in 0..count {
        let (instance, took) = once()?;
        instances.push(instance);
        starts.push(took);
    }
    let resident = resident().saturating_sub(before) / count as u64;
    Ok(Started { first, starts: Times(starts), memory, resident, count })
}

/// Calls a rule for so long.
///
/// # Errors
/// If it faults, and how.
fn call(rehearsal: &mut Rehearsal, running: &RunPermit<'_>, lasts: Duration) -> Result<Called, String> {
    let interest = rehearsal.interest().clone();
    let mut number = 0;
    let mut next = || {
        number += 1;
        knock(&interest, number)
    };
    for _ in 0..WARM_UP {
        check(rehearsal.judge(running, &next()))?;
    }
    let (mut calls, mut in_all) = (Vec::new(), Duration::ZERO);
    while in_all < lasts && calls.len() < MOST_CALLS {
        let knock = next();
        let begun = Instant::now();
        let said = rehearsal.judge(running, &knock);
        let took = begun.elapsed();
        check(said)?;
        calls.push(took);
        in_all += took;
    }
    let count = calls.len() as u64;
    let a_second = u128::from(count) * 1_000_000_000 / in_all.as_nanos().max(1);
    Ok(Called {
        call: Percentiles::of(&mut Times(calls)),
        count,
        a_second: u64::try_from(a_second).unwrap_or(u64::MAX),
        memory: rehearsal.instance_memory(),
    })
}

fn check(said: Said) -> Result<(), String> {
    match said {
        Said::Fault(what) => Err(what),
        Said::NotShown | Said::Verdict { .. } => Ok(()),
    }
}

/// A knock that the rule asked for: one watch after the other, so that a client may come far.
fn knock(interest: &Interest, number: u64) -> Knock {
    let watches = interest.watches.len().min(MOST_WATCHES);
    let place = usize::try_from(number).unwrap_or(0) % watches.max(1);
    let source = u32::try_from(number / IN_A_ROW % SOURCES).unwrap_or(0);
    sample_knock(interest, place, source, Timestamp(ORIGIN + number * 1000))
}

impl Percentiles {
    fn of(times: &mut Times) -> Self {
        Self { median: times.at(50), p99: times.at(99) }
    }
}

impl Times {
    /// The time that so many hundredths of them do not exceed.
    fn at(&mut self, hundredths: usize) -> Duration {
        self.0.sort_unstable();
        let place = self.0.len() * hundredths / 100;
        self.0.get(place.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// What this process has in the machine's memory, in bytes; 0 if the system does not say.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

fn tell(mistakes: &[String], exit: Exit) -> anyhow::Result<Exit> {
    for mistake in mistakes {
        terminal::err(mistake)?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let mut times = Times((1..=200).rev().map(Duration::from_nanos).collect());
        assert_eq!((times.at(50), times.at(99)), (Duration::from_nanos(101), Duration::from_nanos(199)));
        assert_eq!(Times(Vec::new()).at(99), Duration::ZERO);
        assert_eq!(Times(vec![Duration::from_nanos(7)]).at(99), Duration::from_nanos(7));
    }
}
