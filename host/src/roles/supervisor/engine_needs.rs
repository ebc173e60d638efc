//! EngineNeeds: what an engine must have before it gives its rights up.

use std::path::PathBuf;

use postern_config::{Config, Hook, MetricsListen, ProcessUser, SandboxSettings};
use postern_core::{ANY_INTERFACE, Direction};

use crate::control::socket_path;

/// What an engine must have before it gives its rights up, as the configuration says it now.
#[derive(Default)]
pub(super) struct EngineNeeds {
    pub(super) captures: Vec<(String, Direction)>,
    pub(super) user: Option<ProcessUser>,
    pub(super) is_strict: bool,
    /// Where it is to be asked; none if nowhere.
    pub(super) control: Option<PathBuf>,
    /// Where it is to hand metrics out.
    pub(super) metrics: MetricsListen,
    /// Commands that are run when something happens.
    pub(super) hooks: Vec<Hook>,
}

impl EngineNeeds {
    /// A configuration that cannot be read needs nothing: the engine will say what is wrong with it.
    pub(super) fn of(config: Option<&Config>) -> Self {
        let Some(config) = config else {
            return Self { user: SandboxSettings::of_machine().user, ..Self::default() };
        };
        let mut captures: Vec<_> =
            config.interfaces.iter().map(|interface| (interface.clone(), Direction::Incoming)).collect();
        if config.rules.iter().any(|rule| rule.sees_outgoing) {
            let named = config.interfaces.iter().filter(|interface| **interface != ANY_INTERFACE);
            captures.extend(named.map(|interface| (interface.clone(), Direction::Outgoing)));
        }
        let sandbox = &config.sandbox;
        let control = socket_path(&config.control);
        Self {
            captures,
            user: sandbox.user,
            is_strict: sandbox.is_strict,
            control,
            metrics: config.metrics.clone(),
            hooks: config.hooks.clone(),
        }
    }
}
