//! Captures without capabilities, in network namespaces: interfaces that come, go and change after the last socket was opened.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use postern_core::{Detail, Direction, DropReason, Observer, Report, TenantId, What};
use rustix::thread::capabilities;

use super::super::tests::{LONG, Seen, Tunnel, UDP_2222, filter, in_namespace, send, udp, until, veth};
use super::super::{CaptureSettings, Devices, LiveCapture};
use crate::confinement::confine;
use crate::decode::{arrival, decode};
use crate::filter::Filter;
use crate::frame::{Frame, LinkType};
use crate::link_changes::LinkChanges;
use crate::links::{TAG_8021Q, Tag};
use crate::local_network::LocalNetwork;
use crate::namespace::{ip, made, send_frame};

/// What the tests run with.
struct World {
    network: LocalNetwork,
    devices: Arc<Devices>,
    /// How often it was asked for a process that can open more.
    exhausted: Arc<AtomicUsize>,
    seen: Seen,
    /// VLAN tags of the same frames.
    tags: Arc<Mutex<Vec<Option<Vec<Tag>>>>>,
}

impl World {
    fn new(places: &[&str], more: usize) -> Self {
        let places = places.iter().map(|name| ((*name).to_owned(), Direction::Incoming));
        let exhausted = Arc::<AtomicUsize>::default();
        let devices = Devices::reserved(places, more, {
            let exhausted = exhausted.clone();
            move || {
                exhausted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            network: LocalNetwork::follow(Arc::new(())).unwrap(),
            devices: Arc::new(devices.unwrap()),
            exhausted,
            seen: Seen::default(),
            tags: Arc::default(),
        }
    }

    fn capture(&self, interface: &str) -> LiveCapture {
        self.capture_with(settings(interface), Arc::new(()))
    }

    fn capture_with(&self, settings: CaptureSettings, observer: Arc<dyn Observer>) -> LiveCapture {
        self.capture_woken_by(self.network.link_changes().ok(), settings, observer)
    }

    /// A capture on a thread without capabilities, which opening a socket would end.
    fn capture_woken_by(
        &self,
        changes: Option<LinkChanges>,
        settings: CaptureSettings,
        observer: Arc<dyn Observer>,
    ) -> LiveCapture {
        let filter = match settings.direction {
            Direction::Incoming => filter(&[udp(2222, 2222)]),
            Direction::Outgoing => Arc::new(Filter::of_direction(Direction::Outgoing, &[udp(2222, 2222)])),
        };
        let (seen, tags) = (self.seen.0.clone(), self.tags.clone());
        let sink = move |frame: Frame<'_>| {
            assert!(capabilities(None).unwrap().effective.is_empty());
            let knock = decode(&frame, Detail::payload(1500))
                .map_err(|reason| format!("{reason}: {:02x?}", frame.bytes));
            tags.lock().unwrap().push(arrival::tags(&frame));
            seen.lock().unwrap().push((frame.link, knock));
        };
        let devices = Arc::clone(&self.devices);
        let start = || {
            confine();
            LiveCapture::start_after(None, settings, filter, devices, changes, observer, sink).unwrap()
        };
        thread::scope(|scope| scope.spawn(start).join().unwrap())
    }

    fn links(&self) -> Vec<LinkType> {
        self.seen.0.lock().unwrap().iter().map(|(link, _)| *link).collect()
    }
}

fn settings(interface: &str) -> CaptureSettings {
    CaptureSettings { interface: interface.to_owned(), direction: Direction::Incoming, promiscuous: false }
}

fn is_deaf(capture: &LiveCapture) {
    until(|| !capture.ready(Duration::ZERO), || "still listening".to_owned());
}

const TO_ALL: &str = "ffffffffffff 020000000001";
const ABC: &str = "udp 2222 abc";

fn knock_from(interface: &str) {
    send_frame(interface, &format!("{TO_ALL} 0800 {UDP_2222}"));
}

#[test]
fn an_interface_that_was_never_there_is_heard_when_it_comes() {
    in_namespace(|| {
        let world = World::new(&["pe-a"], 0);
        let capture = world.capture("pe-a");
        assert!(!capture.ready(Duration::from_millis(300)) && capture.has_tried());
        veth();
        assert!(capture.ready(LONG));
        knock_from("pe-b");
        world.seen.expect(&[ABC]);
        assert_eq!(world.links(), [LinkType::Cooked]);
        assert_eq!(capture.stats().unwrap().received, 1);
        assert_eq!(world.exhausted.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn an_interface_that_goes_or_is_down_is_heard_again_when_it_is_back() {
    in_namespace(|| {
        veth();
        let world = World::new(&["pe-a"], 0);
        let capture = world.capture("pe-a");
        let is_heard = |times: usize| {
            assert!(capture.ready(LONG), "before {times}");
            knock_from("pe-b");
            world.seen.expect(&vec![ABC; times]);
        };
        is_heard(1);
        ip("link set pe-a down");
        is_deaf(&capture);
        ip("link set pe-a up");
        is_heard(2);
        for times in 3..6 {
            ip("link delete pe-a");
            is_deaf(&capture);
            veth();
            is_heard(times);
        }
        ip("link set pe-a down");
        is_deaf(&capture);
        ip("link set pe-a up");
        is_heard(6);
        // Down and up again, its own handle goes on; the spare serves whatever comes under its name.
        let (own, spare) = (LinkType::Ethernet, LinkType::Cooked);
        assert_eq!(world.links(), [own, own, spare, spare, spare, spare]);
        assert_eq!(capture.stats().unwrap().received, 6);
        assert_eq!(world.exhausted.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn an_interface_that_comes_back_as_another_kind_of_link_is_read_rightly() {
    in_namespace(|| {
        veth();
        let world = World::new(&["pe-a"], 0);
        let capture = world.capture("pe-a");
        assert!(capture.ready(LONG));
        knock_from("pe-b");
        world.seen.expect(&[ABC]);

        ip("link delete pe-a");
        is_deaf(&capture);
        let Some(mut tunnel) = Tunnel::open("pe-a") else { return };
        assert!(capture.ready(LONG));
        tunnel.send(UDP_2222);
        world.seen.expect(&[ABC; 2]);

        drop(tunnel);
        is_deaf(&capture);
        veth();
        assert!(capture.ready(LONG));
        knock_from("pe-b");
        world.seen.expect(&[ABC; 3]);
        assert_eq!(world.links(), [LinkType::Ethernet, LinkType::Cooked, LinkType::Cooked]);
    });
}

#[test]
fn a_tunnel_that_comes_back_as_an_ethernet_link_is_read_rightly() {
    in_namespace(|| {
        let Some(mut tunnel) = Tunnel::open("pe-a") else { return };
        let world = World::new(&["pe-a"], 0);
        let capture = world.capture("pe-a");
        assert!(capture.ready(LONG));
        tunnel.send(UDP_2222);
        world.seen.expect(&[ABC]);

        drop(tunnel);
        is_deaf(&capture);
        veth();
        assert!(capture.ready(LONG));
        knock_from("pe-b");
        world.seen.expect(&[ABC; 2]);
        assert_eq!(world.links(), [LinkType::Ip, LinkType::Cooked]);
    });
}

#[test]
fn a_change_that_nobody_reports_is_found_after_a_while() {
    in_namespace(|| {
        let world = World::new(&[], 1);
        veth();
        let capture = world.capture_woken_by(None, settings("pe-a"), Arc::new(()));
        assert!(capture.ready(LONG));
        ip("link delete pe-a");
        veth();
        until(
            || {
                knock_from("pe-b");
                !world.seen.lines().is_empty()
            },
            || "deaf on the new interface".to_owned(),
        );
        assert_eq!(world.seen.lines()[0], ABC);
    });
}

/// Keeps what captures report.
#[derive(Default)]
struct Reasons(Mutex<Vec<String>>);

impl Observer for Reasons {
    fn report(&self, report: &Report<'_>) {
        if let What::NotListening { reason, .. } = &report.what {
            self.0.lock().unwrap().push(reason.to_string());
        }
    }

    fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
}

#[test]
fn more_new_interfaces_than_spares_are_reported_by_name_and_asked_for_once() {
    in_namespace(|| {
        veth();
        let world = World::new(&[], 1);
        let first = world.capture("pe-a");
        assert!(first.ready(LONG));
        let reasons = Arc::new(Reasons::default());
        let second = world.capture_with(settings("lo"), reasons.clone());
        until(|| second.has_tried(), || "not tried".to_owned());
        assert!(!second.ready(Duration::from_millis(700)), "there is only one");
        let expected =
            "no packet socket is left for lo: more new interfaces than spares; only a restart can open more";
        assert_eq!(*reasons.0.lock().unwrap(), [expected]);
        assert_eq!(world.exhausted.load(Ordering::SeqCst), 1, "it was tried more than once");
        // What the first was used for is none of the second's.
        knock_from("pe-b");
        world.seen.expect(&[ABC]);
        knock_from("pe-b");
        first.stop();
        assert!(second.ready(LONG), "the spare is free");
        world.seen.0.lock().unwrap().clear();
        send(&[("127.0.0.1:2222", "lo")]);
        world.seen.expect(&["udp 2222 lo"]);
    });
}

#[test]
fn a_spare_shows_one_interface_with_its_tags_and_nothing_else() {
    in_namespace(|| {
        veth();
        ip("link add pe-c type veth peer name pe-d");
        ip("link set pe-c up");
        ip("link set pe-d up");
        // What passes on to a bridge, or to a VLAN device if this machine has any, must not show twice.
        ip("link add pe-br up type bridge");
        ip("link set pe-a master pe-br");
        if made("link add link pe-a name pe-a.5 type vlan id 5") {
            ip("link set pe-a.5 up");
        }
        let world = World::new(&[], 2);
        let capture = world.capture("pe-a");
        assert!(capture.ready(LONG));
        // Another interface, the other direction, another port; then what is wanted, which the bridge shows as well.
        knock_from("pe-d");
        knock_from("pe-a");
        send_frame("pe-b", &format!("{TO_ALL} 0800 {}", UDP_2222.replace("08ae", "08af")));
        for tags in ["", "8100 0005", "88a8 0005 8100 0006"] {
            send_frame("pe-b", &format!("{TO_ALL} {tags} 0800 {UDP_2222}"));
        }
        world.seen.expect(&[ABC; 3]);
        assert_eq!(capture.stats().unwrap().received, 3);
        // Of two tags Linux says too little.
        let tag = Tag { protocol: TAG_8021Q, id: 5 };
        assert_eq!(*world.tags.lock().unwrap(), [Some(Vec::new()), Some(vec![tag]), None]);
        let index = world.network.links();
        for (_, knock) in &*world.seen.0.lock().unwrap() {
            let name = index.name(knock.as_ref().unwrap().interface_index);
            assert_eq!(name, Some("pe-a"));
        }
        let out = CaptureSettings { direction: Direction::Outgoing, ..settings("pe-d") };
        let capture = world.capture_with(out, Arc::new(()));
        assert!(capture.ready(LONG));
        knock_from("pe-c");
        knock_from("pe-d");
        world.seen.expect(&[ABC; 4]);
    });
}

/// Protocols of the packet sockets in this namespace.
fn protocols() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/thread-self/net/packet").unwrap();
    let mut all: Vec<_> =
        table.lines().skip(1).map(|line| line.split_whitespace().nth(3).unwrap().to_owned()).collect();
    all.sort();
    all
}

#[test]
fn handles_are_used_again_and_cost_nothing_meanwhile() {
    in_namespace(|| {
        veth();
        let world = World::new(&["pe-a", "any"], 1);
        assert_eq!(protocols(), ["0003", "0003", "88b5", "88b5"], "two of their own, two spares");
        for round in 1..4 {
            let capture = world.capture("pe-a");
            assert!(capture.ready(LONG), "round {round}");
            knock_from("pe-b");
            world.seen.expect(&vec![ABC; round]);
            capture.stop();
            // It waits closed: nobody is told of this one later.
            knock_from("pe-b");
        }
        assert_eq!(world.links(), [LinkType::Ethernet; 3]);
        let any = world.capture("any");
        assert!(any.ready(LONG));
        knock_from("pe-b");
        world.seen.expect(&[ABC; 4]);
        let lo = world.capture("lo");
        assert!(lo.ready(LONG));
        assert_eq!(protocols(), ["0003", "0003", "0003", "88b5"]);
        any.stop();
        send(&[("127.0.0.1:2222", "lo")]);
        world.seen.expect(&[ABC, ABC, ABC, ABC, "udp 2222 lo"]);
        assert_eq!(world.links()[3..], [LinkType::CookedV2, LinkType::Cooked]);
        lo.stop();
        assert_eq!(protocols(), ["0003", "0003", "88b5", "88b5"]);
    });
}

#[test]
fn promiscuous_mode_needs_no_capability() {
    in_namespace(|| {
        let mut early = Some(World::new(&["pe-a"], 1));
        veth();
        let promiscuity = || {
            let output = Command::new("ip").args(["-d", "link", "show", "pe-a"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.split("promiscuity ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
        };
        for is_own in [false, true] {
            let world = early.take().unwrap_or_else(|| World::new(&["pe-a"], 1));
            let capture =
                world.capture_with(CaptureSettings { promiscuous: true, ..settings("pe-a") }, Arc::new(()));
            assert!(capture.ready(LONG));
            assert_eq!(promiscuity(), "1", "own: {is_own}");
            knock_from("pe-b");
            world.seen.expect(&[ABC]);
            ip("link delete pe-a");
            is_deaf(&capture);
            veth();
            assert!(capture.ready(LONG));
            assert_eq!(promiscuity(), "1", "own: {is_own}, another one");
            capture.stop();
            assert_eq!(promiscuity(), "0", "own: {is_own}");
        }
    });
}
