//! Compiled: a module in the place of a rule in Rust, so that it can be rehearsed like one.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_core as core;
use postern_core::{Observer, Report, RuleId, RuleLimits, TenantId, What};
use postern_sandbox::{Instance, Loader, Module, Runtime, StartError};
use postern_sdk::serde_json::{self, Map, Value};
use postern_sdk::{
    CloseRequest, Destination, Interest, Knock, Once, OpenRequest, Prefix, Progress, Rule, TcpFlags,
    Timestamp, Transport, Verdict, Watch,
};

/// What a collection of garbage may take now and then: what rules say is compared, not how quickly.
const LIMITS: RuleLimits = RuleLimits { cpu: Duration::from_millis(100), memory: 16 << 20 };

/// A module that was compiled, and what its instances log.
pub(crate) struct Stage {
    runtime: Runtime,
    module: Arc<Module>,
    log: Arc<LogLines>,
    /// Whether each knock is judged by an instance of its own.
    is_forgetful: bool,
}

thread_local! {
    /// The module that this thread rehearses: a rule is configured without anything at hand but its settings.
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

impl Stage {
    pub(crate) fn compile(bytes: &[u8]) -> Self {
        let runtime = Runtime::start().unwrap();
        let module = Loader::new(runtime.clone(), Arc::new(())).unwrap().load_bytes(bytes);
        let module = module.unwrap_or_else(|error| panic!("{error}"));
        Self { runtime, module, log: Arc::default(), is_forgetful: false }
    }

    /// Does something while [`Compiled`] is this module.
    pub(crate) fn perform<T>(&self, is_forgetful: bool, play: impl FnOnce() -> T) -> T {
        let Self { runtime, module, log, .. } = self;
        let (runtime, module, log) = (runtime.clone(), Arc::clone(module), Arc::clone(log));
        STAGE.set(Some(Self { runtime, module, log, is_forgetful }));
        let done = play();
        STAGE.set(None);
        done
    }

    /// What was logged since the last time.
    pub(crate) fn logged(&self) -> Vec<String> {
        std::mem::take(&mut self.log.0.lock().unwrap())
    }

    fn start(&self, settings: &str) -> Result<(Instance, core::Interest), String> {
        let id = RuleId { tenant: TenantId::host(), name: "example".into() };
        let observer: Arc<dyn Observer> = self.log.clone();
        Instance::start(&self.module, &id, LIMITS, settings, &observer).map_err(|error| match error {
            StartError::Refused(mistake) => mistake,
            other => panic!("{other}"),
        })
    }
}

#[derive(Default)]
struct LogLines(Mutex<Vec<String>>);

impl Observer for LogLines {
    fn report(&self, report: &Report<'_>) {
        let What::Says { severity, text, .. } = &report.what else { panic!("{report:?}") };
        self.0.lock().unwrap().push(format!("{severity:?}: {text}"));
    }

    fn count_drops(&self, _: Option<&TenantId>, _: core::DropReason, _: u64) {}
}

/// The module on this thread's stage.
pub(crate) struct Compiled {
    settings: String,
    instance: RefCell<Instance>,
}

impl Rule for Compiled {
    type Settings = Map<String, Value>;
    type Memory = Vec<u8>;

    fn configure(settings: Self::Settings) -> Result<(Self, Interest), String> {
        let settings = serde_json::to_string(&settings).unwrap();
        let (instance, interest) = on_stage(|stage| stage.start(&settings))?;
        Ok((Self { settings, instance: RefCell::new(instance) }, lower_interest(&interest)))
    }

    fn judge(&self, knock: &Knock, memory: Option<Vec<u8>>) -> Verdict<Vec<u8>> {
        on_stage(|stage| {
            let mut instance = self.instance.borrow_mut();
            if stage.is_forgetful {
                *instance = stage.start(&self.settings).unwrap().0;
            }
            let running = stage.runtime.running();
            let verdict = instance.judge(&running, &lift_knock(knock), memory.as_deref());
            lower_verdict(verdict.unwrap_or_else(|fault| panic!("{fault}")))
        })
    }
}

fn on_stage<T>(act: impl FnOnce(&Stage) -> T) -> T {
    STAGE.with_borrow(|stage| act(stage.as_ref().expect("a stage performs")))
}

fn lower_interest(interest: &core::Interest) -> Interest {
    let watches = interest.watches.iter().map(|watch| {
        let flags = |flags: core::TcpFlags| TcpFlags::from_bits(flags.0);
        Watch::new(lower_transport(watch.transport), watch.first_port..=watch.last_port)
            .with(flags(watch.set))
            .without(flags(watch.clear))
    });
    let destination = match &interest.destination {
        core::Destination::ThisHost => Destination::ThisHost,
        core::Destination::Anywhere => Destination::Anywhere,
        core::Destination::Within(nets) => {
            Destination::Within(nets.iter().map(|net| Prefix::new(net.addr(), net.prefix_len())).collect())
        }
    };
    let lowered = Interest::new(watches)
        .destination(destination)
        .payload_limit(interest.detail.payload_limit.try_into().unwrap())
        .memory_format(interest.memory_format);
    if interest.detail.tcp_header { lowered.tcp_header() } else { lowered }
}

fn lower_transport(transport: core::Transport) -> Transport {
    match transport {
        core::Transport::Tcp => Transport::Tcp,
        core::Transport::Udp => Transport::Udp,
        core::Transport::Icmp => Transport::Icmp,
        core::Transport::Icmpv6 => Transport::Icmpv6,
    }
}

fn lift_knock(knock: &Knock) -> core::Knock {
    core::Knock {
        time: core::Timestamp(knock.time.as_micros()),
        source: knock.source,
        source_port: knock.source_port,
        destination: knock.destination,
        destination_port: knock.destination_port,
        transport: match knock.transport {
            Transport::Tcp => core::Transport::Tcp,
            Transport::Udp => core::Transport::Udp,
            Transport::Icmp => core::Transport::Icmp,
            Transport::Icmpv6 => core::Transport::Icmpv6,
        },
        tcp_flags: core::TcpFlags(knock.tcp_flags.bits()),
        hop_limit: knock.hop_limit,
        packet_length: knock.packet_length,
        tcp_header: knock.tcp_header.as_ref().map(|header| {
            Box::new(core::TcpHeader {
                sequence: header.sequence,
                acknowledgment: header.acknowledgment,
                window: header.window,
                urgent_pointer: header.urgent_pointer,
                options: header.options.as_slice().into(),
            })
        }),
        interface: "eth0".into(),
        interface_index: knock.interface_index,
        link: knock.source_zone,
        direction: core::Direction::Incoming,
        sighting: None,
        payload: knock.payload.as_slice().into(),
    }
}

fn lower_verdict(verdict: core::Verdict) -> Verdict<Vec<u8>> {
    match verdict {
        core::Verdict::Ignore => Verdict::Ignore,
        core::Verdict::Remember(progress) => Verdict::Remember(lower_progress(progress)),
        core::Verdict::Forget(reason) => Verdict::forget(String::from(reason)),
        core::Verdict::Open { requests, remember } => Verdict::Open {
            requests: requests.into_iter().map(lower_open).collect(),
            remember: remember.map(lower_progress),
        },
        core::Verdict::Close { requests, remember } => Verdict::Close {
            requests: requests.into_iter().map(|it| lower_close(it.door, it.prefix_length)).collect(),
            remember: remember.map(lower_progress),
        },
    }
}

fn lower_progress(progress: core::Progress) -> Progress<Vec<u8>> {
    Progress {
        stage: progress.stage,
        memory: progress.bytes.into_vec(),
        until: Timestamp::from_micros(progress.until.0),
    }
}

fn lower_open(request: core::OpenRequest) -> OpenRequest {
    let mut lowered = request.door.map_or_else(OpenRequest::default, OpenRequest::door);
    if let Some(bits) = request.prefix_length {
        lowered = lowered.prefix_length(bits);
    }
    if let Some(lasts) = request.lasts {
        lowered = lowered.lasting(lasts);
    }
    match request.once {
        None => lowered,
        Some(core::Once::Token { bytes, until: None }) => lowered.once(Once::token(bytes)),
        Some(core::Once::Token { bytes, until: Some(until) }) => {
            lowered.once(Once::token_until(bytes, Timestamp::from_micros(until.0)))
        }
        Some(core::Once::Counter { key, value }) => lowered.once(Once::counter(key, value)),
    }
}

fn lower_close(door: Option<Box<str>>, prefix_length: Option<u8>) -> CloseRequest {
    let lowered = door.map_or_else(CloseRequest::default, CloseRequest::door);
    match prefix_length {
        Some(bits) => lowered.prefix_length(bits),
        None => lowered,
    }
}
