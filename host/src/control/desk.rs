//! Desk: answers requests, whoever asks; what they may see was decided before.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use postern_capture::Shown;
use postern_core::{DropReason, OpeningState, RuleId, TenantId, What, show_digest};
use postern_protocol::{
    ClientsOf, DESCRIPTION, Explain, HalfFinished, INTERFACE, Opening, Process, Refusal, Reply, Request,
    RuleState, SERVICE, SERVICE_DESCRIPTION, Selection, ServiceDescription, ServiceInfo, Tail, TenantRefusal,
};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::access::{Asker, View, named_tenant};
use super::event::now_ms;
use super::explain;
use super::feed::Feed;
use super::listening::Listening;
use super::packets::PassedPackets;
use super::recent::{Record, Said};
use super::subscribers::{Events, Subscriber, Wanted};
use crate::control_question::ControlQuestion;
use crate::main_loop_event::{MainLoopEvent, MainLoopSender};
use crate::shared_engine::{OpenDoor, SharedEngine};
use crate::try_run::{ConfirmedBy, TryView};

/// Openings of one answer.
const MOST_OPENINGS: usize = 2000;
/// Openings that are looked at in one go, and the pause behind it.
const AT_ONCE: usize = 256;
const BETWEEN: Duration = Duration::from_millis(1);
/// How long whoever follows an address waits until the captures let everything from there through.
const UNTIL_SEEN: Duration = Duration::from_secs(1);
/// Half-finished knocks of one answer.
const MOST_CLIENTS: usize = 10_000;

/// Answers requests.
pub(crate) struct Desk {
    pub(crate) feed: Arc<Feed>,
    pub(super) engine: Arc<SharedEngine>,
    pub(super) sender: MainLoopSender,
    /// The user that the daemon was started as, who is as good as root to it; none if that is root.
    pub(super) own_uid: Option<u32>,
    pub(super) processes: Arc<Mutex<Vec<Process>>>,
    /// None if the daemon runs for good.
    pub(super) tried: Option<TryView>,
    pub(super) started: (Instant, SystemTime),
    /// All drops at these times, the oldest first.
    pub(super) noted: Mutex<VecDeque<(Instant, [u64; REASONS])>>,
    packets: PassedPackets,
}

pub(super) const REASONS: usize = DropReason::ALL.len();

/// An answer.
pub(super) enum Answered {
    Reply(Reply),
    Several(Vec<Reply>),
    /// Events, as they happen.
    Events(Subscription),
    Refused(Refusal),
}

/// That somebody listens, until this is gone.
pub(super) struct Subscription {
    pub(super) events: Events,
    pub(super) subscriber: Arc<Subscriber>,
    feed: Arc<Feed>,
    sender: MainLoopSender,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.end(&self.subscriber);
        if self.subscriber.follows.is_some() {
            follow(&self.feed, &self.sender, None);
        }
    }
}

/// Has the captures see what comes from those who are followed. Without a main loop nothing is captured.
fn follow(feed: &Feed, sender: &MainLoopSender, done: Option<oneshot::Sender<()>>) {
    let _ = sender.send(MainLoopEvent::Asked(ControlQuestion::Follow(feed.followed(), done)));
}

impl Desk {
    /// Answers for this engine.
    pub(crate) fn new(
        feed: Arc<Feed>,
        engine: Arc<SharedEngine>,
        sender: MainLoopSender,
        own_uid: Option<u32>,
        processes: Arc<Mutex<Vec<Process>>>,
        tried: Option<TryView>,
    ) -> Self {
        let started = (Instant::now(), SystemTime::now());
        let (noted, packets) = (Mutex::default(), PassedPackets::default());
        Self { feed, engine, sender, own_uid, processes, tried, started, noted, packets }
    }

