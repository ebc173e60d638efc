//! Effects: everything through which an engine acts on the machine, or is acted on. In one process that is at hand; an engine without power has
//! it from other processes. The two are told apart nowhere else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use postern_capture::{Devices, LocalNetworkSockets};
use postern_core::{ConfigIdentity, GuardDoor, Observer};
use postern_doorman::DoormanHandle;
use postern_ledger::{FileLedger, Ledger};
use postern_runner::{Runner, Shims};

use crate::command_doors::{CommandDoors, LocalCommandDoors};
use crate::control::Control;
use crate::hooks::Hooks;
use crate::kept_socket;
use crate::ledger::NoTokens;
use crate::main_loop_event::{MainLoopEvent, MainLoopSender};
use crate::metrics::Metrics;
use crate::net_doors::NetDoors;
use crate::origin::Origin;
use crate::state;
use crate::systemd::{ServiceManager, watchdog_timeout};
use crate::try_run::{TriedHere, TryView};

/// Everything through which an engine acts.
pub(crate) struct Effects {
    /// Where configurations come from.
    pub(crate) origin: Arc<dyn Origin>,
    /// What can be opened, and the ledger of what is used up.
    pub(crate) keepers: Box<dyn Keepers>,
    /// Where captures get their sockets from.
    pub(crate) devices: Devices,
    /// By which addresses and links are known; none to open them when they are needed.
    pub(crate) network: Option<LocalNetworkSockets>,
    /// Who is told how the daemon fares.
    pub(crate) status: Arc<dyn ServiceStatus>,
    /// After how long without [`ServiceStatus::alive`] the daemon is taken for hung; none if nobody asks.
    pub(crate) watchdog: Option<Duration>,
    /// Where the daemon is asked; none if nowhere. The observer is that of this then.
    pub(crate) control: Option<Control>,
    /// How the daemon is measured; none if nobody asks for that. The observer is in front of this one's.
    pub(crate) metrics: Option<Metrics>,
    /// Where reports lead to commands; none if another process sees to that.
    pub(crate) hooks: Option<Hooks>,
    /// A run that is tried; none if it runs for good.
    pub(crate) tried: Option<TryView>,
}

/// Starts what keeps doors and the ledger. Each answers by events of the main loop. Called on the runtime, in this order, once each.
pub(crate) trait Keepers: Send {
    /// The doors of the packet filter. Ports are guarded for the configuration that `identity` names; without one none is.
    fn net(
        &mut self,
        sender: MainLoopSender,
        observer: Arc<dyn Observer>,
        identity: Option<ConfigIdentity>,
    ) -> io::Result<Box<dyn NetDoors>>;

    /// The doors of commands.
    fn commands(
        &mut self,
        sender: MainLoopSender,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Box<dyn CommandDoors>>;

    /// The ledger, for rules that use tokens. It opens its file on its own thread, so that no other thread waits for a disk.
    fn ledger(&mut self, sender: MainLoopSender) -> io::Result<Box<dyn Ledger>>;
}

/// Who is told how the daemon fares.
pub(crate) trait ServiceStatus: Send + Sync {
    /// The ports of these doors are closed, before anything else is done.
    fn guarded(&self, doors: &[GuardDoor]);
    /// The start, or a reload, is done.
    fn ready(&self);
    /// A reload begins.
    fn reloading(&self);
    /// The daemon begins to stop.
    fn stopping(&self);
    /// A probe has gone all the way.
    fn alive(&self);
}

impl Effects {
    /// Everything in this process.
    pub(crate) fn at_hand(
        origin: Arc<dyn Origin>,
        control: Option<Control>,
        metrics: Option<Metrics>,
        hooks: Hooks,
        tried: Option<TriedHere>,
    ) -> Self {
        let view = tried.as_ref().map(|tried| tried.view.clone());
        Self {
            origin,
            keepers: Box::new(OwnKeepers(tried.clone())),
            devices: Devices::direct(),
            network: None,
            status: own_status(tried),
            watchdog: watchdog_timeout(),
            control,
            metrics,
            hooks: Some(hooks),
            tried: view,
        }
    }
}

/// Starts the ledger, if rules use any.
///
/// # Errors
/// If there can be no thread.
pub(crate) fn ledger(
    keepers: &mut dyn Keepers,
    uses_tokens: bool,
    sender: MainLoopSender,
) -> io::Result<Box<dyn Ledger>> {
    if uses_tokens {
        return keepers.ledger(sender);
    }
    Ok(Box::new(NoTokens(Box::new(move |answer| drop(sender.send(MainLoopEvent::Ledger(answer)))))))
}

/// This process keeps all of it, maybe as long as it is tried.
struct OwnKeepers(Option<TriedHere>);

impl Keepers for OwnKeepers {
    fn net(
        &mut self,
        sender: MainLoopSender,
        observer: Arc<dyn Observer>,
        identity: Option<ConfigIdentity>,
    ) -> io::Result<Box<dyn NetDoors>> {
        let tell = move |event| sender.send(MainLoopEvent::from(event)).is_ok();
        // Who guards nothing owns no table.
        let socket =
            identity.as_ref().and_then(|_| kept_socket::take_or_open(&ServiceManager::of_this_process()));
        let trial = self.0.as_ref().map(TriedHere::first_guard);
        let doorman = DoormanHandle::start(tell, observer, identity, socket, trial)?;
        self.0.iter().for_each(|tried| tried.guard_is(doorman.control()));
        Ok(Box::new(doorman))
    }

    fn commands(
        &mut self,
        sender: MainLoopSender,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Box<dyn CommandDoors>> {
        let runner = Runner::new(move |event| sender.send(MainLoopEvent::from(event)).is_ok(), observer);
        runner.start_by(Shims::of_this_process()?);
        Ok(Box::new(LocalCommandDoors::new(runner)))
    }

    fn ledger(&mut self, sender: MainLoopSender) -> io::Result<Box<dyn Ledger>> {
        let answers = Box::new(move |answer| drop(sender.send(MainLoopEvent::Ledger(answer))));
        Ok(Box::new(FileLedger::start(&state::folder(), answers)?))
    }
}

/// Who is told how a daemon of one process fares.
fn own_status(tried: Option<TriedHere>) -> Arc<dyn ServiceStatus> {
    let manager = ServiceManager::of_this_process();
    match tried {
        Some(tried) => Arc::new(TriedStatus { manager, tried }),
        None => Arc::new(manager),
    }
}

/// Tells systemd, and who tries it.
struct TriedStatus {
    manager: ServiceManager,
    tried: TriedHere,
}

impl ServiceStatus for TriedStatus {
    fn guarded(&self, doors: &[GuardDoor]) {
        self.tried.guarded(doors);
    }

    fn ready(&self) {
        self.manager.ready();
        self.tried.ready();
    }

    fn reloading(&self) {
        self.manager.reloading();
    }

    fn stopping(&self) {
        self.manager.stopping();
    }

    fn alive(&self) {
        self.manager.alive();
    }
}

impl ServiceStatus for ServiceManager {
    fn guarded(&self, _doors: &[GuardDoor]) {
        // There is more to do before it is ready.
    }

    fn ready(&self) {
        Self::ready(self);
    }

    fn reloading(&self) {
        Self::reloading(self);
    }

    fn stopping(&self) {
        Self::stopping(self);
    }

    fn alive(&self) {
        Self::alive(self);
    }
}
