//! Rehearsal: one rule alone, with knocks in virtual time. Which knocks it is shown, what is remembered for it and what it may use is decided by
//! the parts of the daemon that decide it there. It opens no door, and after a fault the rule does not rest: what it says of the next knock is
//! what matters here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use postern_config::RuleHead;
use postern_core::{
    Direction, Dispatch, DispatchPart, DropReason, Interest, Knock, Memories, MemoryId, Observer, Remembered,
    Report, RuleId, Severity, Subscription, TcpFlags, TcpHeader, TenantId, Timestamp, Transport, Verdict,
    What,
};
use postern_lines::{KnockLine, TransportWord, is_this_host};
use postern_sandbox::{Instance, Module, RunPermit, StartError};
use postern_text::panic::PastPanic;

/// A rule at work.
pub(super) struct Rehearsal {
    module: Arc<Module>,
    head: RuleHead,
    id: RuleId,
    observer: Arc<dyn Observer>,
    dispatch: Dispatch,
    memories: Memories,
    memory: MemoryId,
    /// None after a fault, until the next knock.
    instance: Option<Instance>,
}

/// What came of a knock.
#[derive(Debug)]
pub(super) enum Said {
    /// The rule did not ask for such knocks.
    NotShown,
    /// What the rule said.
    Verdict {
        /// The verdict.
        verdict: Verdict,
        /// Why what it wants to remember is not, or is at the cost of other clients.
        dropped: Option<DropReason>,
    },
    /// The rule faulted, and how.
    Fault(String),
}

/// The lines that a rule logged since they were taken last.
#[derive(Debug, Default)]
pub(super) struct GuestLines(Mutex<Vec<(Severity, String)>>);

impl GuestLines {
    /// Those that came since the last time.
    pub(super) fn take(&self) -> Vec<(Severity, String)> {
        std::mem::take(&mut *self.0.lock().past_panic())
    }
}

impl Observer for GuestLines {
    fn report(&self, report: &Report<'_>) {
        if let What::Says { severity, text, .. } = &report.what {
            self.0.lock().past_panic().push((*severity, text.clone().into_owned()));
        }
    }

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

impl Rehearsal {
    /// Starts a module with the settings and limits of `head`; `observer` gets its lines, those of the start as well.
    ///
    /// # Errors
    /// If it faults, refuses its settings, or asks for the impossible.
    pub(super) fn start(
        module: Arc<Module>,
        head: RuleHead,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, StartError> {
        let id = RuleId { tenant: TenantId::host(), name: "rehearsed".into() };
        let (instance, interest) = Instance::start(&module, &id, head.limits, &head.settings, &observer)?;
        let dispatch = dispatch(interest)?;
        let mut memories = Memories::new(head.bounds, &HashMap::new());
        let memory = memories.add(&id.tenant, head.bounds);
        Ok(Self { module, head, id, observer, dispatch, memories, memory, instance: Some(instance) })
    }

    /// What it asked to see.
    pub(super) fn interest(&self) -> &Interest {
        &self.dispatch.subscription(0).interest
    }

    /// What its instance has of memory and tables, in bytes; 0 if it has none since it faulted.
    pub(super) fn instance_memory(&self) -> usize {
        self.instance.as_ref().map_or(0, Instance::memory)
    }

    /// Has it judge a knock, if it asked for such a one.
    pub(super) fn judge(&mut self, running: &RunPermit<'_>, knock: &Knock) -> Said {
        if self.dispatch.wanted(knock, &is_this_host).next().is_none() {
            return Said::NotShown;
        }
        let Self { memories, memory, .. } = self;
        let client = memories.client(knock.source, knock.link);
        memories.expire(*memory, client, knock.time);
        // As long as it is called, nothing else happens to what is remembered.
        let remembered = memories.recall(*memory, client, knock.time).map(<[u8]>::to_vec);
        let verdict = match self.call(running, knock, remembered.as_deref()) {
            Ok(verdict) => verdict,
            Err(error) => return Said::Fault(error.to_string()),
        };
        let progress = match &verdict {
            Verdict::Ignore => return Said::Verdict { verdict, dropped: None },
            Verdict::Remember(progress) => Some(progress.clone()),
            Verdict::Forget(_) => None,
            Verdict::Open { remember, .. } | Verdict::Close { remember, .. } => remember.clone(),
        };
        let Self { memories, memory, .. } = self;
        let Some(progress) = progress else {
            memories.forget(*memory, client);
            return Said::Verdict { verdict, dropped: None };
        };
        let dropped = match memories.remember(*memory, client, progress, knock.time) {
            Remembered { is_kept: false, .. } => Some(DropReason::MemoryFull),
            Remembered { evicted: 0, .. } => None,
            Remembered { .. } => Some(DropReason::Evicted),
        };
        Said::Verdict { verdict, dropped }
    }

    /// Calls the rule, for which it is started if it must be.
    fn call(
        &mut self,
        running: &RunPermit<'_>,
        knock: &Knock,
        remembered: Option<&[u8]>,
    ) -> Result<Verdict, StartError> {
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => {
                let RuleHead { limits, settings, .. } = &self.head;
                none.insert(Instance::start(&self.module, &self.id, *limits, settings, &self.observer)?.0)
            }
        };
        let verdict = instance.judge(running, knock, remembered);
        if verdict.is_err() {
            self.instance = None;
        }
        Ok(verdict?)
    }
}

/// The dispatch of a daemon that has this rule alone.
fn dispatch(interest: Interest) -> Result<Dispatch, StartError> {
    let subscription =
        Subscription { interest, interfaces: Vec::new(), sees_outgoing: false, is_local_only: false };
    let part = DispatchPart::new(&TenantId::host(), vec![subscription]);
    Ok(Dispatch::new(vec![part.map_err(|error| StartError::Interest(error.to_string()))?]))
}

/// The knock that a line describes.
pub(super) fn knock_of(line: &KnockLine) -> Knock {
    Knock {
        time: Timestamp(line.time),
        source: line.source.address,
        source_port: line.source_port,
        destination: line.destination,
        destination_port: line.destination_port,
        transport: match line.transport {
            TransportWord::Tcp => Transport::Tcp,
            TransportWord::Udp => Transport::Udp,
            TransportWord::Icmp => Transport::Icmp,
            TransportWord::Icmpv6 => Transport::Icmpv6,
        },
        tcp_flags: TcpFlags(line.tcp_flags),
        hop_limit: line.hop_limit,
        packet_length: line.packet_length,
        tcp_header: line.tcp_header.as_ref().map(|header| {
            Box::new(TcpHeader {
                sequence: header.sequence,
                acknowledgment: header.acknowledgment,
                window: header.window,
                urgent_pointer: header.urgent_pointer,
                options: header.options.as_slice().into(),
            })
        }),
        interface: "scenario".into(),
        interface_index: line.interface_index,
        link: line.source.zone,
        direction: Direction::Incoming,
        sighting: None,
        payload: line.payload.as_slice().into(),
    }
}
