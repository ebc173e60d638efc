//! Packet sockets that were open before.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use pcap::{Active, Capture};
use postern_capture::{
    CaptureSettings, Devices, Filter, Frame, LiveCapture, LocalNetwork, LocalNetworkSockets, decode,
};
use postern_confine::SystemCalls;
use postern_core::{Detail, Direction, TcpFlags, Transport, Watch};

use crate::confine;

/// With a ring, as the daemon opens it.
fn open(interface: &str) -> Capture<Active> {
    let capture = Capture::from_device(interface).unwrap().immediate_mode(true).timeout(100);
    capture.buffer_size(1 << 20).open().unwrap().setnonblock().unwrap()
}

/// The next packet within five seconds, or why there is none.
fn next(capture: &mut Capture<Active>) -> Result<Vec<u8>, pcap::Error> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match capture.next_packet() {
            Ok(packet) => return Ok(packet.data.to_vec()),
            Err(pcap::Error::TimeoutExpired) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

/// A filter is put on, a packet comes, and the counters are read.
pub(crate) fn read() -> String {
    let mut capture = open("lo");
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect("127.0.0.1:9").unwrap();
    confine(SystemCalls::Engine);
    capture.filter("udp dst port 9", true).unwrap();
    sender.send(b"payload").unwrap();
    let packet = next(&mut capture).unwrap();
    assert!(capture.stats().unwrap().received > 0);
    String::from_utf8_lossy(&packet[packet.len() - 7..]).into_owned()
}

/// An interface goes away: the capture says so, and nothing dies of it.
pub(crate) fn lose_the_interface() -> String {
    let ip = |arguments: &str| {
        assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success(), "{arguments}");
    };
    ip("link add lost type veth peer name other");
    ip("link set lost up");
    let (mut lost, mut lo) = (open("lost"), open("lo"));
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect("127.0.0.1:9").unwrap();
    // Started now, since nothing is started later, and left to a shell that is gone.
    let end = ["-c", "(sleep 0.3; exec ip link del lost) &"];
    assert!(Command::new("sh").args(end).status().unwrap().success());
    confine(SystemCalls::Engine);
    let error = loop {
        match next(&mut lost) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(!matches!(error, pcap::Error::TimeoutExpired), "{error}");
    sender.send(b"payload").unwrap();
    next(&mut lo).unwrap();
    "gone, and others go on".to_owned()
}

/// An interface that is there, goes down and up, goes and comes back, and another that comes late. From the far ends knocks keep coming, each
/// with the letter of its time.
const CHANGES: &str = "
knock() { for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; printf $1 > /dev/udp/$2/2222; done; }
wire() {
    ip link add $1 type veth peer name $2 && ip link set $1 up && ip link set $2 up
    ip address add $3/24 dev $2 && ip neighbour add $4 lladdr 02:00:00:00:00:09 dev $2
}
(
    exec >/dev/null 2>&1 </dev/null
    knock a 192.0.2.9
    ip link set kept down; sleep 0.3; ip link set kept up
    knock b 192.0.2.9
    ip link delete kept; sleep 0.3; wire kept far 192.0.2.1 192.0.2.9
    knock c 192.0.2.9
    wire late far2 198.51.100.1 198.51.100.9
    knock d 198.51.100.9
) &
";

/// Captures of the daemon follow their interfaces, on what was opened before.
pub(crate) fn follow_interfaces() -> String {
    let shell = |script: &str| Command::new("bash").args(["-c", script]).status().unwrap();
    assert!(shell(&format!("{}wire kept far 192.0.2.1 192.0.2.9", functions())).success());
    let sockets = LocalNetworkSockets::open().unwrap();
    let place = |name: &str| (name.to_owned(), Direction::Incoming);
    let devices = Devices::reserved([place("kept"), place("late")], 0, || println!("exhausted")).unwrap();
    let devices = Arc::new(devices);
    assert!(shell(CHANGES).success());
    confine(SystemCalls::Engine);

    let network = LocalNetwork::follow_on(sockets, Arc::new(())).unwrap();
    let (sender, letters) = mpsc::channel();
    let (set, clear) = (TcpFlags(0), TcpFlags(0));
    let watch = Watch { transport: Transport::Udp, first_port: 2222, last_port: 2222, set, clear };
    let filter = Arc::new(Filter::from_watches(&[watch]));
    let _captures = ["kept", "late"].map(|name| {
        let settings = CaptureSettings {
            interface: name.to_owned(),
            direction: Direction::Incoming,
            promiscuous: false,
        };
        let (sender, devices, changes) = (sender.clone(), devices.clone(), network.link_changes().ok());
        let sink = move |frame: Frame<'_>| {
            // Some IPv6 packets are left to user space by the filter.
            if let Ok(knock) = decode(&frame, Detail::payload(1))
                && knock.destination_port == 2222
            {
                let _ = sender.send(char::from(knock.payload[0]));
            }
        };
        LiveCapture::start_after(None, settings, filter.clone(), devices, changes, Arc::new(()), sink)
            .unwrap()
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut heard = BTreeSet::new();
    while heard.len() < 4
        && let Ok(letter) = letters.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        heard.insert(letter);
    }
    heard.into_iter().collect()
}

/// Those of [`CHANGES`].
fn functions() -> &'static str {
    CHANGES.split("(\n").next().unwrap()
}
