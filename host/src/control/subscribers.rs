//! Subscribers: those who listen to reports as they happen. A report is rendered only if somebody wants it and has room for it, so that whoever
//! listens and does not read costs a few comparisons.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use postern_core::{Client, Report};
use postern_protocol::Event;
use postern_text::panic::PastPanic;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::access::View;
use super::pace::Bucket;

/// Events that may wait for one who reads.
const WAITING: usize = 256;
/// One who listens is told so many at once, and then one each so often: what is more is counted.
const BURST: u32 = 500;
const EACH: Duration = Duration::from_millis(5);

/// What somebody wants to hear.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Of whom.
    pub(super) view: View,
    /// The name of a rule.
    pub(super) rule: Option<String>,
    /// Clients there.
    pub(super) from: Option<IpNet>,
    /// Kinds, as logs name them.
    pub(super) kinds: Option<Vec<String>>,
}

impl Wanted {
    fn includes(&self, report: &Report<'_>) -> bool {
        let is_kind = |kinds: &Vec<String>| kinds.iter().any(|kind| kind == report.what.name());
        self.view.shows(report.tenant())
            && self.rule.as_deref().is_none_or(|name| report.rule().is_some_and(|rule| *rule.name == *name))
            && self.kinds.as_ref().is_none_or(is_kind)
            && self.from.is_none_or(|net| report.client.is_some_and(|client| is_within(client, net)))
    }
}

/// Whether an address of the client is in the network, or the network is within the client's.
fn is_within(client: Client, net: IpNet) -> bool {
    net.contains(&client.address()) || client.net().contains(&net.addr())
}

/// One who listens.
#[derive(Debug)]
pub(super) struct Subscriber {
    wanted: Wanted,
    /// Whether it follows one address: then it hears of packets as well.
    pub(super) follows: Option<IpAddr>,
    sender: Sender<(Event, u64)>,
    pace: Mutex<Bucket>,
    left_out: AtomicU64,
}

/// Where it hears: each event, and how many were left out before it.
pub(super) type Events = Receiver<(Event, u64)>;

impl Subscriber {
    /// One who wants this.
    pub(super) fn new(wanted: Wanted, follows: Option<IpAddr>) -> (Self, Events) {
        let (sender, events) = channel(WAITING);
        let pace = Mutex::new(Bucket::new(EACH, BURST, Instant::now()));
        (Self { wanted, follows, sender, pace, left_out: AtomicU64::new(0) }, events)
    }

    /// Whether it wants to hear of this report.
    pub(super) fn wants(&self, report: &Report<'_>) -> bool {
        self.wanted.includes(report)
    }

    /// What it may hear of.
    pub(super) fn view(&self) -> &View {
        &self.wanted.view
    }

    /// Tells it, unless it has too much to read already.
    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        let Ok(room) = self.sender.try_reserve() else { return self.leave_out() };
        if !self.pace.lock().past_panic().take(Instant::now()) {
            return self.leave_out();
        }
        room.send((event(), self.left_out.swap(0, Ordering::Relaxed)));
    }

    fn leave_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use postern_core::{RuleId, RuleLogLevel, TenantId, What};

    use super::*;
    use crate::control::event::event_of;

    fn rule(tenant: &str, name: &str) -> RuleId {
        RuleId { tenant: TenantId::new(tenant), name: name.into() }
    }

    fn everything() -> Wanted {
        Wanted { view: View::All, rule: None, from: None, kinds: None }
    }

    #[test]
    fn each_hears_what_it_asked_for() {
        let (web, host) = (rule("web", "a"), rule("host", "b"));
        let client = |text: &str| text.parse::<Client>().unwrap();
        let of = |rule: &'static str| Some(rule.to_owned());
        let timeout = |of| Report::of_rule(of, What::TimedOut { stage: 1 });
        let reports = [
            timeout(&web).with_client(client("192.0.2.7")),
            Report::of_rule(&host, What::Forgot { reason: "".into(), level: RuleLogLevel::OfDaemon })
                .with_client(client("198.51.100.0/24")),
            Report::new(What::Hangup),
        ];
        let heard = |wanted: Wanted| {
            let (subscriber, _) = Subscriber::new(wanted, None);
            reports.iter().map(|report| subscriber.wants(report)).collect::<Vec<_>>()
        };
        assert_eq!(heard(everything()), [true, true, true]);
        let web_alone = View::Of(vec![TenantId::new("web")]);
        assert_eq!(heard(Wanted { view: web_alone, ..everything() }), [true, false, false]);
        assert_eq!(heard(Wanted { rule: of("b"), ..everything() }), [false, true, false]);
        let kinds = Some(vec!["timeout".to_owned(), "hangup".to_owned()]);
        assert_eq!(heard(Wanted { kinds, ..everything() }), [true, false, true]);
        let from = |net: &str| Wanted { from: Some(net.parse().unwrap()), ..everything() };
        assert_eq!(heard(from("192.0.2.0/24")), [true, false, false]);
        assert_eq!(heard(from("198.51.100.9/32")), [false, true, false]);
    }

    #[test]
    fn who_does_not_read_is_told_how_much_it_missed() {
        let (subscriber, mut events) = Subscriber::new(everything(), None);
        let mut rendered = 0;
        for _ in 0..5000 {
            subscriber.tell(|| {
                rendered += 1;
                event_of(&Report::new(What::Hangup), 0)
            });
        }
        assert_eq!(rendered, WAITING, "what has no room is not rendered");
        let mut left_out = 0;
        while let Ok((_, more)) = events.try_recv() {
            left_out += more;
        }
        assert_eq!(left_out, 0);
        subscriber.tell(|| event_of(&Report::new(What::Hangup), 0));
        assert_eq!(events.try_recv().unwrap().1, 5000 - WAITING as u64);
    }
}
