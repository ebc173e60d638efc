//! The engine's process: sees packets, runs rules and decides, without any capability, file or program. What it may ask for it asks of others.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postern_capture::{CaptureError, Devices, LocalNetworkSockets, Shown};
use postern_confine::{Confinement, Limits, SystemCalls};
use postern_core::{ConfigIdentity, GuardDoor, Observer};
use postern_ledger::{FileLedger, Ledger, LedgerRequest};
use postern_link::{Hello, OrderLink, Talk, TalkReceiver, TalkSender};
use postern_protocol::Process;
use postern_text::chain;
use postern_text::panic::PastPanic;

use super::begin::{RoleStart, WhatHolds, confine};
use super::engine_messages::{EngineStart, FromEngine, MOST_TO_ENGINE, ToEngine};
use super::remote_origin::RemoteOrigin;
use crate::app;
use crate::command_doors::CommandDoors;
use crate::control::Control;
use crate::effects::{Effects, Keepers, ServiceStatus};
use crate::ended::Ended;
use crate::main_loop_event::{MainLoopEvent, MainLoopSender};
use crate::metrics::{Metrics, MetricsSocket};
use crate::net_doors::NetDoors;
use crate::observe::Telling;
use crate::open_files;
use crate::remote_doorman::{Reconnector, RemoteDoorman};
use crate::remote_runner::{RemoteRunner, RunnerReconnector};
use crate::shell::Shell;
use crate::signals::SignalTeller;
use crate::try_run::{TryVerdict, TryView};

/// The largest file that an engine writes, in bytes: the ledger, many times over. One that was taken over must not fill the disk.
const LARGEST_FILE: u64 = 1 << 30;
/// How long the supervisor may leave a message of the engine's unread before the engine ends.
const PATIENCE: Duration = Duration::from_secs(30);
/// Packet sockets beside those of the interfaces that are configured at the start: for an interface that a reload names. If it names more, or
/// another one does, the next engine begins with one for each. Each costs 2 MiB from the start.
const SPARES: usize = 1;

