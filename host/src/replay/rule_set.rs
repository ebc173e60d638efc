//! RuleSet: the rules and doors of a configuration, loaded and tried, for a replay.

use std::path::Path;
use std::sync::Arc;

use postern_config::{Config, ConfigSource, Mistakes, PosternToml, RulesSource, Trust};
use postern_core::{ANY_INTERFACE, Observer};
use postern_sandbox::{Generation, Loader, Patience, Runtime};

use super::teller::Teller;
use crate::assemble::{Assembled, assemble};
use crate::compile::CompileService;
use crate::origin::{LocalOrigin, NumberedReading, Preparation};
use crate::plan::{DoorNumbers, Plan};

/// What a replica runs.
pub(super) struct RuleSet {
    /// What people call it: its file or folder.
    pub(super) name: String,
    pub(super) config: Config,
    pub(super) generation: Arc<Generation>,
    pub(super) plan: Plan,
    /// Gets what its rules write into the log.
    pub(super) teller: Arc<Teller>,
}

/// Loads sets of rules.
pub(super) struct RuleLoading<'a> {
    pub(super) runtime: &'a Runtime,
    /// Which owners' files are accepted.
    pub(super) trust: Trust,
    /// Whether somebody reads more of what is told than the words.
    pub(super) needs_fields: bool,
}

/// The rules, or every mistake in them.
type Tried = Result<RuleSet, Mistakes>;

impl RuleLoading<'_> {
    /// The rules at `path`: of a folder the rule files in it, and else what a postern.toml says.
    ///
    /// # Errors
    /// If this machine cannot compile or run rules.
    pub(super) fn at(&self, path: &Path) -> anyhow::Result<Tried> {
        if path.is_dir() { self.folder(path) } else { self.config(path) }
    }

    /// Those of a postern.toml.
    ///
    /// # Errors
    /// As [`RuleLoading::at`].
    pub(super) fn config(&self, file: &Path) -> anyhow::Result<Tried> {
        self.load(file, PosternToml::new(file.to_owned(), self.trust))
    }

    /// The rule files in a folder.
    ///
    /// # Errors
    /// As [`RuleLoading::at`].
    pub(super) fn folder(&self, dir: &Path) -> anyhow::Result<Tried> {
        self.load(dir, RulesSource::new(dir.to_owned(), self.trust))
    }

    fn load(&self, path: &Path, source: impl ConfigSource + 'static) -> anyhow::Result<Tried> {
        let teller = Arc::new(Teller::new(self.needs_fields));
        let loader = Loader::new(self.runtime.clone(), Arc::clone(&teller) as Arc<dyn Observer>)?;
        // Whether code can be kept is no matter of a replay.
        let code = Arc::new(CompileService::start(None, Arc::new(()))?);
        let origin = LocalOrigin::unwatched(Arc::new(source), code, Arc::new(()));
        let preparation = origin.begin(false);
        let NumberedReading { mut reading, .. } = preparation.read();
        if let Some(config) = &mut reading.config {
            // How fast this machine is has nothing to do with the capture.
            config.lift_shares();
        }
        let Assembled { config, generation, refused } =
            assemble(reading, None, &loader, &*preparation, Patience::Endless);
        let of_tenants = refused.iter().flat_map(|tenant| tenant.mistakes.iter()).cloned();
        let (config, generation) = match (config, generation) {
            (Some(config), Ok(generation)) if refused.is_empty() => (config, generation),
            (_, generation) => {
                let of_host = generation.err();
                let of_host = of_host.iter().flat_map(Mistakes::iter).cloned();
                return Ok(Err(Mistakes::new(of_host.chain(of_tenants).collect())));
            }
        };
        let plan = DoorNumbers::default().plan(&config).with_modules(&generation);
        let name = path.display().to_string();
        Ok(Ok(RuleSet { name, config, generation: Arc::new(generation), plan, teller }))
    }
}

impl RuleSet {
    /// The interface that packets count as captured on unless somebody says another.
    pub(super) fn interface(&self) -> &str {
        self.config.interfaces.first().map_or(ANY_INTERFACE, |interface| interface)
    }

    /// Whether it matters on which interface a packet was captured.
    pub(super) fn tells_interfaces_apart(&self) -> bool {
        let places = 0..self.generation.rules.len();
        places.into_iter().any(|rule| !self.generation.dispatch.subscription(rule).interfaces.is_empty())
    }
}
