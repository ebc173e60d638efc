//! Check and reset: what can be done without a daemon running.

mod judging;
mod tenant;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use postern_config::{
    Config, ConfigSource, Mistake, Mistakes, PosternToml, RuleFile, Trust, config_identity,
};
use postern_core::{Interest, WatchedPorts};
use postern_doorman::check_sets;
use postern_sandbox::{Generation, Loader, Patience, Runtime};
use postern_text::{piece, terminal};

use crate::compile::CompileService;
use crate::exit::Exit;
use crate::main_loop_event::Prepared;
use crate::origin::LocalOrigin;
use crate::reload::prepare;
use crate::state;

use judging::RuleLines;
pub use tenant::check_tenant;

/// What a check does not do.
pub(crate) const NOT_STARTED: &str = "nothing was started";

/// A configuration that was read and tried.
pub(crate) struct TriedConfig {
    origin: LocalOrigin,
    /// Only if what says it is right itself.
    pub(crate) config: Option<Config>,
    /// What could be made of it.
    pub(crate) generation: Option<Generation>,
    /// Every mistake, in the order in which the daemon reports them.
    pub(crate) mistakes: Vec<Mistake>,
}

/// Reads the configuration, loads every module, tries every rule, and looks at the sets that doors fill; `trust` says which
/// owners' files are accepted. Warnings go to standard error.
///
/// # Errors
/// If the system does not let us check, or standard output is closed.
pub fn check(file: &Path, trust: Trust) -> anyhow::Result<Exit> {
    let tried = try_out(PosternToml::new(file.to_owned(), trust))?;
    let TriedConfig { origin, config, generation, mut mistakes } = tried;
    if let Some(config) = &config {
        mistakes.extend(config.door_mistakes(file, check_sets));
        let without_journal = state::refusals(file, config);
        for advice in origin.advise(config).into_iter().chain(without_journal) {
            terminal::err(format_args!("warning: {advice}"))?;
        }
    }
    let (Some(config), Some(generation), true) = (config, generation, mistakes.is_empty()) else {
        return tell(&Mistakes::new(mistakes), NOT_STARTED);
    };
    terminal::out(format_args!("{}: no mistakes", file.display()))?;
    list(&config, &generation)?;
    Ok(Exit::Success)
}

/// Removes the guard that a stopped daemon left for the configuration at `file`.
///
/// # Errors
/// If a daemon is running, if the guard was put up for another configuration, or nftables cannot be reached.
pub fn reset(file: &Path) -> anyhow::Result<Exit> {
    let was_there = postern_doorman::reset(config_identity(file))?;
    let words = if was_there { "removed; its ports are no longer guarded" } else { "was not there" };
    terminal::out(format_args!("table inet postern: {words}"))?;
    Ok(Exit::Success)
}

/// Says of each rule what it opens, and which ports and types it asks to see.
fn list(config: &Config, generation: &Generation) -> anyhow::Result<()> {
    let places: HashMap<_, _> = generation.rules.iter().zip(0..).map(|(rule, n)| (&rule.id, n)).collect();
    for rule in &config.rules {
        let opens = what_it_opens(config, rule);
        match places.get(&rule.id) {
            Some(place) => {
                let watched = watched(&generation.dispatch.subscription(*place).interest);
                terminal::out(format_args!("  {opens}, and watches {watched}"))?;
            }
            None => terminal::out(format_args!("  {opens}"))?,
        }
    }
    Ok(())
}

/// The ports and types of what a rule asks to see.
fn watched(interest: &Interest) -> String {
    let ports = interest.watches.iter().map(|watch| {
        let (first, last) = (watch.first_port, watch.last_port);
        WatchedPorts { transport: watch.transport, first, last }.to_string()
    });
    let ports: Vec<_> = ports.collect();
    if ports.is_empty() { "nothing".to_owned() } else { ports.join(", ") }
}

fn what_it_opens(config: &Config, rule: &RuleFile) -> String {
    let doors: Vec<_> = rule.doors.iter().map(|door| &**door).collect();
    let opens = if config.is_on_trial(rule) { "is on trial, and would open" } else { "opens" };
    format!("rule {} {opens} {}", piece(&rule.id), doors.join(", "))
}

/// Reads a configuration, loads its modules, tries its rules and has them judge. What they log meanwhile goes to standard error.
pub(crate) fn try_out(source: impl ConfigSource + 'static) -> anyhow::Result<TriedConfig> {
    let lines = Arc::new(RuleLines::default());
    let loader = Loader::new(Runtime::start()?, Arc::clone(&lines) as _)?;
    // Whether code can be kept is no matter of the configuration.
    let code = Arc::new(CompileService::start(None, Arc::new(()))?);
    let origin = LocalOrigin::unwatched(Arc::new(source), code, Arc::new(()));
    let Prepared { config, generation, refused, .. } =
        prepare(&origin, &*origin.begin(false), 1, &loader, None, Patience::Endless);
    let (generation, of_host) =
        generation.map_or_else(|found| (None, Some(found)), |made| (Some(made), None));
    let of_tenants = refused.iter().map(|tenant| &tenant.mistakes);
    let mut mistakes: Vec<_> = of_host.iter().chain(of_tenants).flat_map(Mistakes::iter).cloned().collect();
    if let (Some(config), Some(generation)) = (&config, &generation) {
        mistakes.extend(judging::mistakes(config, generation, loader.runtime()));
    }
    for line in lines.take() {
        terminal::err(line)?;
    }
    Ok(TriedConfig { origin, config, generation, mistakes })
}

/// Says what is wrong, and what was not done for that.
pub(crate) fn tell(mistakes: &Mistakes, not_done: &str) -> anyhow::Result<Exit> {
    for mistake in mistakes.iter() {
        terminal::err(mistake)?;
    }
    terminal::err(format_args!("posternd: {}; {not_done}", mistakes.count()))?;
    Ok(Exit::Mistakes)
}
