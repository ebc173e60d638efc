//! Probe: a knock of nobody's, judged by a rule of our own that ignores it, which shows that judging goes on although no packet comes.
//!
//! It takes the way of every other knock: the worker's queue and lock, the permission to run, an instance with its limits, a call. No rule
//! of the configuration sees it, and nothing is remembered or asked for because of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Weak};

use crossbeam_channel::{Sender, unbounded};
use postern_core::{
    Direction, Knock, Observer, RuleId, RuleLimits, TcpFlags, TenantId, Timestamp, Transport, Verdict,
};
use postern_text::chain;
use sha2::{Digest as _, Sha256};

use crate::code::Code;
use crate::direct::DirectRulePre;
use crate::instance::Instance;
use crate::module::Module;
use crate::runtime::{RunPermit, Runtime};
use crate::setup_error::SetupError;
use crate::worker::{Job, Worker};

/// The rule. It is ours and a constant, so it may be compiled where rules run.
const MODULE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe.wasm"));

/// What judges a probe.
pub(crate) struct ProbeRule {
    module: Module,
    id: RuleId,
    observer: Arc<dyn Observer>,
}

/// Hands probes to all workers of a [`crate::Pool`].
pub struct Prober {
    pub(crate) rule: Arc<ProbeRule>,
    pub(crate) workers: Arc<[Worker]>,
    /// Weak, or the workers' threads would not end.
    pub(crate) queues: Weak<[Sender<Job>]>,
}

/// Why a probe came to nothing: what the first worker says with which something is wrong.
pub type ProbeFault = String;

impl ProbeRule {
    pub(crate) fn new(runtime: &Runtime) -> Result<Self, SetupError> {
        let engine = runtime.engine();
        let compiled =
            wasmtime::Module::new(engine, MODULE).and_then(|module| DirectRulePre::link(engine, &module));
        let code = compiled.map_err(|error| SetupError::Engine(chain(&*error).to_string()))?;
        let id = RuleId { tenant: TenantId::host(), name: "watchdog".into() };
        let module = Module {
            digest: Sha256::digest(MODULE).into(),
            code: Code::Direct(code),
            runtime: runtime.clone(),
        };
        Ok(Self { module, id, observer: Arc::new(()) })
    }

    /// Has a fresh instance judge a knock.
    pub(crate) fn judge(&self, running: &RunPermit<'_>) -> Result<(), ProbeFault> {
        let limits = RuleLimits::default();
        let started = Instance::start(&self.module, &self.id, limits, "{}", &self.observer);
        let (mut instance, _) = started.map_err(|error| chain(&error).to_string())?;
        match instance.judge(running, &knock(), None) {
            Ok(Verdict::Ignore) => Ok(()),
            Ok(_) => Err("its rule judged otherwise than it always does".to_owned()),
            Err(fault) => Err(chain(&fault).to_string()),
        }
    }
}

impl Prober {
    /// Has every worker judge a probe, behind the knocks that wait for it. **It waits as long as they take**, for ever if one hangs: to be
    /// called on a thread of its own with a stack of [`Runtime::STACK`] bytes.
    ///
    /// # Errors
    /// If one cannot judge; [`crate::Pool::stop`] counts as that.
    pub fn probe(&self) -> Result<(), ProbeFault> {
        if let [worker] = &*self.workers {
            return worker.probe(&self.rule);
        }
        let answers = {
            let (reply, answers) = unbounded();
            let queues = self.queues.upgrade().ok_or_else(stopped)?;
            for queue in &*queues {
                queue.send(Job::Probe(Arc::clone(&self.rule), reply.clone())).map_err(|_| stopped())?;
            }
            answers
        };
        for _ in &*self.workers {
            // A worker that ends without an answer drops its sender, and with the last of them this fails.
            answers.recv().map_err(|_| stopped())??;
        }
        Ok(())
    }
}

fn stopped() -> ProbeFault {
    "a thread that judges has ended".to_owned()
}

/// From nowhere to nowhere.
fn knock() -> Knock {
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    Knock {
        time: Timestamp::default(),
        source: nowhere,
        source_port: 0,
        destination: nowhere,
        destination_port: 9,
        transport: Transport::Udp,
        tcp_flags: TcpFlags::default(),
        hop_limit: 0,
        packet_length: 0,
        tcp_header: None,
        interface: "watchdog".into(),
        interface_index: 0,
        link: 0,
        direction: Direction::Incoming,
        sighting: None,
        payload: Box::default(),
    }
}
