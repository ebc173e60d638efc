//! Real captures in network namespaces: what arrives, what does not, and what is lost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postern_core::{Detail, Direction, Knock, TcpFlags, Transport, Watch};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::device::Device;
use super::outage::with_sources;
use super::{CaptureSettings, Devices, LiveCapture};
use crate::decode::decode;
use crate::filter::Filter;
use crate::frame::{Frame, LinkType};
use crate::link_changes::LinkChanges;
use crate::local_network::LocalNetwork;
use crate::namespace::{Namespace, ip, send_frame};

pub(super) const LONG: Duration = Duration::from_secs(20);

pub(super) fn udp(first_port: u16, last_port: u16) -> Watch {
    Watch { transport: Transport::Udp, first_port, last_port, set: TcpFlags(0), clear: TcpFlags(0) }
}

fn syn(port: u16) -> Watch {
    Watch { transport: Transport::Tcp, set: TcpFlags::SYN, clear: TcpFlags::ACK, ..udp(port, port) }
}

pub(super) fn filter(watches: &[Watch]) -> Arc<Filter> {
    Arc::new(Filter::from_watches(watches))
}

/// What a capture handed on.
#[derive(Clone, Default)]
pub(super) struct Seen(pub(super) Arc<Mutex<Vec<(LinkType, Read)>>>);

/// A knock, or why not and of what bytes.
pub(super) type Read = Result<Knock, String>;

impl Seen {
    fn capture(&self, interface: &str, watches: &[Watch]) -> LiveCapture {
        let capture = self.capture_unready(interface, watches);
        assert!(capture.ready(LONG), "{interface} is not listening");
        capture
    }

    fn capture_unready(&self, interface: &str, watches: &[Watch]) -> LiveCapture {
        self.capture_woken_by(None, interface, watches)
    }

    fn capture_woken_by(
        &self,
        changes: Option<LinkChanges>,
        interface: &str,
        watches: &[Watch],
    ) -> LiveCapture {
        let seen = self.0.clone();
        let settings = CaptureSettings {
            interface: interface.to_owned(),
            direction: Direction::Incoming,
            promiscuous: false,
        };
        let sink = move |frame: Frame<'_>| {
            let knock = decode(&frame, Detail::payload(1500))
                .map_err(|reason| format!("{reason}: {:02x?}", frame.bytes));
            seen.lock().unwrap().push((frame.link, knock));
        };
        let devices = Arc::new(Devices::direct());
        LiveCapture::start_after(None, settings, filter(watches), devices, changes, Arc::new(()), sink)
            .unwrap()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let seen = self.0.lock().unwrap();
        seen.iter()
            .map(|(_, knock)| match knock {
                Ok(knock) => {
                    format!("{} {} {}", knock.transport, knock.destination_port, knock.payload.escape_ascii())
                }
                Err(reason) => reason.clone(),
            })
            .collect()
    }

    /// Waits for these lines and no others.
    pub(super) fn expect(&self, lines: &[&str]) {
        until(|| self.lines().len() >= lines.len(), || format!("{:?}, not {lines:?}", self.lines()));
        assert_eq!(self.lines(), lines);
    }

    fn link(&self) -> LinkType {
        self.0.lock().unwrap()[0].0
    }
}

/// Runs a test where only its own packets are.
pub(super) fn in_namespace(test: impl FnOnce() + Send) {
    let Some(namespace) = Namespace::new() else { return };
    namespace.inside(|| {
        // Neighbour discovery has extension headers, so it would mix in. `lo` is there already and keeps its IPv6.
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        test();
    });
}

pub(super) fn until(mut done: impl FnMut() -> bool, otherwise: impl Fn() -> String) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "{}", otherwise());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Sends datagrams to closed ports.
pub(super) fn send(packets: &[(&str, &str)]) {
    for (to, payload) in packets {
        let from = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        UdpSocket::bind(from).unwrap().send_to(payload.as_bytes(), to).unwrap();
    }
}