/// Is an engine, until it is told to stop or the supervisor at standard input is gone.
///
/// # Errors
/// If the supervisor does not make sense, or nothing can be reported.
pub(crate) fn run() -> anyhow::Result<()> {
    let (supervisor, mut supervisor_talk) = Talk::of_standard_input()?.split(Some(PATIENCE))?;
    let Some((ToEngine::Start(start), descriptors)) = supervisor_talk.receive(MOST_TO_ENGINE)? else {
        anyhow::bail!("the supervisor does not start it");
    };
    let mut descriptors = descriptors.into_iter();
    let mut link =
        || descriptors.next().ok_or_else(|| anyhow::anyhow!("the supervisor does not give it its links"));
    let (reports, readings, doorman, runner) = (link()?, link()?, link()?, link()?);
    let EngineStart { log_filter, ledger, account, watchdog, captures, is_asked, metrics, trial } = start;
    let control = is_asked.then(|| Ok::<_, anyhow::Error>((link()?, link()?))).transpose()?;
    let metrics = metrics.map(|kind| Ok::<_, anyhow::Error>((link()?, kind))).transpose()?;

    // With the rights that it was started with, and before there is another thread.
    open_files::raise_limit();
    let exhausted = {
        let supervisor = supervisor.clone();
        move || drop(supervisor.send(&FromEngine::Exhausted, &[]))
    };
    let devices = match Devices::reserved(captures, SPARES, exhausted) {
        Ok(devices) => devices,
        // Each capture says so, and the rest of the daemon works.
        Err(CaptureError::NotPermitted { .. }) => Devices::direct(),
        Err(error) => {
            supervisor.send(&FromEngine::CannotRun(chain(&error).to_string()), &[])?;
            return Ok(());
        }
    };
    Shown::prepare();
    let (network, hello) = (LocalNetworkSockets::open()?, Hello::of_this_process()?);
    let WhatHolds { held, missing } = confine(account, confinement())?;
    supervisor.send(&FromEngine::Confined { held, missing }, &[])?;
    let Telling { observer, marker, counters } =
        RoleStart { log_filter: &log_filter, account, reports }.observe()?;
    let processes = Arc::<Mutex<Vec<Process>>>::default();
    let (tried, verdict) = trial
        .map(|left| {
            let supervisor = supervisor.clone();
            let ask = move |by| drop(supervisor.send(&FromEngine::Confirm(by), &[]));
            TryView::new(Instant::now() + left, ask)
        })
        .unzip();
    let control = control
        .map(|(socket, reports)| {
            let (observer, counters) = (Arc::clone(&observer), Arc::clone(&counters));
            Control::given(socket.into(), reports, observer, counters, Arc::clone(&processes))
        })
        .transpose()?
        .map(|control| control.of_tried(tried.clone()));
    let observer = control.as_ref().map_or(observer, Control::observer);
    let metrics = metrics.map(|(socket, kind)| {
        let socket = MetricsSocket::given(socket, kind);
        Metrics::given(socket, observer.clone(), counters, Arc::clone(&processes))
    });
    let observer = metrics.as_ref().map_or(observer, Metrics::observer);

    let links = Arc::new(Links::default());
    let (files, ledger_files) = channel();
    let (shell, teller) = Shell::told()?;
    {
        let links = Arc::clone(&links);
        // Ends with the talk, and the process with it: nobody would start the next one.
        thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
            follow(&mut supervisor_talk, &links, &files, &teller, &processes, verdict.as_ref());
            std::process::exit(0);
        })?;
    }
    let origin = Arc::new(RemoteOrigin::start(Talk::from(readings), || {})?);
    let keepers = RemoteKeepers {
        doorman: Some(OrderLink::from(doorman)),
        runner: Some(OrderLink::from(runner)),
        links,
        hello,
        ledger,
        supervisor: supervisor.clone(),
        ledger_files: Some(ledger_files),
    };
    let status = Arc::new(Status(supervisor.clone()));
    let effects = Effects {
        origin,
        keepers: Box::new(keepers),
        devices,
        network: Some(network),
        status,
        watchdog,
        control,
        metrics,
        hooks: None,
        tried,
    };
    // Behind the reports of what was tried.
    let tried = Box::new(move || {
        marker.mark();
        true
    });
    let ended = shell.run(|signals| app::run(effects, signals, observer, tried));
    match ended {
        Ok(Ended { exit, signal }) => {
            supervisor.send(&FromEngine::Ended { exit: exit.number(), signal }, &[])?;
        }
        Err(error) => supervisor.send(&FromEngine::CannotRun(chain(&*error).to_string()), &[])?,
    }
    Ok(())
}

/// What an engine keeps.
pub(crate) fn confinement() -> Confinement {
    let limits = Limits { file_size: Some(LARGEST_FILE), ..Limits::default() };
    Confinement { system_calls: Some(SystemCalls::Engine), limits, ..Confinement::default() }
}

/// Takes what the supervisor says, until it is gone.
fn follow(
    control: &mut TalkReceiver,
    links: &Links,
    files: &Sender<Result<Option<OwnedFd>, String>>,
    signals: &SignalTeller,
    processes: &Mutex<Vec<Process>>,
    verdict: Option<&TryVerdict>,
) {
    while let Ok(Some((message, descriptors))) = control.receive(MOST_TO_ENGINE) {
        let descriptor = descriptors.into_iter().next();
        match (message, descriptor) {
            (ToEngine::Doorman, Some(link)) => links.doorman(link),
            (ToEngine::Runner, Some(link)) => links.runner(link),
            (ToEngine::Ledger(error), file) => {
                // If nobody waits it is closed.
                let _ = files.send(error.map_or(Ok(file), Err));
            }
            (ToEngine::Processes(all), _) => *processes.lock().past_panic() = all,
            (ToEngine::Hangup, _) => signals.hangup(),
            (ToEngine::Confirmed, _) => verdict.into_iter().for_each(TryVerdict::confirm),
            (ToEngine::Stop(signal), _) => signals.stop(signal),
            (ToEngine::Doorman | ToEngine::Runner | ToEngine::Start(_), _) => return,
        }
    }
}

