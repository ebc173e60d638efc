//! Packet sockets that were open before.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use pcap::{Active, Capture};
use postern_confine::SystemCalls;

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
