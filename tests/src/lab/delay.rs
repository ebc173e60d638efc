//! Delay: carries frames between two devices and lets each arrive a fixed time after it was sent, as netem does where the kernel has it.
//! It keeps their order and changes nothing but checksums that the sender left to its network card.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pcap::{Active, Capture, Direction};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::set_current_timer_slack;

use super::injector::Injector;
use super::namespace::Namespace;
use crate::frame;

/// How long before a frame is due its thread stays awake: a thread that sleeps is woken up to so much too late.
const AWAKE: Duration = Duration::from_micros(100);
/// How often a thread that has nothing to do looks whether it should end.
const TICK: Duration = Duration::from_millis(20);

/// Two threads that carry frames, one for each direction; they end when dropped.
#[derive(Debug)]
pub(super) struct Delay {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Delay {
    /// Carries frames between two devices of a namespace, and has them arrive so much later.
    pub(super) fn start(namespace: &Namespace, devices: [&str; 2], each_way: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let [a, b] = devices;
        let start = |(from, to)| {
            let (wire, injector) = (receiver(namespace, from), Injector::new(namespace, to));
            let stop = Arc::clone(&stop);
            thread::spawn(move || carry(wire, injector, each_way, &stop))
        };
        let threads = [(a, b), (b, a)].map(start).into();
        Self { stop, threads }
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

fn receiver(namespace: &Namespace, device: &str) -> Capture<Active> {
    namespace.run(|| {
        let capture = Capture::from_device(device).expect("the device was made by us");
        let wire = capture.immediate_mode(true).open().expect("capturing is allowed here");
        // What the other thread sends there is on its way out.
        wire.direction(Direction::In).expect("a device has directions");
        wire.setnonblock().expect("an open capture can be told so")
    })
}

fn carry(mut wire: Capture<Active>, mut injector: Injector, each_way: Duration, stop: &AtomicBool) {
    set_current_timer_slack(NonZeroU64::new(1)).expect("it only concerns this thread");
    // Frames and when they are due, which counts from the kernel's time stamp: when this thread was woken does not matter.
    let mut under_way: VecDeque<(Duration, Vec<u8>)> = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        while let Ok(packet) = wire.next_packet() {
            let seconds = u64::try_from(packet.header.ts.tv_sec).expect("after 1970");
            let micros = u64::try_from(packet.header.ts.tv_usec).expect("less than a second");
            let sent = Duration::from_secs(seconds) + Duration::from_micros(micros);
            let mut frame = packet.data.to_vec();
            frame::complete_checksum(&mut frame);
            under_way.push_back((sent + each_way, frame));
        }
        let left = under_way.front().map(|(due, _)| due.saturating_sub(now()));
        match left {
            Some(Duration::ZERO) => {
                if let Some((_, frame)) = under_way.pop_front() {
                    injector.send(&frame);
                }
            }
            Some(left) if left <= AWAKE => std::hint::spin_loop(),
            left => sleep(&wire, left.map_or(TICK, |left| (left - AWAKE).min(TICK))),
        }
    }
}

/// Sleeps until there is a frame, or so long.
fn sleep(wire: &Capture<Active>, longest: Duration) {
    let limit = Timespec::try_from(longest).expect("milliseconds");
    // If it fails, the caller looks again a little early.
    let _ = poll(&mut [PollFd::from_borrowed_fd(wire.as_fd(), PollFlags::IN)], Some(&limit));
}

/// The time of the clock that time stamps are of.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}