/// A pair of cables' ends, `a` and `b`; what is sent on `b` arrives at `a`.
pub(super) fn veth() {
    ip("link add pe-a type veth peer name pe-b");
    ip("link set pe-a up");
    ip("link set pe-b up");
}

pub(super) const UDP_2222: &str =
    "4500 001f 0001 0000 3f 11 0000 c0000201 c6336402 1234 08ae 000b 0000 616263";
/// With destination options in front of the datagram.
const UDP_2222_V6: &str =
    "60000000 0013 3c 39 20010db8000000000000000000000001 20010db8000000000000000000000002
    11 00 0104 00000000 1234 08ae 000b 0000 656e64";

#[test]
fn loopback_shows_each_wanted_packet_once() {
    in_namespace(|| {
        for interface in ["lo", "any"] {
            let seen = Seen::default();
            let capture = seen.capture(interface, &[udp(2000, 2002), syn(2500)]);
            send(&[("127.0.0.1:1999", "no"), ("127.0.0.1:2000", "one"), ("[::1]:2001", "two")]);
            // The answer is a reset from port 2500, which nobody asked for.
            TcpStream::connect("127.0.0.1:2500").unwrap_err();
            send(&[("127.0.0.1:2003", "no"), ("127.0.0.1:2002", "three")]);
            seen.expect(&["udp 2000 one", "udp 2001 two", "tcp 2500 ", "udp 2002 three"]);
            let stats = capture.stats().unwrap();
            // Unwanted packets do not even reach this process.
            assert_eq!((stats.received, stats.dropped, stats.panics), (4, 0, 0), "{interface}");
            capture.stop();
            assert_eq!(seen.lines().len(), 4);
            println!("{interface}: {:?}", seen.link());
        }
    });
}

#[test]
fn ethernet_is_read_with_and_without_tags() {
    in_namespace(|| {
        veth();
        for interface in ["pe-a", "any"] {
            let seen = Seen::default();
            let capture = seen.capture(interface, &[udp(2222, 2222)]);
            let to = "ffffffffffff 020000000001";
            send_frame("pe-b", &format!("{to} 0800 {UDP_2222}"));
            send_frame("pe-b", &format!("{to} 8100 0005 0800 {UDP_2222}"));
            send_frame("pe-b", &format!("{to} 88a8 0005 8100 0006 0800 {UDP_2222}"));
            // Unwanted: another port, a later fragment, ARP, and what this machine sends itself on `pe-a`.
            send_frame("pe-b", &format!("{to} 0800 {}", UDP_2222.replace("08ae", "08af")));
            send_frame("pe-b", &format!("{to} 8100 0005 0800 {}", UDP_2222.replace("08ae", "08af")));
            send_frame("pe-b", &format!("{to} 0800 {}", UDP_2222.replace("0001 0000", "0001 2001")));
            send_frame("pe-b", &format!("{to} 0806 0001 0800 0604 0001"));
            if interface != "any" {
                send_frame("pe-a", &format!("{to} 0800 {UDP_2222}"));
            }
            send_frame("pe-b", &format!("{to} 8100 0005 86dd {UDP_2222_V6}"));
            seen.expect(&["udp 2222 abc", "udp 2222 abc", "udp 2222 abc", "udp 2222 end"]);
            assert_eq!(capture.stats().unwrap().received, 4, "{interface}");
            println!("{interface}: {:?}", seen.link());
        }
    });
}

/// Sends IP packets, in hexadecimal on standard input, out of a tunnel. The system call it takes is not safe to make from here.
const TUNNEL: &str = "
import fcntl, os, struct, sys
tunnel = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tunnel, 0x400454ca, struct.pack('16sH22x', sys.argv[1].encode(), 0x1001))
print('ready', flush=True)
for line in sys.stdin:
    os.write(tunnel, bytes.fromhex(line))
";

/// The far end of a tunnel; its interface goes when this is dropped.
pub(super) struct Tunnel(Child);