    /// Answers what this asker may ask, as far as the view goes.
    pub(super) async fn answer(&self, request: Request, view: View, asker: &Asker) -> Answered {
        if let Err(refusal) = self.check_names(&request, &view) {
            return Answered::Refused(refusal);
        }
        let answered = match request {
            Request::Status(_) => Ok(Reply::Status(Box::new(self.status(&view)))),
            Request::Doors(of) => self.doors(&of, &view).await,
            Request::Rules(of) => self.rules(&of, &view),
            Request::Clients(of) => Ok(self.clients(&of, &view)),
            Request::Explain(Explain { address, follow: false, .. }) => {
                return Answered::Several(self.explain(address, &view));
            }
            Request::Explain(Explain { address, follow: true, .. }) => {
                return self.follow(address, view, asker.uid).await;
            }
            Request::Tail(tail) => return self.tail(tail, view, asker.uid),
            Request::Open(open) => self.open_by_hand(open, asker.uid).await,
            Request::Close(close) => self.close_by_hand(close, asker.uid).await,
            Request::Reload => self.reload().await,
            Request::Confirm => self.confirm().await,
            Request::GetInfo => Ok(Reply::Info(ServiceInfo {
                vendor: "Postern".to_owned(),
                product: "posternd".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                url: String::new(),
                interfaces: vec![SERVICE.to_owned(), INTERFACE.to_owned()],
            })),
            Request::GetInterfaceDescription(name) => match &*name.interface {
                INTERFACE => Ok(description(DESCRIPTION)),
                SERVICE => Ok(description(SERVICE_DESCRIPTION)),
                _ => Err(Refusal::InterfaceNotFound { interface: name.interface }),
            },
        };
        match answered {
            Ok(reply) => Answered::Reply(reply),
            Err(refusal) => Answered::Refused(refusal),
        }
    }

    async fn doors(&self, of: &Selection, view: &View) -> Result<Reply, Refusal> {
        if let Some(name) = &of.door {
            self.check_door(name, view)?;
        }
        // Of each owner its own: how long that takes says nothing of what others have open.
        let owners: Vec<_> = match view {
            View::All => vec![None],
            View::Of(tenants) => tenants.iter().map(Some).collect(),
        };
        let (mut doors, mut keys, mut left_out) = (Vec::new(), Vec::new(), 0);
        for owner in owners {
            let (mut seen, mut after) = (0, None);
            loop {
                if doors.len() == MOST_OPENINGS && of.door.is_none() {
                    // All others are as good as counted.
                    left_out += self.engine.parts_of(owner).saturating_sub(seen) as u64;
                    break;
                }
                let (some, last) = self.engine.openings_after(owner, after, AT_ONCE);
                if last.is_none() {
                    break;
                }
                after = last;
                seen += some.len();
                let is_wanted = |open: &&OpenDoor| of.door.as_ref().is_none_or(|name| **name == *open.door);
                for open in some.iter().filter(is_wanted) {
                    if doors.len() < MOST_OPENINGS {
                        doors.push(self.opening(open));
                        keys.push(open.key);
                    } else {
                        left_out += 1;
                    }
                }
                // Whoever knocks meanwhile is not to wait for a long list: a lock that is taken again at once leaves others no time.
                sleep(BETWEEN).await;
            }
        }
        let packets = self.packets.of(&keys, |asked| self.engine.packets(asked)).await;
        doors.iter_mut().zip(&keys).for_each(|(door, key)| door.packets = packets.get(key).copied());
        Ok(Reply::Doors { doors, left_out })
    }

    fn opening(&self, open: &OpenDoor) -> Opening {
        let OpenDoor { key, door: name, state, rule, module, open_for, left } = open;
        let state = match state {
            OpeningState::Recording { .. } | OpeningState::Opening => "opening",
            OpeningState::Open => "open",
            OpeningState::Closing { .. } => "closing",
        };
        Opening {
            door: name.to_string(),
            kind: self.feed.in_force.load().door_kind(name).unwrap_or("command").to_owned(),
            client: Shown(key.client).to_string(),
            state: state.to_owned(),
            tenant: rule.as_ref().map(|rule| rule.tenant.to_string()),
            rule: rule.as_ref().map(|rule| rule.name.to_string()),
            module: module.as_ref().map(show_digest),
            since_ms: open_for.map(millis),
            left_ms: millis(*left),
            packets: None,
        }
    }

