//! Live: one thread that captures on one interface, for as long as its [`LiveCapture`] lives.
//!
//! The thread owns the capture. An interface that is missing, down or gone is waited for, and no failure of it ends anything.
//! The thread sleeps until there are frames, a command, or a change of interfaces. Under load frames do not wake it; it then polls the ring in
//! short intervals, so that one wake-up serves many frames (see [`moderation`]).

mod counter;
mod device;
mod devices;
mod error;
mod handle;
mod link_lookup;
mod moderation;
mod outage;
mod packet_options;
mod parking;
mod reserve;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use postern_core::{Direction, Observer, Report, ThreadKind, What};
use postern_text::panic::PastPanic;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, read, write};

use crate::filter::Filter;
use crate::frame::Frame;
use crate::link_changes::LinkChanges;
pub use counter::CaptureCounter;
use device::Device;
pub use devices::Devices;
pub use error::CaptureError;
use moderation::InterruptModeration;
use outage::{Outage, Recovered};

/// Frames that are read before the thread looks for commands.
const BATCH: usize = 256;
/// More batches than the kernel's ring holds.
const FULL_RING: usize = 64;

/// How often an interface is looked at of which neither the socket nor anybody else says that it has changed.
const LOOK_INTERVAL: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    /// Name of an interface, or `any`. On `any` a packet shows once for each interface that it passes on its way in, so twice if it
    /// comes through a VLAN interface, a bridge or a bond.
    pub interface: String,
    /// Which packets: those that come in there, or those that go out.
    pub direction: Direction,
    /// Whether to see frames for other hardware addresses. Without effect on `any`.
    pub promiscuous: bool,
}

/// What a capture has seen since it was started, over all re-openings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureStats {
    /// Frames that passed the kernel filter, dropped ones included.
    pub received: u64,
    /// Frames that passed the filter but found the ring full.
    pub dropped: u64,
    /// Frames on which the sink panicked.
    pub panics: u64,
}

/// What becomes of the frames of a capture. It is called on the capture's thread and must not block for long, or the kernel's ring fills
/// up. A panic in it drops the frame that it was called for, and is reported and counted; the sink is called again for the next frame.
pub trait FrameSink: Send + 'static {
    /// The stack that it needs, in bytes.
    const STACK: usize = 2 << 20;

    /// Takes a frame.
    fn frame(&mut self, frame: Frame<'_>);

    /// A batch of frames ends here.
    fn pause(&mut self) {}

    /// From now on the interface is open, with the newest filter in place.
    fn listening(&mut self) {}

    /// The interface cannot be captured on, and that was reported; from now on it is waited for.
    fn waiting(&mut self) {}
}