impl Tunnel {
    /// One whose interface has this name and is up. None, with a word on stderr, if this machine has none. In CI that is a failure.
    pub(super) fn open(interface: &str) -> Option<Self> {
        let arguments = ["-c", TUNNEL, interface];
        let child =
            Command::new("python3").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let is_ready = |child: &mut Child| {
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).is_ok() && line == "ready\n"
        };
        let Some(child) = child.ok().and_then(|mut child| is_ready(&mut child).then_some(child)) else {
            assert!(std::env::var_os("CI").is_none(), "no tunnel");
            eprintln!("skipped: this test needs python3 and /dev/net/tun");
            return None;
        };
        ip(&format!("link set {interface} up"));
        Some(Self(child))
    }

    /// A packet comes out of it.
    pub(super) fn send(&mut self, packet: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{packet}").unwrap();
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn raw_ip_from_a_tunnel_is_read() {
    in_namespace(|| {
        let Some(mut tunnel) = Tunnel::open("pe-t") else { return };
        let seen = Seen::default();
        let capture = seen.capture("pe-t", &[udp(2222, 2222)]);
        tunnel.send(&UDP_2222.replace("08ae", "08af"));
        tunnel.send(UDP_2222);
        seen.expect(&["udp 2222 abc"]);
        assert_eq!(seen.link(), LinkType::Ip);
        assert_eq!(capture.stats().unwrap().received, 1);
    });
}

/// Sends numbered datagrams to port 3000 on loopback, so many a second, until told to stop. Returns how many.
fn stream(rate: u32, stop: &AtomicBool) -> u32 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let mut sent = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let due = u32::try_from(begin.elapsed().as_micros() * u128::from(rate) / 1_000_000).unwrap();
        while sent < due {
            // The port is closed, so every other call returns that error.
            while socket.send_to(&sent.to_be_bytes(), "127.0.0.1:3000").is_err() {}
            sent += 1;
        }
        thread::sleep(Duration::from_micros(500));
    }
    sent
}

#[test]
fn a_change_of_filters_under_load_loses_nothing() {
    in_namespace(|| {
        let numbers = Arc::new(Mutex::new(Vec::new()));
        let settings = CaptureSettings {
            interface: "lo".to_owned(),
            direction: Direction::Incoming,
            promiscuous: false,
        };
        let mut few = vec![udp(3000, 3000)];
        let capture = LiveCapture::start(settings, filter(&few), {
            let numbers = numbers.clone();
            move |frame: Frame<'_>| {
                let knock = decode(&frame, Detail::payload(4)).unwrap();
                if knock.destination_port == 3000 {
                    numbers.lock().unwrap().push(u32::from_be_bytes((*knock.payload).try_into().unwrap()));
                }
            }
        })
        .unwrap();
        assert!(capture.ready(LONG));
        let many: Vec<Watch> = (0..6000).map(|index| udp(index * 7 % 40_000, index * 7 % 40_000)).collect();
        let filters = [filter(&few), filter(&[many, vec![udp(3000, 3000)]].concat()), {
            few.push(syn(22));
            filter(&few)
        }];
        let stop = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            let sender = scope.spawn(|| stream(20_000, &stop));
            for round in 0..300 {
                capture.set_filter(filters[round % filters.len()].clone());
                assert!(capture.ready(LONG), "round {round}");
            }
            until(|| numbers.lock().unwrap().len() > 30_000, || format!("{:?}", capture.stats()));
            stop.store(true, Ordering::Relaxed);
            sender.join().unwrap()
        });
        let all = usize::try_from(sent).unwrap();
        until(
            || numbers.lock().unwrap().len() >= all,
            || format!("{} of {sent}; {:?}", numbers.lock().unwrap().len(), capture.stats()),
        );
        assert!(numbers.lock().unwrap().iter().copied().eq(0..sent), "all of them, in order and once");
        println!("{sent} sent and seen over 300 changes of filters, {:?}", capture.stats());
    });
}

