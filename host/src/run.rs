//! Run: a daemon of several processes, or of one where that is wanted or nothing else can be had.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_config::{ConfigSource, PosternToml, Trust};
use postern_core::{Observer, Report, What};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

use crate::app;
use crate::compile::CompileService;
use crate::control::Control;
use crate::effects::Effects;
use crate::ended::{Ended, Tried};
use crate::exit::Exit;
use crate::metrics::Metrics;
use crate::observe::LogOfAll;
use crate::open_files;
use crate::origin::LocalOrigin;
use crate::roles::supervisor::{Supervised, supervise};
use crate::shell::Shell;
use crate::try_run::run_alone;

/// Runs the daemon on `postern.toml` at `file` until a signal stops it; `trust` says which owners' files are accepted, and `log` gets every
/// report. With a process for each power, unless that is not wanted or cannot be had. For good, or tried for `lasts`.
///
/// # Errors
/// If the system does not let it work. Mistakes in the configuration are reported, and are an [`Exit`].
pub fn run(
    file: &Path,
    trust: Trust,
    one_process: bool,
    lasts: Option<Duration>,
    log: LogOfAll,
) -> anyhow::Result<Exit> {
    // Who reads the log is elsewhere.
    let source = Arc::new(PosternToml::new(std::path::absolute(file)?, trust));
    let one_process = why_one_process(one_process);
    if let Some(why) = &one_process {
        log.relay.report(&Report::new(What::OneProcess { detail: why.into() }));
    }
    let run = Run { lasts, one_process: one_process.is_some() };
    let ended = run_source(Shell::start()?, source, log, Box::new(|| true), run)?;
    Ok(ended.exit)
}

/// How a daemon runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// For how long it is tried; none for good.
    pub(crate) lasts: Option<Duration>,
    pub(crate) one_process: bool,
}

/// Runs the daemon on any configuration; as [`run`].
pub(crate) fn run_source(
    shell: Shell,
    source: Arc<dyn ConfigSource>,
    log: LogOfAll,
    tried: Tried,
    run: Run,
) -> anyhow::Result<Ended> {
    let Run { lasts, one_process } = run;
    if !one_process {
        return shell.run(|signals| supervise(Supervised { source, log, tried, signals, lasts }));
    }
    open_files::raise_limit();
    let identity = source.identity();
    let (relay, drops) = (Arc::clone(&log.relay) as Arc<dyn Observer>, log.relay.counters());
    let control = Control::at_hand(relay, Arc::clone(drops));
    let metrics = Metrics::at_hand(control.observer(), Arc::clone(drops));
    let observer = metrics.observer();
    let code = Arc::new(CompileService::start(None, Arc::clone(&observer))?.impatient());
    let origin = LocalOrigin::new(source, code, Arc::clone(&observer));
    origin.lacks(vec!["more than one process".to_owned()]);
    origin.tell_tenants()?;
    let Some(lasts) = lasts else {
        let effects = Effects::at_hand(Arc::new(origin), Some(control), Some(metrics), log.hooks, None);
        return shell.run(|signals| app::run(effects, signals, observer, tried));
    };
    let told = Arc::clone(&observer);
    shell.run(|signals| {
        run_alone(lasts, signals, identity, told, |here, signals| {
            let control = control.of_tried(Some(here.view.clone()));
            let effects =
                Effects::at_hand(Arc::new(origin), Some(control), Some(metrics), log.hooks, Some(here));
            Ok(app::run(effects, signals, observer, tried))
        })
    })
}

/// Why the daemon is one process; none if it is several.
pub(crate) fn why_one_process(is_wanted: bool) -> Option<String> {
    let user = geteuid();
    let why = match (is_wanted, user.is_root()) {
        (true, _) => "as the command line says",
        (false, false) => "it was not started as root",
        (false, true) => return None,
    };
    let may_filter = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN));
    let change = if may_filter { "change the packet filter, " } else { "" };
    Some(format!(
        "{why}. What parses packets and runs rules has no process and no user of its own, no Landlock, no list of system calls and no \
         no_new_privs: it may {change}run programs, and read and write files, as user {}",
        user.as_raw()
    ))
}