impl<F: FnMut(Frame<'_>) + Send + 'static> FrameSink for F {
    fn frame(&mut self, frame: Frame<'_>) {
        self(frame);
    }
}

/// A capture on one interface. Dropping it ends the capture, without waiting for its thread.
pub struct LiveCapture {
    shared: Arc<SharedCapture>,
    observer: Arc<dyn Observer>,
    thread: Option<JoinHandle<()>>,
}

/// A capture that is ending. Its thread may still be calling the sink.
pub struct EndingCapture {
    observer: Arc<dyn Observer>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct SharedCapture {
    state: Mutex<CaptureState>,
    /// Notified after each change of `state` by the thread.
    changed: Condvar,
    /// Written to after each change of `state` by the owner.
    wake: OwnedFd,
}

#[derive(Debug)]
struct CaptureState {
    stop: bool,
    filter: Arc<Filter>,
    /// Counts the filters, so that it is known whether the newest one is in place.
    filter_number: u64,
    /// The number of the filter that is attached to an open capture.
    listening: Option<u64>,
    /// Whether opening the interface has succeeded or failed once, and a failure was reported.
    tried: bool,
    stats: CaptureStats,
    stats_asked: u64,
    stats_answered: u64,
}

impl LiveCapture {
    /// Starts to capture and returns at once. The thread hands each frame that passes `filter` to `sink`; `filter` and
    /// `settings` must be of the same direction. While the interface is missing or down, the thread waits for it.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Thread`]. A missing interface is no error: the thread waits for it.
    pub fn start<S: FrameSink>(
        settings: CaptureSettings,
        filter: Arc<Filter>,
        sink: S,
    ) -> Result<Self, CaptureError> {
        let devices = Arc::new(Devices::direct());
        Self::start_after(None, settings, filter, devices, None, Arc::new(()), sink)
    }

    /// As [`LiveCapture::start`], but captures nothing before another one has ended: no frame is handed on by both. The interface is opened by
    /// `devices`. Outages are reported to `observer`. A missing interface is tried again when `changes` says that one has changed, and
    /// otherwise after at most 5 s.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_after<S: FrameSink>(
        before: Option<EndingCapture>,
        settings: CaptureSettings,
        filter: Arc<Filter>,
        devices: Arc<Devices>,
        changes: Option<LinkChanges>,
        observer: Arc<dyn Observer>,
        sink: S,
    ) -> Result<Self, CaptureError> {
        let interface = settings.interface.clone();
        let failed = |source| CaptureError::Thread { interface: interface.clone(), source };
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| failed(errno.into()))?;
        let state = CaptureState {
            stop: false,
            filter,
            filter_number: 1,
            listening: None,
            tried: false,
            stats: CaptureStats::default(),
            stats_asked: 0,
            stats_answered: 0,
        };
        let shared = Arc::new(SharedCapture { state: Mutex::new(state), changed: Condvar::new(), wake });
        let thread = thread::Builder::new()
            .name(format!("capture {interface}"))
            .stack_size(S::STACK)
            .spawn({
                let (shared, observer) = (shared.clone(), observer.clone());
                move || {
                    before.into_iter().for_each(EndingCapture::wait);
                    run(&shared, &settings, &devices, changes, &*observer, sink);
                }
            })
            .map_err(failed)?;
        Ok(Self { shared, observer, thread: Some(thread) })
    }

    /// Replaces the filter. The kernel swaps programs between two packets, so a packet that both let through is not lost.
    /// Returns at once; [`LiveCapture::ready`] says when it is in place.
    pub fn set_filter(&self, filter: Arc<Filter>) {
        let mut state = self.shared.lock();
        state.filter = filter;
        state.filter_number += 1;
        drop(state);
        self.shared.wake();
    }

    /// Waits until the interface is open with the newest filter in place, at most for `timeout`. False if it is not by then.
    #[must_use]
    pub fn ready(&self, timeout: Duration) -> bool {
        self.shared.wait_until(timeout, |state| state.listening == Some(state.filter_number)).1
    }

    /// Whether the first attempt to capture has succeeded or failed, and a failure was reported.
    #[must_use]
    pub fn has_tried(&self) -> bool {
        self.shared.lock().tried
    }

    /// As [`CaptureCounter::stats`].
    #[must_use]
    pub fn stats(&self) -> Option<CaptureStats> {
        self.counter().stats()
    }

    /// Says what this capture has seen, on whatever thread asks.
    #[must_use]
    pub fn counter(&self) -> CaptureCounter {
        CaptureCounter(Arc::clone(&self.shared))
    }

    /// Ends the capture, and returns when the thread has ended. Frames not yet read are dropped.
    pub fn stop(self) {
        self.end().wait();
    }

    /// Ends the capture without waiting for its thread. Frames not yet read are dropped.
    #[must_use]
    pub fn end(mut self) -> EndingCapture {
        EndingCapture { observer: Arc::clone(&self.observer), thread: self.thread.take() }
    }
}

impl Drop for LiveCapture {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake();
    }
}

impl EndingCapture {
    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has.
    pub fn wait(self) {
        if self.thread.is_some_and(|thread| thread.join().is_err()) {
            self.observer.report(&Report::new(What::Panicked { thread: ThreadKind::Capture }));
        }
    }
}

