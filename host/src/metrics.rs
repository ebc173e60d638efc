//! Metrics: how much of what happens, for a monitoring system that asks over HTTP.
//!
//! [`Counted`] is an observer that counts reports; what judging threads do for each packet is counted where it is done, and read when somebody asks
//! (`sources.rs`). `page.rs` makes the text of it, `server.rs` hands it out on a thread of its own.
//!
//! **Invariant:** what a series is named by is in the configuration in force: tenants, rules, doors, interfaces. Never an address, and nothing that an
//! outsider sends.

mod connections;
mod counted;
mod page;
mod server;
mod socket;
mod sources;
mod times;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use postern_config::{Config, MetricsListen};
use postern_core::{Observer, Report, What};
use postern_protocol::Process;
use postern_sandbox::Generation;

use crate::captures::Captures;
use crate::control::BoundSocket;
use crate::observe::Counters;
use crate::shared_engine::SharedEngine;

pub(crate) use counted::Counted;
pub(crate) use socket::{MetricsSocket, SocketKind};

use sources::{EngineCounts, Sources};

/// How a daemon is measured.
pub(crate) struct Metrics {
    counted: Arc<Counted>,
    /// None if it is still to be bound, as the configuration says.
    socket: Option<MetricsSocket>,
    processes: Arc<Mutex<Vec<Process>>>,
}

/// What is measured, and handed out from then on.
pub(crate) struct Exposing {
    sources: Arc<Sources>,
    /// Kept as long as the daemon runs.
    _file: Option<BoundSocket>,
}

impl Metrics {
    /// At this socket, which another process has bound. Reports go on to `observer`, which counts drops by `counters`.
    pub(crate) fn given(
        socket: MetricsSocket,
        observer: Arc<dyn Observer>,
        counters: Arc<Counters>,
        processes: Arc<Mutex<Vec<Process>>>,
    ) -> Self {
        Self { counted: Arc::new(Counted::new(observer, counters)), socket: Some(socket), processes }
    }

    /// At the socket that the configuration names, bound by this process.
    pub(crate) fn at_hand(observer: Arc<dyn Observer>, counters: Arc<Counters>) -> Self {
        let counted = Arc::new(Counted::new(observer, counters));
        Self { counted, socket: None, processes: Arc::default() }
    }

    /// Where reports go.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.counted) as Arc<dyn Observer>
    }

    /// What counts.
    pub(crate) const fn counted(&self) -> &Arc<Counted> {
        &self.counted
    }

    /// Hands metrics out from now on, or reports why that cannot be; none if nobody is to have them.
    pub(crate) fn start(self, listen: &MetricsListen, engine: Arc<SharedEngine>) -> Option<Exposing> {
        let Self { counted, socket, processes } = self;
        let missing = |detail: String| {
            counted.report(&Report::new(What::MetricsMissing { detail: detail.into() }));
        };
        // A role's account is that of what parses packets and runs rules, and no person's.
        let (mut socket, own) = match socket {
            Some(socket) => (socket, None),
            None => {
                let own = rustix::process::geteuid().as_raw();
                (MetricsSocket::bind(listen).map_err(missing).ok()??, Some(own))
            }
        };
        let file = socket.take_file();
        let sources = Arc::new(Sources::new(
            Arc::clone(&counted),
            Box::new(move || EngineCounts::of(&engine)),
            processes,
        ));
        if let Err(error) = server::start(socket, own, Arc::clone(&sources)) {
            missing(error.to_string());
            return None;
        }
        counted.switch_on();
        Some(Exposing { sources, _file: file })
    }
}

impl Exposing {
    /// This configuration is in force, and packets are captured by these.
    pub(crate) fn put_in_force(&self, config: &Config, generation: &Generation, captures: &Captures) {
        self.sources.put_in_force(config, generation, captures.counters());
    }
}