/// Where links to the next doorman and the next runner go.
#[derive(Default)]
struct Links(Mutex<Reconnectors>);

#[derive(Default)]
struct Reconnectors {
    doorman: Option<Reconnector>,
    runner: Option<RunnerReconnector>,
    /// That came before there was anybody to take them.
    early: (Option<OwnedFd>, Option<OwnedFd>),
}

impl Links {
    fn doorman(&self, link: OwnedFd) {
        let mut links = self.0.lock().past_panic();
        match &links.doorman {
            Some(reconnector) => reconnector.reconnect(link),
            None => links.early.0 = Some(link),
        }
    }

    fn runner(&self, link: OwnedFd) {
        let mut links = self.0.lock().past_panic();
        match &links.runner {
            Some(reconnector) => reconnector.reconnect(link),
            None => links.early.1 = Some(link),
        }
    }
}

/// Doors and the ledger, kept by other processes.
struct RemoteKeepers {
    doorman: Option<OrderLink>,
    runner: Option<OrderLink>,
    links: Arc<Links>,
    hello: Hello,
    /// For messages.
    ledger: PathBuf,
    supervisor: TalkSender,
    ledger_files: Option<Receiver<Result<Option<OwnedFd>, String>>>,
}

fn taken_twice() -> io::Error {
    io::Error::other("it was started already")
}

impl Keepers for RemoteKeepers {
    fn net(
        &mut self,
        sender: MainLoopSender,
        observer: Arc<dyn Observer>,
        _identity: Option<ConfigIdentity>,
    ) -> io::Result<Box<dyn NetDoors>> {
        let link = self.doorman.take().ok_or_else(taken_twice)?;
        let tell = move |event| sender.send(MainLoopEvent::from(event)).is_ok();
        let doorman = RemoteDoorman::start(link, tell, observer, self.hello)?;
        let mut links = self.links.0.lock().past_panic();
        let reconnector = doorman.reconnector();
        links.early.0.take().into_iter().for_each(|link| reconnector.reconnect(link));
        links.doorman = Some(reconnector);
        Ok(Box::new(doorman))
    }

    fn commands(
        &mut self,
        sender: MainLoopSender,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Box<dyn CommandDoors>> {
        let link = self.runner.take().ok_or_else(taken_twice)?;
        let tell = move |event| sender.send(MainLoopEvent::from(event)).is_ok();
        let runner = RemoteRunner::start(link, tell, observer, self.hello)?;
        let mut links = self.links.0.lock().past_panic();
        let reconnector = runner.reconnector();
        links.early.1.take().into_iter().for_each(|link| reconnector.reconnect(link));
        links.runner = Some(reconnector);
        Ok(Box::new(runner))
    }

    fn ledger(&mut self, sender: MainLoopSender) -> io::Result<Box<dyn Ledger>> {
        let files = self.ledger_files.take().ok_or_else(taken_twice)?;
        let supervisor = self.supervisor.clone();
        let ask = move |LedgerRequest { make, copy }| {
            supervisor
                .send(&FromEngine::Ledger { make, copy }, &[])
                .map_err(|error| format!("the supervisor cannot be asked for its file: {error}"))?;
            files.recv().unwrap_or_else(|_| Err("the supervisor is gone".to_owned()))
        };
        let answers = Box::new(move |answer| drop(sender.send(MainLoopEvent::Ledger(answer))));
        Ok(Box::new(FileLedger::start_remote(self.ledger.clone(), ask, answers)?))
    }
}

/// Tells the supervisor, which tells systemd.
struct Status(TalkSender);

impl ServiceStatus for Status {
    fn guarded(&self, _doors: &[GuardDoor]) {
        // The supervisor has done it itself.
    }

    fn ready(&self) {
        drop(self.0.send(&FromEngine::Ready, &[]));
    }

    fn reloading(&self) {
        drop(self.0.send(&FromEngine::Reloading, &[]));
    }

    fn stopping(&self) {
        drop(self.0.send(&FromEngine::Stopping, &[]));
    }

    fn alive(&self) {
        drop(self.0.send(&FromEngine::Alive, &[]));
    }
}