impl SharedCapture {
    fn lock(&self) -> MutexGuard<'_, CaptureState> {
        self.state.lock().past_panic()
    }

    /// Makes the thread look at `state`.
    fn wake(&self) {
        // It can only fail because the counter is full, and then the thread is awake.
        let _ = write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Says that a wake-up was noticed.
    fn awake(&self) {
        let _ = read(&self.wake, &mut [0_u8; 8]);
    }

    fn update(&self, change: impl FnOnce(&mut CaptureState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait_until(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&CaptureState) -> bool,
    ) -> (MutexGuard<'_, CaptureState>, bool) {
        let (state, result) =
            self.changed.wait_timeout_while(self.lock(), timeout, |state| !done(state)).past_panic();
        let is_done = !result.timed_out() || done(&state);
        (state, is_done)
    }
}

/// The thread: open, read until that ends, wait, again.
fn run(
    shared: &SharedCapture,
    settings: &CaptureSettings,
    devices: &Devices,
    changes: Option<LinkChanges>,
    observer: &dyn Observer,
    mut sink: impl FrameSink,
) {
    let mut outage = Outage::new(changes);
    while !shared.lock().stop {
        let opened = devices.open(settings, observer);
        let failure = opened.and_then(|mut device| {
            let opened_at = Instant::now();
            let result = serve(shared, &mut device, &mut outage, observer, &mut sink);
            count(shared, &mut device);
            shared.update(|state| state.listening = None);
            outage.worked_for(opened_at.elapsed());
            devices.put_back(device);
            result
        });
        if let Err(failure) = failure {
            outage.report(settings, &failure, observer);
            shared.update(|state| state.tried = true);
            sink.waiting();
            outage.wait(shared);
        }
    }
}

/// Reads frames and follows commands until the capture is to stop or fails.
fn serve(
    shared: &SharedCapture,
    device: &mut Device,
    outage: &mut Outage,
    observer: &dyn Observer,
    sink: &mut impl FrameSink,
) -> Result<(), CaptureError> {
    let mut moderation = InterruptModeration::new(Instant::now());
    let mut attached = attach_newest(shared, device, observer)?;
    sink.listening();
    report_listening(device, outage.end(), observer);
    loop {
        let woken_by = sleep(shared, device, outage, moderation.poll_interval());
        if woken_by.commands {
            shared.awake();
            let (stop, number, stats_asked) = {
                let state = shared.lock();
                (state.stop, state.filter_number, state.stats_asked)
            };
            if stop {
                return Ok(());
            }
            if number != attached {
                attached = attach_newest(shared, device, observer)?;
                sink.listening();
            }
            count(shared, device);
            shared.update(|state| state.stats_answered = stats_asked);
        }
        let lost = || CaptureError::Lost { interface: device.name().to_owned() };
        if woken_by.changes {
            outage.forget_changes();
            // The kernel also reports this as an error of the capture's socket, but libpcap may have consumed that error.
            if !device.is_current() {
                return Err(lost());
            }
        }
        if woken_by.frames == PollFlags::IN {
            let frames = read_batch(shared, device, observer, sink)?;
            moderation.note(frames, BATCH, Instant::now());
        } else if !woken_by.frames.is_empty() {
            let lost = lost();
            // What arrived before the interface went down is still in the ring.
            for _ in 0..FULL_RING {
                if read_batch(shared, device, observer, sink)? == 0 {
                    break;
                }
            }
            return Err(lost);
        }
    }
}

/// Reports that the interface is open, and whether it was reported that it was not.
fn report_listening(device: &Device, ended: Option<Recovered>, observer: &dyn Observer) {
    let (interface, link) = (device.name().into(), format!("{:?}", device.link()).into());
    let what = match (device.direction(), ended) {
        // Where packets come in, another capture reports the same.
        (Direction::Outgoing, _) | (Direction::Incoming, None) => {
            What::Listening { interface, link, direction: device.direction() }
        }
        (Direction::Incoming, Some(opened)) => {
            What::ListeningAgain { interface, link, was_open: opened == Recovered::Again }
        }
    };
    observer.report(&Report::new(what));
}

/// Hands the sink the frames that are there, at most a batch; returns how many.
fn read_batch(
    shared: &SharedCapture,
    device: &mut Device,
    observer: &dyn Observer,
    sink: &mut impl FrameSink,
) -> Result<usize, CaptureError> {
    let interface = Arc::clone(device.interface());
    let frames = device.read(BATCH, |frame| guarded(shared, &interface, observer, || sink.frame(frame)))?;
    guarded(shared, &interface, observer, || sink.pause());
    Ok(frames)
}

/// What ended a sleep.
struct WokenBy {
    commands: bool,
    frames: PollFlags,
    changes: bool,
}

/// Waits for commands, for frames, and for changes of interfaces. With a poll interval (shorter than a second) frames do not end the wait;
/// after the interval the ring is read whether there are frames or not.
fn sleep(shared: &SharedCapture, device: &Device, outage: &Outage, interval: Option<Duration>) -> WokenBy {
    // With nobody to say that the interface has changed, it is looked at.
    let is_unwatched = outage.changes().is_none() && !device.hears_of_loss();
    let limit = match interval {
        Some(interval) => Some(Timespec { tv_sec: 0, tv_nsec: interval.subsec_nanos().into() }),
        None => is_unwatched.then_some(LOOK_INTERVAL),
    };
    let mut descriptors = [
        PollFd::new(&shared.wake, PollFlags::IN),
        // Without notifications of changes: the same descriptor twice does no harm.
        PollFd::from_borrowed_fd(
            outage.changes().map_or_else(|| shared.wake.as_fd(), AsFd::as_fd),
            PollFlags::IN,
        ),
        PollFd::new(device.descriptor(), PollFlags::IN),
    ];
    let awaited = if interval.is_some() { &mut descriptors[..2] } else { &mut descriptors[..] };
    match poll(awaited, limit.as_ref()) {
        Ok(woken) => WokenBy {
            commands: !descriptors[0].revents().is_empty(),
            changes: (is_unwatched && interval.is_none() && woken == 0)
                || !descriptors[1].revents().is_empty(),
            frames: if interval.is_some() { PollFlags::IN } else { descriptors[2].revents() },
        },
        Err(Errno::INTR) => WokenBy { commands: false, frames: PollFlags::empty(), changes: false },
        // With open descriptors poll fails otherwise only for lack of memory; the capture is then opened anew.
        Err(_) => WokenBy { commands: false, frames: PollFlags::ERR, changes: false },
    }
}

/// Attaches the newest filter and returns its number.
fn attach_newest(
    shared: &SharedCapture,
    device: &Device,
    observer: &dyn Observer,
) -> Result<u64, CaptureError> {
    let (filter, number) = {
        let state = shared.lock();
        (state.filter.clone(), state.filter_number)
    };
    device.attach(&filter, observer)?;
    shared.update(|state| {
        state.listening = Some(number);
        state.tried = true;
    });
    Ok(number)
}

/// Adds what was seen since the last time.
fn count(shared: &SharedCapture, device: &mut Device) {
    let (received, dropped) = device.seen();
    shared.update(|state| {
        state.stats.received += received;
        state.stats.dropped += dropped;
    });
}

/// Calls the sink and catches a panic in it.
fn guarded(shared: &SharedCapture, interface: &str, observer: &dyn Observer, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        let mut panics = 0;
        shared.update(|state| {
            state.stats.panics += 1;
            panics = state.stats.panics;
        });
        // A packet may have caused this, so the log must not grow with the packets.
        if panics.is_power_of_two() {
            observer.report(&Report::new(What::FramePanicked { interface: interface.into(), panics }));
        }
    }
}
