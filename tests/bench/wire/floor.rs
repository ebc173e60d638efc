//! Floor: the least that a reader of libpcap can do, to compare with.

use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use pcap::{Active, Capture};
use postern_capture::{CaptureSettings, Filter, Frame, LiveCapture};
use postern_core::{
    Act, Client, Direction, DoorId, GuardDoor, GuardProtocol, NetDoor, OnClose, Order, PortRange, TcpFlags,
    Transport, Watch,
};
use postern_doorman::{Doorman, Release};

use crate::{GUARDED, KNOCK};

/// Where a frame with a UDP datagram over IPv4 has its source and its destination port.
const SOURCE: usize = 26;
const PORT: usize = 36;

/// What to do with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Look at the last byte; sleep until many are there.
    Buffered,
    /// Look at the last byte; wake up for each.
    Immediate,
    /// Look at the last byte; read as Postern does, in naps, but with nothing behind it.
    Napping,
    /// Open for each source of the last step of a knock, without a rule, a ledger or a second thread.
    Opener,
}

impl Floor {
    pub(crate) const ALL: [Self; 4] = [Self::Buffered, Self::Immediate, Self::Napping, Self::Opener];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Buffered => "buffered",
            Self::Immediate => "immediate",
            Self::Napping => "napping",
            Self::Opener => "opener",
        }
    }

    /// Reads until standard input ends, then says how many packets those were.
    pub(crate) fn run(self) {
        match self {
            Self::Napping => nap(),
            Self::Buffered | Self::Immediate | Self::Opener => self.read(),
        }
    }

    fn read(self) {
        let mut capture = self.capture().unwrap_or_else(|error| panic!("eth0: {error}"));
        let handle = capture.breakloop_handle();
        thread::spawn(move || {
            wait_for_the_end();
            handle.breakloop();
        });
        let mut doorman = (self == Self::Opener).then(doorman);
        println!("listening");
        let mut odd = 0;
        // Breaking the loop is an error, too.
        let _ = capture.for_each(None, |packet| {
            odd += is_odd(packet.data);
            if let Some(doorman) = &mut doorman {
                open(doorman, packet.data);
            }
        });
        let stats = capture.stats().expect("it was open");
        tell(u64::from(stats.received), u64::from(stats.dropped), odd);
    }

    fn capture(self) -> Result<Capture<Active>, pcap::Error> {
        // A reader that is woken for each packet must not poll in between: it would never be quiet, and pay for packets that it does not get.
        let milliseconds = if self == Self::Buffered { 10 } else { 0 };
        let device = Capture::from_device("eth0")?.snaplen(128).buffer_size(16 << 20).timeout(milliseconds);
        let mut capture = device.immediate_mode(self != Self::Buffered).open()?;
        let [first, .., last] = KNOCK;
        capture.filter(&format!("udp and inbound and dst portrange {first}-{last}"), true)?;
        Ok(capture)
    }
}

/// Postern's own capture.
fn nap() {
    let [first_port, .., last_port] = KNOCK;
    let none = TcpFlags::default();
    let watch = Watch { transport: Transport::Udp, first_port, last_port, set: none, clear: none };
    let settings =
        CaptureSettings { interface: "eth0".to_owned(), direction: Direction::Incoming, promiscuous: false };
    let odd = Arc::new(AtomicU64::new(0));
    let sink = {
        let odd = Arc::clone(&odd);
        move |frame: Frame<'_>| {
            odd.fetch_add(is_odd(frame.bytes), Ordering::Relaxed);
        }
    };
    let capture =
        LiveCapture::start(settings, Arc::new(Filter::from_watches(&[watch])), sink).expect("a thread");
    assert!(capture.ready(Duration::from_secs(10)), "eth0 cannot be opened");
    println!("listening");
    wait_for_the_end();
    let stats = capture.stats().expect("it answers");
    tell(stats.received, stats.dropped, odd.load(Ordering::Relaxed));
}

/// Returns when standard input is closed.
fn wait_for_the_end() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn is_odd(bytes: &[u8]) -> u64 {
    bytes.last().map_or(0, |byte| u64::from(byte & 1))
}

fn tell(received: u64, dropped: u64, odd: u64) {
    println!("done received {received} dropped {dropped} odd {odd}");
}

fn doorman() -> Doorman {
    let ports = vec![PortRange::single(GuardProtocol::Udp, GUARDED)];
    let (name, on_close) = ("floor".into(), OnClose::Keep);
    let door = NetDoor::Guard(GuardDoor { name, ports, always: Vec::new(), prefixes: Vec::new(), on_close });
    Doorman::start(None, &[(DoorId(1), door)], Release::Now).expect("no other daemon is here").0
}

fn open(doorman: &mut Doorman, frame: &[u8]) {
    let source = frame[SOURCE..].first_chunk::<4>();
    let port = frame[PORT..].first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    if let Some(source) = source.filter(|_| port == Some(KNOCK[2])) {
        let client = Client::alone(Ipv4Addr::from(*source).into());
        let act = Act::Open(Duration::from_secs(60));
        doorman.carry_out(&[Order { serial: 1, door: DoorId(1), client, occurrence: 0, act }]);
    }
}
