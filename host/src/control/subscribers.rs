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
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::access::View;
use super::listening::Listening;
use crate::pace::Pace;

/// Events that may wait for one who reads.
const WAITING: usize = 256;
/// One who listens is told so many at once, and then one each so often: what is more is counted.
const BURST: u32 = 500;
const EACH: Duration = Duration::from_millis(5);
/// Packets in a second of an address that can be followed.
pub(super) const MOST_PACKETS: u32 = 1000;

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
    /// The user who listens.
    pub(super) uid: u32,
    /// Whether it is one of those of whom there is a bounded number.
    pub(super) is_counted: bool,
    /// Packets of the address that it follows, in this second.
    packets: Mutex<(Instant, u32)>,
    /// Notified when these are too many.
    flooded: Notify,
    sender: Sender<(Event, u64)>,
    pace: Mutex<Pace>,
    left_out: AtomicU64,
}

/// Where it hears: each event, and how many were left out before it.
pub(super) type Events = Receiver<(Event, u64)>;

impl Subscriber {
    /// One of this user's who wants this.
    pub(super) fn new(wanted: Wanted, how: Listening, uid: u32) -> (Self, Events) {
        let (sender, events) = channel(WAITING);
        let now = Instant::now();
        let follows = match how {
            Listening::Follows(address) => Some(address),
            Listening::ToReports | Listening::Briefly => None,
        };
        let subscriber = Self {
            wanted,
            follows,
            uid,
            is_counted: !matches!(how, Listening::Briefly),
            packets: Mutex::new((now, 0)),
            flooded: Notify::new(),
            sender,
            pace: Mutex::new(Pace::one_each(EACH, BURST)),
            left_out: AtomicU64::new(0),
        };
        (subscriber, events)
    }

    /// Counts a packet of the address that it follows.
    pub(super) fn count_packet(&self) {
        let mut packets = self.packets.lock().past_panic();
        packets.1 += 1;
        // The clock is read seldom: a flood is what this is about.
        if packets.1 < MOST_PACKETS {
            return;
        }
        let now = Instant::now();
        if now.duration_since(packets.0) < Duration::from_secs(1) {
            self.flooded.notify_one();
        }
        *packets = (now, 0);
    }

    /// Waits until so much comes from the address that it follows that this must end: all of it gets past the kernel's filter.
    pub(super) async fn is_flooded(&self) {
        self.flooded.notified().await;
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
        if !self.pace.lock().past_panic().try_take(Instant::now()) {
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
            let (subscriber, _) = Subscriber::new(wanted, Listening::ToReports, 0);
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
    fn a_flood_of_the_address_that_is_followed_is_noticed() {
        let follows = Listening::Follows("192.0.2.7".parse().unwrap());
        let (subscriber, _) = Subscriber::new(everything(), follows, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let is_flooded = || {
            let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
            std::pin::pin!(subscriber.is_flooded()).poll(context).is_ready()
        };
        let _inside = runtime.enter();
        (0..MOST_PACKETS - 1).for_each(|_| subscriber.count_packet());
        assert!(!is_flooded());
        (0..MOST_PACKETS).for_each(|_| subscriber.count_packet());
        assert!(is_flooded());
    }

    #[test]
    fn who_does_not_read_is_told_how_much_it_missed() {
        let (subscriber, mut events) = Subscriber::new(everything(), Listening::ToReports, 0);
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