    /// That what a request names is there: else it would be answered with nothing, or never.
    fn check_names(&self, request: &Request, view: &View) -> Result<(), Refusal> {
        let in_force = self.feed.in_force.load();
        let not_found = |kind: &str, name: &str, there_are: String| {
            Err(Refusal::NotFound { kind: kind.to_owned(), name: name.to_owned(), there_are })
        };
        if let Some(name) = named_tenant(request)
            && !in_force.has_tenant(name)
        {
            return not_found("tenant", name, in_force.there_are_tenants());
        }
        let Request::Tail(Tail { rule, kinds, .. }) = request else { return Ok(()) };
        if let Some(kind) = kinds.iter().flatten().find(|kind| !What::NAMES.contains(&kind.as_str())) {
            return not_found("kind", kind, "docs/log.md has them all".to_owned());
        }
        let is_it = |name: &&String| {
            in_force.rules.iter().any(|of| *of.id.name == ***name && view.shows(Some(&of.id.tenant)))
        };
        match rule.as_ref().filter(|name| !is_it(name) && name.as_str() != RuleId::BY_HAND) {
            Some(name) => not_found("rule", name, "see postern rules".to_owned()),
            None => Ok(()),
        }
    }

    /// That there is a door of this name, as far as the asker may know.
    pub(super) fn check_door(&self, name: &str, view: &View) -> Result<(), Refusal> {
        let in_force = self.feed.in_force.load();
        let may_know = match view {
            View::All => in_force.door_kind(name).is_some(),
            View::Of(_) => {
                in_force.rules.iter().any(|rule| view.shows(Some(&rule.id.tenant)) && rule.has_door(name))
            }
        };
        if may_know {
            return Ok(());
        }
        let there_are = match view {
            View::All => in_force.there_are_doors(),
            View::Of(_) => "your rules have no such door".to_owned(),
        };
        Err(Refusal::NotFound { kind: "door".to_owned(), name: name.to_owned(), there_are })
    }

    fn rules(&self, of: &Selection, view: &View) -> Result<Reply, Refusal> {
        if let Some(name) = &of.door {
            self.check_door(name, view)?;
        }
        let in_force = self.feed.in_force.load();
        let suspended = self.engine.suspended();
        let situation = self.feed.situation();
        let now = Instant::now();
        let state = |id: &RuleId, is_trial: bool| {
            if suspended.contains(id) {
                return (RuleState::Withdrawn, "its file is gone; it opens nothing".to_owned());
            }
            match situation.resting(id, now) {
                Some((left, why)) => {
                    (RuleState::Resting, format!("it rests for {} more: {why}", explain::shown(left)))
                }
                None => {
                    let failed = situation.failed(id, now);
                    let failed =
                        failed.map(|(ago, why)| format!("it failed {} ago: {why}", explain::shown(ago)));
                    let trial = is_trial.then(|| "it is on trial, and opens nothing".to_owned());
                    let state = if is_trial { RuleState::Trial } else { RuleState::Running };
                    (state, [trial, failed].into_iter().flatten().collect::<Vec<_>>().join("; "))
                }
            }
        };
        let shown = in_force.rules.iter().filter(|rule| view.shows(Some(&rule.id.tenant)));
        let shown = shown.filter(|rule| of.door.as_ref().is_none_or(|door| rule.has_door(door)));
        let rules = shown.map(|rule| {
            let (state, why) = state(&rule.id, rule.is_trial);
            rule.info(state, why)
        });
        Ok(Reply::Rules { rules: rules.collect() })
    }

    /// Who has come half way, as far as that is remembered.
    fn clients(&self, of: &ClientsOf, view: &View) -> Reply {
        let now = now_ms();
        let mut clients = Vec::new();
        let shows = |tenant: &TenantId| view.shows(Some(tenant));
        let mut take = |mut records: Vec<Record>| {
            // Of each client and rule the newest comes last.
            records.reverse();
            records.sort_by(|one, other| (one.client, &one.rule).cmp(&(other.client, &other.rule)));
            records.dedup_by(|next, first| next.client == first.client && next.rule == first.rule);
            clients.extend(records.iter().filter_map(|record| half_finished(record, now)));
            clients.truncate(MOST_CLIENTS);
        };
        match of.address {
            Some(address) => take(self.feed.recent.of(address, shows)),
            None => self.feed.recent.all(shows).for_each(take),
        }
        Reply::Clients { clients }
    }

