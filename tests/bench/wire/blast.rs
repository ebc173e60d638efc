//! Blast: many UDP datagrams a second from made-up sources.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{Injector, SERVER4, frame};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// The most frames in one call to the kernel, and how long they may belong to.
const BATCH: usize = 64;
const BATCH_TIME: f64 = 0.001;
/// Source addresses count up from here; the server has no route to 100.64.0.0/10 (RFC 6598) and so answers nothing.
const FIRST_SOURCE: u32 = 0x6440_0000;
/// Where an IPv4 header has its checksum and its source, behind an Ethernet header.
const CHECKSUM: Range<usize> = 24..26;
const SOURCE: Range<usize> = 26..30;
/// Where a UDP header has its checksum behind both; none is allowed (RFC 768), and there it is made once for all sources.
const UDP_CHECKSUM: Range<usize> = 40..42;

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct Blast {
    pub(crate) count: usize,
    /// Frames a second; none: as many as there can be.
    pub(crate) rate: Option<f64>,
    /// Ports that are hit in turn, by each source before the next.
    pub(crate) ports: Vec<u16>,
    /// How many source addresses, in turn.
    pub(crate) sources: u32,
    /// Which of them is the first.
    pub(crate) skip: u32,
}

impl Blast {
    /// Sends it; frames a second.
    pub(crate) fn send(&self, wire: &Injector) -> f64 {
        let templates: Vec<Template> = self.ports.iter().map(|port| Template::new(*port)).collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
        let most = self.rate.map_or(BATCH, |rate| ((rate * BATCH_TIME) as usize).clamp(1, BATCH));
        let mut frames = vec![templates[0].frame.clone(); most];
        let start = Instant::now();
        let mut sent = 0;
        while sent < self.count {
            let batch = most.min(self.count - sent);
            for (number, frame) in (sent..).zip(&mut frames[..batch]) {
                let source = u32::try_from(number / templates.len()).unwrap_or(u32::MAX) % self.sources;
                templates[number % templates.len()].write(frame, FIRST_SOURCE + self.skip + source);
            }
            send_all(wire, &frames[..batch]);
            sent += batch;
            if let Some(rate) = self.rate {
                let due = start + Duration::from_secs_f64(sent as f64 / rate);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        sent as f64 / start.elapsed().as_secs_f64()
    }
}

/// A frame to one port that any source can be written into.
struct Template {
    frame: Vec<u8>,
    /// Of the IPv4 header, with its checksum and source left out.
    sum: u32,
}

impl Template {
    fn new(port: u16) -> Self {
        let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 40_000);
        let mut frame = frame::udp(source, SocketAddr::new(SERVER4, port), b"");
        frame[CHECKSUM].fill(0);
        frame[UDP_CHECKSUM].fill(0);
        let sum = frame[14..34].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
        Self { frame, sum }
    }

    fn write(&self, frame: &mut [u8], source: u32) {
        frame.copy_from_slice(&self.frame);
        frame[SOURCE].copy_from_slice(&source.to_be_bytes());
        let mut sum = self.sum + (source >> 16) + (source & 0xffff);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        frame[CHECKSUM].copy_from_slice(&(!sum).to_be_bytes()[2..]);
    }
}

fn send_all(wire: &Injector, frames: &[Vec<u8>]) {
    let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
    let mut none: Vec<_> = frames.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<_> =
        slices.iter().zip(&mut none).map(|(slice, none)| MMsgHdr::new(slice, none)).collect();
    let mut left = &mut messages[..];
    while !left.is_empty() {
        match sendmmsg(wire, left, SendFlags::empty()) {
            Ok(sent) => left = &mut left[sent..],
            Err(Errno::NOBUFS | Errno::INTR | Errno::AGAIN) => thread::yield_now(),
            Err(error) => panic!("frames cannot be sent: {error}"),
        }
    }
}
