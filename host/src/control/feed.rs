//! Feed: where reports branch off for the control socket. It is an observer like any other, in front of the one that writes the log.
//!
//! **Invariant:** a thread that reports never waits here for anybody who listens.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use postern_capture::Shown;
use postern_core::{Client, DropReason, Knock, Observer, Report, RuleId, Silence, TenantId, What};
use postern_protocol::{Event, TenantRefusal};
use postern_sandbox::IsLocal;
use postern_text::panic::PastPanic;

use super::access::View;
use super::event::{event_of, now_ms};
use super::explain::{arrived_text, passed_over_text, silent_text, stage_text, timeout_text};
use super::in_force::InForce;
use super::listening::Listening;
use super::recent::{Memories, Record, Said};
use super::situation::{Situation, is_about_situation};
use super::subscribers::{Events, Subscriber, Wanted};
use crate::observe::{Counters, Relay, report_in, words};

/// Who may follow an address at the same time, and how many of them may be others than root.
const MOST_FOLLOWERS: usize = 4;
const FOLLOWERS_OF_TENANTS: usize = 3;
/// Who of all others may listen at the same time, and as many of root's.
const MOST_LISTENERS: usize = 16;
/// Who of one user but root may listen, and follow.
const LISTENERS_OF_USER: usize = 4;
const FOLLOWERS_OF_USER: usize = 2;
/// The longest text that is remembered of a report, in bytes.
const LONGEST_TEXT: usize = 400;

/// Passes reports on, and keeps what the control socket is asked for.
pub(crate) struct Feed {
    next: Arc<dyn Observer>,
    /// Drops that `next` counts.
    pub(super) counters: Arc<Counters>,
    /// Whether anybody can ask: else nothing is kept.
    is_on: AtomicBool,
    /// Whether anybody follows an address.
    is_following: AtomicBool,
    listeners: ArcSwap<Vec<Arc<Subscriber>>>,
    pub(super) in_force: ArcSwap<InForce>,
    pub(super) recent: Memories,
    situation: Mutex<Situation>,
    /// Held while listeners change.
    changing: Mutex<()>,
    /// Which addresses are this machine's.
    is_local: OnceLock<IsLocal>,
}

impl Feed {
    /// In front of `next`, which counts drops by `counters`; off.
    pub(crate) fn new(next: Arc<dyn Observer>, counters: Arc<Counters>) -> Self {
        Self {
            next,
            counters,
            is_on: AtomicBool::new(false),
            is_following: AtomicBool::new(false),
            listeners: ArcSwap::default(),
            in_force: ArcSwap::default(),
            recent: Memories::default(),
            situation: Mutex::default(),
            changing: Mutex::default(),
            is_local: OnceLock::new(),
        }
    }

    /// These addresses are this machine's.
    pub(super) fn learn_local(&self, is_local: IsLocal) {
        let _ = self.is_local.set(is_local);
    }