#[test]
fn a_kernel_with_little_room_for_filters_gets_coarser_ones() {
    in_namespace(|| {
        let ports = |first: u16| -> Vec<Watch> {
            (0..3000).map(|index| first + index * 7).map(|port| udp(port, port)).collect()
        };
        let seen = Seen::default();
        let capture = seen.capture("lo", &[]);
        let mut unwanted = Vec::new();
        for bytes in ["131072", "20480", "4096", "2048"] {
            std::fs::write("/proc/sys/net/core/optmem_max", bytes).unwrap();
            for first in [1000, 1001] {
                capture.set_filter(filter(&ports(first)));
                assert!(capture.ready(LONG));
                seen.0.lock().unwrap().clear();
                let before = capture.stats().unwrap().received;
                // Port 900 is below all of them; the next one is in a gap.
                send(&[("127.0.0.1:900", ""), (&format!("127.0.0.1:{}", first + 3), "")]);
                send(&[(&format!("127.0.0.1:{}", first + 7), "wanted")]);
                until(
                    || seen.lines().last().is_some_and(|line| line.ends_with("wanted")),
                    || bytes.to_owned(),
                );
                unwanted.push(capture.stats().unwrap().received - before - 1);
            }
        }
        // Exact, then with gaps closed, at last without any filter but for outgoing packets (each datagram is refused by ICMP).
        assert_eq!(unwanted[..2], [0, 0]);
        assert_eq!(unwanted[2..4], [1, 1]);
        println!("unwanted packets that passed: {unwanted:?}");
    });
}

#[test]
fn interfaces_are_waited_for_and_found_again() {
    in_namespace(|| {
        let seen = Seen::default();
        let network = LocalNetwork::follow(Arc::new(())).unwrap();
        let capture = seen.capture_woken_by(network.link_changes().ok(), "pe-a", &[udp(2222, 2222)]);
        // So long that the pauses between attempts have become longer than what is allowed below.
        assert!(!capture.ready(Duration::from_millis(1700)), "there is no such interface yet");
        let frame = format!("ffffffffffff 020000000001 0800 {UDP_2222}");
        let works_again = |how: &str, times: usize| {
            let begin = Instant::now();
            assert!(capture.ready(LONG), "{how}");
            assert!(
                begin.elapsed() < Duration::from_secs(1),
                "{how}: listening only {:?} later",
                begin.elapsed()
            );
            send_frame("pe-b", &frame);
            seen.expect(&vec!["udp 2222 abc"; times]);
        };
        let is_deaf = || until(|| !capture.ready(Duration::ZERO), || "still listening".to_owned());

        veth();
        works_again("created", 1);
        ip("link set pe-a down");
        is_deaf();
        // While it is away the filter may change.
        capture.set_filter(filter(&[udp(2222, 2223)]));
        ip("link set pe-a up");
        works_again("up again", 2);
        ip("link delete pe-a");
        is_deaf();
        veth();
        works_again("created again", 3);
        // Replaced so quickly that another one of this name is there before anybody looks.
        let script =
            "link delete pe-a\nlink add pe-a type veth peer name pe-b\nlink set pe-a up\nlink set pe-b up\n";
        let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        batch.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(batch.wait().unwrap().success());
        until(
            || {
                send_frame("pe-b", &frame);
                seen.lines().len() > 3
            },
            || "deaf on the new interface".to_owned(),
        );
    });
}

