//! Knocker: how long it takes from the last packet of a knock to the first packet through the door.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{Lab, SERVER4, frame, sleep_until};

use crate::{GUARDED, KNOCK, client};

/// From one probe to the next: how fine the answer is. Whoever waits sleeps, for a spinning client would not leave the machine idle: on two
/// cores the scheduler has the daemon wait behind it for milliseconds.
const PROBE: Duration = Duration::from_micros(15);
/// From one step of the knock to the next.
const GAP: Duration = Duration::from_millis(2);
/// From one knock to the next, so that whoever is under measurement sleeps again.
const REST: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(3);

/// Times to the first packet let through, sorted, and how many knocks opened nothing.
pub(crate) struct Times {
    sorted: Vec<Duration>,
    pub(crate) lost: usize,
}

/// Knocks as the clients `who`, one after the other, and probes a guarded UDP port until something comes through.
pub(crate) fn knock(lab: &Lab, who: Range<u32>) -> Times {
    let port = lab.server().run(|| UdpSocket::bind((SERVER4, GUARDED))).expect("a free port");
    let mut wire = lab.injector();
    let start = Instant::now();
    // The number of the newest client whose packet came through, and when, in nanoseconds from the start.
    let (seen, at) = (AtomicU32::new(0), AtomicU64::new(0));
    let over = AtomicBool::new(false);
    port.set_read_timeout(Some(REST)).expect("not zero");
    let mut times = Times { sorted: Vec::new(), lost: 0 };
    // Or each sleep would take 50 us longer.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).expect("it only concerns this thread");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = [0; 4];
            while !over.load(Ordering::Relaxed) {
                if matches!(port.recv(&mut number), Ok(4)) {
                    let number = u32::from_be_bytes(number);
                    // A late one of the client before does not count.
                    if seen.load(Ordering::Relaxed).wrapping_add(1) == number {
                        at.store(nanos(start.elapsed()), Ordering::Relaxed);
                        seen.store(number, Ordering::Release);
                    }
                }
            }
        });
        for number in who {
            let from = client(number);
            let to = |port| SocketAddr::new(SERVER4, port);
            let probe = frame::udp(SocketAddr::new(from, 50_000), to(GUARDED), &number.to_be_bytes());
            let mut last = Instant::now();
            for (step, port) in KNOCK.iter().enumerate() {
                if step > 0 {
                    sleep_until(last + GAP);
                }
                let knock = frame::udp(SocketAddr::new(from, 40_000), to(*port), b"");
                last = Instant::now();
                wire.send(&knock);
            }
            let mut next = last;
            while seen.load(Ordering::Acquire) != number && last.elapsed() < PATIENCE {
                next = (next + PROBE).max(Instant::now());
                sleep_until(next);
                wire.send(&probe);
            }
            if seen.load(Ordering::Acquire) == number {
                let at = Duration::from_nanos(at.load(Ordering::Relaxed));
                times.sorted.push(at.saturating_sub(last - start));
            } else {
                times.lost += 1;
            }
            thread::sleep(REST);
        }
        over.store(true, Ordering::Relaxed);
    });
    times.sorted.sort();
    times
}

impl Times {
    /// The time that so many of a hundred knocks do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get((last * percent).div_ceil(100)).copied().unwrap_or(Duration::MAX)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