    /// Somebody can ask from now on.
    pub(super) fn switch_on(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// This configuration is in force.
    pub(super) fn put_in_force(&self, in_force: InForce) {
        let has = |tenant: &TenantId| in_force.rules.iter().any(|rule| rule.id.tenant == *tenant);
        self.recent.keep(has);
        self.in_force.store(Arc::new(in_force));
    }

    /// The newest files of these owners are not in force.
    pub(super) fn refuse(&self, refused: Vec<TenantRefusal>) {
        self.in_force.rcu(|before| {
            let mut after = InForce::clone(before);
            after.refused.clone_from(&refused);
            after
        });
    }

    /// Adds one of this user's who listens.
    ///
    /// # Errors
    /// If as many listen like that as may, and how many these are.
    pub(super) fn listen(
        &self,
        wanted: Wanted,
        how: Listening,
        uid: u32,
    ) -> Result<(Arc<Subscriber>, Events), usize> {
        let _changing = self.changing.lock().past_panic();
        let mut listeners = Vec::clone(&self.listeners.load());
        let count = |is: &dyn Fn(&Subscriber) -> bool| listeners.iter().filter(|other| is(other)).count();
        let (others, own) = match how {
            Listening::Follows(_) => {
                (count(&|it| it.follows.is_some()), count(&|it| it.follows.is_some() && it.uid == uid))
            }
            Listening::ToReports => {
                let is_alike = |it: &Subscriber| it.is_counted && it.follows.is_none();
                let is_of_root = uid == 0;
                (
                    count(&|it| is_alike(it) && (it.uid == 0) == is_of_root),
                    count(&|it| is_alike(it) && it.uid == uid),
                )
            }
            Listening::Briefly => (0, 0),
        };
        let (most, of_user) = match (how, uid) {
            (Listening::Follows(_), 0) => (MOST_FOLLOWERS, MOST_FOLLOWERS),
            (Listening::Follows(_), _) => (FOLLOWERS_OF_TENANTS, FOLLOWERS_OF_USER),
            (_, 0) => (MOST_LISTENERS, MOST_LISTENERS),
            (_, _) => (MOST_LISTENERS, LISTENERS_OF_USER),
        };
        if others >= most || own >= of_user {
            return Err(others.min(most));
        }
        let (subscriber, events) = Subscriber::new(wanted, how, uid);
        let subscriber = Arc::new(subscriber);
        listeners.push(Arc::clone(&subscriber));
        self.put_listeners(listeners);
        Ok((subscriber, events))
    }

    /// One does not listen any more.
    pub(super) fn end(&self, subscriber: &Arc<Subscriber>) {
        let _changing = self.changing.lock().past_panic();
        let mut listeners = Vec::clone(&self.listeners.load());
        listeners.retain(|other| !Arc::ptr_eq(other, subscriber));
        self.put_listeners(listeners);
    }

    /// The addresses that are followed.
    pub(super) fn followed(&self) -> Vec<IpAddr> {
        let mut all: Vec<_> = self.listeners.load().iter().filter_map(|listener| listener.follows).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn put_listeners(&self, listeners: Vec<Arc<Subscriber>>) {
        self.is_following
            .store(listeners.iter().any(|listener| listener.follows.is_some()), Ordering::Relaxed);
        self.listeners.store(Arc::new(listeners));
    }

    /// How the daemon is now.
    pub(super) fn situation(&self) -> Situation {
        self.lock_situation().clone()
    }

    fn lock_situation(&self) -> MutexGuard<'_, Situation> {
        self.situation.lock().past_panic()
    }

    /// Takes in what is reported, by this process or another.
    fn take(&self, report: &Report<'_>) {
        // What begins before anybody can ask is asked for later.
        if is_about_situation(report) {
            self.lock_situation().note(report, Instant::now(), || words(report));
        }
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        if report.client.is_some() {
            self.remember(report);
        }
        for listener in self.listeners.load().iter() {
            if !listener.wants(report) {
                continue;
            }
            match listener.follows {
                Some(_) => listener.tell(|| self.explained(report)),
                None => listener.tell(|| event_of(report, now_ms())),
            }
        }
    }

    /// Remembers a report about a client and a rule.
    fn remember(&self, report: &Report<'_>) {
        let (Some(client), Some(rule)) = (report.client, report.rule()) else { return };
        let said = match &report.what {
            What::Stage { stage, lasts } => Said::Stage(*stage, *lasts),
            What::TimedOut { stage } => Said::TimedOut(*stage),
            What::Forgot { reason, .. } => Said::Forgot(cut(reason).into()),
            What::Solved { closes } => Said::Solved { closes: *closes },
            what => Said::Other {
                kind: what.name(),
                text: cut(&words(report)).into(),
                door: report.door.as_deref().map(Into::into),
            },
        };
        self.recent.add(Record { time_ms: now_ms(), rule: rule.clone(), client, said });
    }

    /// Tells those who follow the source of a packet something about that, if they may hear it.
    fn tell_followers(
        &self,
        knock: &Knock,
        rule: Option<&RuleId>,
        kind: &str,
        may_hear: impl Fn(&Subscriber) -> bool,
        text: impl Fn() -> String,
    ) {
        if !self.is_following.load(Ordering::Relaxed) {
            return;
        }
        for follower in self.listeners.load().iter().filter(|it| it.follows == Some(knock.source)) {
            if may_hear(follower) {
                follower.tell(|| Event {
                    time_ms: now_ms(),
                    kind: kind.to_owned(),
                    severity: "debug".to_owned(),
                    tenant: rule.map(|rule| rule.tenant.to_string()),
                    rule: rule.map(|rule| rule.name.to_string()),
                    client: Some(Shown(Client::on_link(knock.source, knock.link)).to_string()),
                    door: None,
                    text: postern_text::line(&text()).to_string(),
                    fields: serde_json::Map::new(),
                });
            }
        }
    }

    /// What a follower is told of a report, in words for a helpdesk.
    fn explained(&self, report: &Report<'_>) -> Event {
        let mut event = event_of(report, now_ms());
        if let Some(rule) = report.rule() {
            let in_force = self.in_force.load();
            match &report.what {
                What::Stage { stage, lasts } => event.text = stage_text(rule, *stage, *lasts, &in_force),
                What::TimedOut { stage } => event.text = timeout_text(rule, *stage, &in_force),
                _ => {}
            }
        }
        event
    }
}

impl Observer for Feed {
    fn report(&self, report: &Report<'_>) {
        self.next.report(report);
        self.take(report);
    }

    fn count_drops(&self, tenant: Option<&TenantId>, reason: DropReason, count: u64) {
        self.next.count_drops(tenant, reason, count);
    }

    fn silent(&self, rule: &RuleId, knock: &Knock, silence: Silence) {
        let kind = match silence {
            Silence::Ignored => "ignored",
            Silence::Remembered => "remembered",
            Silence::Dropped(_) => "dropped",
        };
        let is_its = |it: &Subscriber| it.view().shows(Some(&rule.tenant));
        self.tell_followers(knock, Some(rule), kind, is_its, || {
            silent_text(rule, knock, silence, &self.in_force.load())
        });
    }

    fn arrived(&self, knock: &Knock) {
        let may_watch = |it: &Subscriber| {
            it.count_packet();
            let is_local = || self.is_local.get().is_some_and(|is_local| is_local(knock.destination));
            self.in_force.load().may_watch(it.view(), knock, is_local)
        };
        self.tell_followers(knock, None, "arrived", may_watch, || arrived_text(knock));
    }

    fn passed_over(&self, knock: &Knock, reason: DropReason) {
        // Whether another tenant's rule watches a port is no tenant's business.
        let is_all = |it: &Subscriber| *it.view() == View::All;
        self.tell_followers(knock, None, reason.name(), is_all, || {
            passed_over_text(knock, reason, &self.in_force.load())
        });
    }

    fn limit_lines(&self, tenant: &TenantId, lines: u32) {
        self.next.limit_lines(tenant, lines);
    }
}

/// What other processes of the daemon report comes here as well, once it is in the log.
impl Relay for Feed {
    fn relay(&self, message: &[u8]) -> bool {
        report_in(message).iter().for_each(|report| self.take(report));
        false
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}