#[test]
fn what_is_wrong_with_an_interface_is_said_in_plain_words() {
    in_namespace(|| {
        veth();
        ip("link set pe-a down");
        let words = |interface: &str| {
            let settings = CaptureSettings {
                interface: interface.to_owned(),
                direction: Direction::Incoming,
                promiscuous: false,
            };
            Device::open(&settings, &()).map_or_else(|failure| with_sources(&failure), |_| "open".to_owned())
        };
        assert_eq!(words("missing"), "there is no interface missing");
        assert_eq!(words("pe-a"), "cannot capture on pe-a: libpcap error: That device is not up");
        assert_eq!(words("pe-b"), "open");

        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_RAW);
        set_capabilities(None, sets).unwrap();
        let expected = "capturing on pe-b needs CAP_NET_RAW: run as root or give posternd that capability";
        assert_eq!(words("pe-b"), expected);
    });
}

#[test]
fn packets_of_the_other_direction_from_before_the_filter_are_not_handed_on() {
    for (direction, expected) in [(Direction::Incoming, *b"in "), (Direction::Outgoing, *b"out")] {
        packets_from_before_the_filter(direction, expected);
    }
}

fn packets_from_before_the_filter(direction: Direction, expected: [u8; 3]) {
    in_namespace(|| {
        veth();
        let settings = CaptureSettings { interface: "pe-a".to_owned(), direction, promiscuous: false };
        let mut device = Device::open(&settings, &()).unwrap();
        for (interface, payload) in [("pe-a", "6f7574"), ("pe-b", "696e20")] {
            let packet = UDP_2222.replace("616263", payload);
            send_frame(interface, &format!("ffffffffffff 020000000001 0800 {packet}"));
        }
        let filter = Filter::of_direction(direction, &[udp(2222, 2222)]);
        device.attach(&filter, &()).unwrap();
        let mut payloads = Vec::new();
        until(
            || {
                device
                    .read(9, |frame| payloads.push(decode(&frame, Detail::payload(9)).unwrap().payload))
                    .unwrap();
                !payloads.is_empty()
            },
            || "nothing was seen".to_owned(),
        );
        assert_eq!(payloads, [Box::from(expected)]);

        assert!(device.is_current());
        ip("link delete pe-a");
        veth();
        assert!(!device.is_current(), "this is another one of the same name");
    });
}

#[test]
fn children_do_not_inherit_the_capture() {
    in_namespace(|| {
        let settings = CaptureSettings {
            interface: "lo".to_owned(),
            direction: Direction::Incoming,
            promiscuous: false,
        };
        let device = Device::open(&settings, &()).unwrap();
        assert!(fcntl_getfd(device.descriptor()).unwrap().contains(FdFlags::CLOEXEC));
    });
}

#[test]
fn a_capture_stops_at_once_whatever_it_waits_for() {
    in_namespace(|| {
        for interface in ["lo", "missing"] {
            let capture = Seen::default().capture_unready(interface, &[udp(1, 1)]);
            assert_eq!(capture.ready(Duration::from_millis(500)), interface == "lo");
            let begin = Instant::now();
            assert_eq!(capture.stats().unwrap().received, 0);
            capture.stop();
            assert!(begin.elapsed() < Duration::from_millis(100), "{interface}: {:?}", begin.elapsed());
        }
    });
}

#[test]
fn a_panic_in_the_sink_costs_one_frame() {
    in_namespace(|| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let settings = CaptureSettings {
            interface: "lo".to_owned(),
            direction: Direction::Incoming,
            promiscuous: false,
        };
        let capture = LiveCapture::start(settings, filter(&[udp(2000, 2002)]), {
            let seen = seen.clone();
            move |frame: Frame<'_>| {
                let port = decode(&frame, Detail::LEAST).unwrap().destination_port;
                assert_ne!(port, 2001, "the panic of this test");
                seen.lock().unwrap().push(port);
            }
        })
        .unwrap();
        assert!(capture.ready(LONG));
        send(&[("127.0.0.1:2000", ""), ("127.0.0.1:2001", ""), ("127.0.0.1:2002", "")]);
        until(|| seen.lock().unwrap().len() == 2, || format!("{:?}", seen.lock().unwrap()));
        assert_eq!(*seen.lock().unwrap(), [2000, 2002]);
        assert_eq!(capture.stats().unwrap().panics, 1);
    });
}
