//! Knocker: how long it takes from the last packet of a knock to the first packet through the door.
//!
//! Each probe carries the time at which it was sent, and that of the first one let through counts: when the receiver hears of it is
//! the scheduler's business, not the door's.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{Lab, SERVER4, frame, sleep_until};

use crate::{GUARDED, KNOCK, client};

/// From one probe to the next: how fine the answer is. Between probes the client sleeps, for a spinning client would not leave the machine idle: on two
/// cores the scheduler has the daemon wait behind it for milliseconds.
const PROBE: Duration = Duration::from_micros(15);
/// From one step of the knock to the next: as a program knocks, and as a person does.
pub(crate) const QUICK: Duration = Duration::from_millis(2);
pub(crate) const SLOW: Duration = Duration::from_secs(1);
/// From one knock to the next, so that the process under measurement sleeps again.
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(3);

/// Times to the first packet let through, sorted, and how many knocks opened nothing.
#[derive(Default)]
pub(crate) struct Times {
    sorted: Vec<Duration>,
    pub(crate) lost: usize,
}

/// Knocks as the clients of these numbers, one after the other, with so much time between the steps, and probes a guarded UDP port until something comes through.
pub(crate) fn knock(lab: &Lab, clients: Range<u32>, gap: Duration) -> Times {
    let port = lab.server().run(|| UdpSocket::bind((SERVER4, GUARDED))).expect("a free port");
    let mut wire = lab.injector();
    let start = Instant::now();
    // The number of the newest client whose packet came through, and when that was sent, in nanoseconds from the start.
    let (seen, at) = (AtomicU32::new(clients.start.wrapping_sub(1)), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    port.set_read_timeout(Some(PAUSE)).expect("not zero");
    let mut times = Times::default();
    // Or each sleep would take 50 us longer.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).expect("it only concerns this thread");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = [0; Probe::LENGTH];
            while !over.load(Ordering::Relaxed) {
                if matches!(port.recv(&mut bytes), Ok(Probe::LENGTH)) {
                    let Probe { number, sent } = Probe::from_bytes(bytes);
                    // A late one of the client before does not count.
                    if seen.load(Ordering::Relaxed).wrapping_add(1) == number {
                        at.store(sent, Ordering::Relaxed);
                        seen.store(number, Ordering::Release);
                    }
                }
            }
        });
        for number in clients {
            let from = client(number);
            let to = |port| SocketAddr::new(SERVER4, port);
            let probe = |sent| {
                let probe = Probe { number, sent: nanos(sent) };
                frame::udp(SocketAddr::new(from, 50_000), to(GUARDED), &probe.to_bytes())
            };
            let mut last = Instant::now();
            for (step, port) in KNOCK.iter().enumerate() {
                if step > 0 {
                    sleep_until(last + gap);
                }
                let knock = frame::udp(SocketAddr::new(from, 40_000), to(*port), b"");
                last = Instant::now();
                wire.send(&knock);
            }
            let mut next = last;
            while seen.load(Ordering::Acquire) != number && last.elapsed() < PATIENCE {
                next = (next + PROBE).max(Instant::now());
                sleep_until(next);
                wire.send(&probe(start.elapsed()));
            }
            if seen.load(Ordering::Acquire) == number {
                let at = Duration::from_nanos(at.load(Ordering::Relaxed));
                times.sorted.push(at.saturating_sub(last - start));
            } else {
                times.lost += 1;
            }
            thread::sleep(PAUSE);
        }
        over.store(true, Ordering::Relaxed);
    });
    times.sorted.sort();
    times
}

/// What a packet to the guarded port says: whose it is, and when it was sent, in nanoseconds from the start.
struct Probe {
    number: u32,
    sent: u64,
}

impl Probe {
    const LENGTH: usize = 16;

    fn to_bytes(&self) -> [u8; Probe::LENGTH] {
        (u128::from(self.number) << 64 | u128::from(self.sent)).to_be_bytes()
    }

    fn from_bytes(bytes: [u8; Probe::LENGTH]) -> Self {
        let (number, sent) = bytes.split_at(8);
        let word = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Self { number: u32::try_from(word(number)).unwrap_or(u32::MAX), sent: word(sent) }
    }
}

impl Times {
    /// These and those.
    pub(crate) fn add(&mut self, those: Self) {
        self.sorted.extend(those.sorted);
        self.sorted.sort();
        self.lost += those.lost;
    }

    /// The time that so many of a hundred knocks do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get((last * percent).div_ceil(100)).copied().unwrap_or(Duration::MAX)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
