//! Control: whoever may asks the daemon over a socket what is open, and why somebody did not get in.
//!
//! The wire is that of `postern-protocol`, and known here alone. A thread of its own answers; it takes the engine's lock as briefly as a knock
//! does, and asks the main loop for what only that may do. [`Feed`] is the one place where reports branch off for those who listen: the thread that
//! makes one never waits for them.
//!
//! **Invariant:** who may ask what is decided in [`access`], by what the kernel says of the other end, and nowhere else.

mod access;
mod by_hand;
mod clients;
mod desk;
mod event;
mod explain;
mod feed;
mod in_force;
mod listening;
mod packets;
mod recent;
mod server;
mod session;
mod situation;
mod socket;
mod status;
mod subscribers;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use postern_config::{Config, Mistakes};
use postern_core::{Observer, Report, TenantId, What};
use postern_protocol::{Process, ProcessState, TenantRefusal};
use postern_sandbox::{Generation, IsLocal};

use crate::assemble::RefusedTenant;
use crate::main_loop_event::MainLoopSender;
use crate::observe::{Counters, Gathering, Relay, ReportPace};
use crate::shared_engine::SharedEngine;
use crate::try_run::TryView;

pub(crate) use desk::refusals;
pub(crate) use socket::{BoundSocket, SocketUse, socket_path};

use desk::Desk;
use feed::Feed;
use in_force::InForce;

/// How a daemon is asked.
pub(crate) struct Control {
    feed: Arc<Feed>,
    /// None if it is still to be bound, as the configuration says.
    listener: Option<UnixListener>,
    processes: Arc<Mutex<Vec<Process>>>,
    /// The user that the daemon was started as, who may ask what root may; none if that is root.
    own_uid: Option<u32>,
    /// None if the daemon runs for good.
    tried: Option<TryView>,
}

/// Who answers, from then on.
pub(crate) struct Answering {
    feed: Arc<Feed>,
    /// Kept as long as the daemon runs.
    _socket: Option<BoundSocket>,
}

impl Control {
    /// At this socket, which another process has bound. Reports go on to `observer`, which counts drops by `counters`; what other processes
    /// report comes from `reports`.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(crate) fn given(
        socket: UnixListener,
        reports: OwnedFd,
        observer: Arc<dyn Observer>,
        counters: Arc<Counters>,
        processes: Arc<Mutex<Vec<Process>>>,
    ) -> io::Result<Self> {
        let feed = Arc::new(Feed::new(observer, counters));
        let gathering = Gathering::start(Arc::clone(&feed) as Arc<dyn Relay>)?;
        gathering.add(reports, &ReportPace::default(), || {});
        // Only root has roles. What this process is now means nothing: others may be the same.
        Ok(Self { feed, listener: Some(socket), processes, own_uid: None, tried: None })
    }

    /// At the socket that the configuration names, bound by this process.
    pub(crate) fn at_hand(observer: Arc<dyn Observer>, counters: Arc<Counters>) -> Self {
        let feed = Arc::new(Feed::new(observer, counters));
        let only = Process {
            name: "posternd".to_owned(),
            state: ProcessState::Running,
            restarts: 0,
            held: String::new(),
            missing: vec![
                "it is one process, and what parses packets and runs rules has no other than it".to_owned(),
            ],
        };
        let own_uid = Some(rustix::process::geteuid().as_raw());
        Self { feed, listener: None, processes: Arc::new(Mutex::new(vec![only])), own_uid, tried: None }
    }

    /// That of a run that is tried.
    pub(crate) fn of_tried(self, tried: Option<TryView>) -> Self {
        Self { tried, ..self }
    }

    /// Where reports go.
    pub(crate) fn observer(&self) -> Arc<dyn Observer> {
        Arc::clone(&self.feed) as Arc<dyn Observer>
    }

    /// Answers from now on, or reports why that cannot be; none if nobody is to ask.
    pub(crate) fn start(
        self,
        config: &Config,
        engine: Arc<SharedEngine>,
        sender: MainLoopSender,
        is_local: IsLocal,
    ) -> Option<Answering> {
        let Self { feed, listener, processes, own_uid, tried } = self;
        let missing = |why: String| feed.report(&Report::new(What::ControlMissing { detail: why.into() }));
        let (listener, socket) = match listener {
            Some(listener) => (listener, None),
            None => {
                let bound = BoundSocket::bind(&socket_path(&config.control)?, SocketUse::CONTROL);
                let bound = bound.map_err(|error| missing(error.to_string())).ok()?;
                (bound.try_clone().map_err(|error| missing(error.to_string())).ok()?, Some(bound))
            }
        };
        feed.learn_local(is_local);
        let desk = Desk::new(Arc::clone(&feed), engine, sender, own_uid, processes, tried);
        match server::start(listener, desk) {
            Ok(()) => Some(Answering { feed, _socket: socket }),
            Err(error) => {
                missing(error.to_string());
                None
            }
        }
    }
}

impl Answering {
    /// This configuration is in force, but for what these owners' files say.
    pub(crate) fn put_in_force(&self, config: &Config, generation: &Generation, refused: &[RefusedTenant]) {
        self.feed.put_in_force(InForce::of(config, generation, refusals(refused)));
    }

    /// The newest configuration is not in force, because of these mistakes.
    pub(crate) fn refuse(&self, mistakes: &Mistakes) {
        let mistakes = mistakes.iter().map(ToString::to_string).collect();
        self.feed.refuse(vec![TenantRefusal { tenant: TenantId::HOST.to_owned(), mistakes }]);
    }
}
