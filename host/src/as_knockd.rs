//! Runs the daemon as knockd: hands it to knockd's command line.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use postern_config::{Activity, Config, ConfigSource, Mistake};
use postern_core::{Observer, Report, Severity};
use postern_knockd::Daemon;
use postern_sandbox::{Loader, Runtime};
use postern_text::chain;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::compile::CompileService;
use crate::ended::Ended;
use crate::exit::Exit;
use crate::hooks::Hooks;
use crate::load_rules::load_rules;
use crate::module_code::Modules;
use crate::observe::{Context, Foreign, Line, Log, LogOfAll, Observers, words};
use crate::run::{Run, run_source, why_one_process};
use crate::shell::Shell;

/// What the daemon's other processes report: everything, since knockd's own words are made of it.
const ROLES_LOG: &str = "warn,postern=debug";

/// Runs as knockd with these arguments, the program's name left out.
#[must_use]
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    postern_knockd::run::<Shell>(args)
}

impl Daemon for Shell {
    fn start() -> io::Result<Self> {
        Self::start()
    }

    fn run(
        self,
        source: Arc<dyn ConfigSource>,
        log: Box<dyn Observer>,
        tried: Box<dyn FnOnce() -> bool + Send>,
    ) -> Result<Option<i32>, String> {
        let observer = Arc::new(Observers::new(KnockdLines(log), Some(Severity::Debug)));
        let foreign = {
            let observer = Arc::clone(&observer);
            Foreign(move |line: &Line| observer.report(&Report::new(line.as_library())))
        };
        let heard = tracing_subscriber::registry().with(foreign.with_filter(LevelFilter::WARN)).try_init();
        heard.map_err(|error| error.to_string())?;
        let log = LogOfAll { relay: observer, filter: ROLES_LOG.to_owned(), hooks: Hooks::default() };
        let run = Run { lasts: None, one_process: why_one_process(false).is_some() };
        let ended = run_source(self, source, log, tried, run);
        let Ended { exit, signal } = ended.map_err(|error| chain(&*error).to_string())?;
        Ok(signal.filter(|_| exit == Exit::Success))
    }

    fn words(report: &Report<'_>) -> String {
        words(report)
    }

    fn check_rules(config: &Config) -> Result<Vec<Mistake>, String> {
        let modules = Runtime::start().and_then(|runtime| {
            let loader = Loader::new(runtime, Arc::new(()))?;
            Ok(Modules { loader, code: Arc::new(CompileService::start(None, Arc::new(()))?) })
        });
        let modules = modules.map_err(|error| chain(&error).to_string())?;
        let loaded = load_rules(1, config, &modules, &Activity::default());
        Ok(loaded.err().map_or_else(Vec::new, |mistakes| mistakes.iter().cloned().collect()))
    }
}

/// Hands reports that are within the limits to knockd's log.
struct KnockdLines(Box<dyn Observer>);

impl Log for KnockdLines {
    fn write(&self, report: &Report<'_>, _context: &Context<'_>) {
        self.0.report(report);
    }
}