    /// What is remembered of an address, the oldest first, and nothing behind it.
    fn explain(&self, address: IpAddr, view: &View) -> Vec<Reply> {
        let in_force = self.feed.in_force.load();
        let records = self.feed.recent.of(address, |tenant| view.shows(Some(tenant)));
        let event = |record: &Record| {
            let event = explain::event_of(record, &in_force);
            Reply::Event { event: Some(Box::new(event)), left_out: 0 }
        };
        records.iter().map(event).chain([Reply::Event { event: None, left_out: 0 }]).collect()
    }

    async fn follow(&self, address: IpAddr, view: View, uid: u32) -> Answered {
        let wanted = Wanted { view, rule: None, from: Some(address.into()), kinds: None };
        match self.subscribe(wanted, Listening::Follows(address), uid) {
            Ok(subscription) => {
                let (done, is_seen) = oneshot::channel();
                follow(&self.feed, &self.sender, Some(done));
                // An interface that is missing keeps nobody waiting.
                let _ = timeout(UNTIL_SEEN, is_seen).await;
                Answered::Events(subscription)
            }
            Err(refusal) => Answered::Refused(refusal),
        }
    }

    fn tail(&self, Tail { rule, from, kinds, .. }: Tail, view: View, uid: u32) -> Answered {
        let from = match from.as_deref().map(parse_net).transpose() {
            Ok(from) => from,
            Err(parameter) => return Answered::Refused(Refusal::InvalidParameter { parameter }),
        };
        match self.subscribe(Wanted { view, rule, from, kinds }, Listening::ToReports, uid) {
            Ok(subscription) => Answered::Events(subscription),
            Err(refusal) => Answered::Refused(refusal),
        }
    }

    pub(super) fn subscribe(
        &self,
        wanted: Wanted,
        how: Listening,
        uid: u32,
    ) -> Result<Subscription, Refusal> {
        let (subscriber, events) = self.feed.listen(wanted, how, uid).map_err(|most| Refusal::Busy {
            why: format!("{most} listen already; try again when one of them has gone"),
        })?;
        let (feed, sender) = (Arc::clone(&self.feed), self.sender.clone());
        Ok(Subscription { events, subscriber, feed, sender })
    }

    async fn confirm(&self) -> Result<Reply, Refusal> {
        let Some(tried) = self.tried.as_ref().filter(|tried| tried.left().is_some()) else {
            return Err(Refusal::NotDone { why: "nothing is tried: the daemon runs for good".to_owned() });
        };
        match tried.confirm(ConfirmedBy::Control).await {
            true => Ok(Reply::Confirmed {}),
            false => {
                Err(Refusal::NotDone { why: "the guard does not stay so far; the log says why".to_owned() })
            }
        }
    }

    async fn reload(&self) -> Result<Reply, Refusal> {
        let (reply, answer) = oneshot::channel();
        let stopping = || Refusal::NotDone { why: "the daemon is stopping".to_owned() };
        let asked = MainLoopEvent::Asked(ControlQuestion::Reload(reply));
        self.sender.send(asked).map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?.map(Reply::Reloaded)
    }
}

/// What a record says of a knock that goes on now.
fn half_finished(record: &Record, now: u64) -> Option<HalfFinished> {
    let Record { time_ms, rule, client, said: Said::Stage(stage, lasts) } = record else { return None };
    let left_ms = time_ms.saturating_add(millis(*lasts)).checked_sub(now).filter(|left| *left > 0)?;
    Some(HalfFinished {
        tenant: rule.tenant.to_string(),
        rule: rule.name.to_string(),
        client: Shown(*client).to_string(),
        stage: *stage,
        since_ms: now.saturating_sub(*time_ms),
        left_ms,
    })
}

/// An address, or a network.
fn parse_net(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse::<IpNet>())
        .map(|net| net.trunc())
        .map_err(|_| format!("from: `{text}` is neither an address nor a network such as 192.0.2.0/24"))
}

fn description(text: &str) -> Reply {
    Reply::Description(ServiceDescription { description: text.to_owned() })
}

pub(super) fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// What is not in force, of each owner.
pub(crate) fn refusals(refused: &[crate::assemble::RefusedTenant]) -> Vec<TenantRefusal> {
    let told = |of: &crate::assemble::RefusedTenant| TenantRefusal {
        tenant: of.tenant.to_string(),
        mistakes: of.mistakes.iter().map(ToString::to_string).collect(),
    };
    refused.iter().filter(|of| of.mistakes.iter().next().is_some()).map(told).collect()
}
