//! Gathering: one thread that takes the reports of all roles, in the order of their time.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::Relay;
use super::tube::{LONGEST, TIME};
use crate::pace::Pace;

/// Most messages of one role that are taken at once: one that floods must not hold the others up.
const MOST: usize = 512;
/// Most bytes of one role that are taken at once, and a message more.
const MOST_BYTES: usize = 1 << 20;
/// How fast the reports of a role are relayed, over time, and at once after a silence. What is more waits in the role, which drops it and counts it:
/// less than a journal takes of a service, and than fits into the queue of the log beside what the others report.
const PACE: Pace = Pace::per_second(300, 4096);
/// Bytes of a report that counts for one.
const SHORT: usize = 1024;

/// How fast the reports of a role are relayed, whichever process has it.
#[derive(Clone, Debug)]
pub(crate) struct ReportPace(Arc<Mutex<Pace>>);

impl Default for ReportPace {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(PACE)))
    }
}

impl ReportPace {
    /// From when on more may be taken, after so many.
    fn take(&self, count: u32) -> Instant {
        let now = Instant::now();
        now + self.0.lock().past_panic().take(count, now)
    }
}

/// Where the reports of roles come together.
#[derive(Clone)]
pub(crate) struct Gathering {
    shared: Arc<Shared>,
}

type Mark = Box<dyn Fn() + Send>;
type Heard = Box<dyn Fn(&[u8]) + Send>;

struct Shared {
    /// Those that the thread has not taken yet, and how many it has.
    new: Mutex<(Vec<Source>, usize)>,
    /// Notified when one has ended.
    ended: Condvar,
    wake: OwnedFd,
}

/// A role's reports.
struct Source {
    socket: OwnedFd,
    mark: Mark,
    /// Called with each message, once it is relayed.
    heard: Heard,
    pace: ReportPace,
    /// It may have sent more than is taken until then.
    free_at: Instant,
}

/// A message, its time, and which source it is of.
struct Message {
    time: u64,
    source: usize,
    body: Vec<u8>,
}

impl Gathering {
    /// Has what is gathered relayed from now on.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(crate) fn start(relay: Arc<dyn Relay>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            new: Mutex::default(),
            ended: Condvar::new(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let work = Arc::clone(&shared);
        thread::Builder::new().name("reports".to_owned()).spawn(move || work.gather(&*relay))?;
        Ok(Self { shared })
    }

    /// Gathers what comes here as well, no faster than `pace` has it; `mark` is called on the thread for each mark, behind all that came before it.
    pub(crate) fn add(&self, socket: OwnedFd, pace: &ReportPace, mark: impl Fn() + Send + 'static) {
        self.add_source(socket, pace, Box::new(mark), Box::new(|_| {}));
    }

    /// The same without marks; `heard` is called with each message, once it is relayed.
    pub(crate) fn add_heard(
        &self,
        socket: OwnedFd,
        pace: &ReportPace,
        heard: impl Fn(&[u8]) + Send + 'static,
    ) {
        self.add_source(socket, pace, Box::new(|| {}), Box::new(heard));
    }

    fn add_source(&self, socket: OwnedFd, pace: &ReportPace, mark: Mark, heard: Heard) {
        let mut new = self.shared.lock();
        new.0.push(Source { socket, mark, heard, pace: pace.clone(), free_at: pace.take(0) });
        new.1 += 1;
        drop(new);
        // It fails only if the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
    }

    /// Waits until all roles have ended and everything is relayed, at most so long.
    pub(crate) fn finish(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut new = self.shared.lock();
        while new.1 > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            new = self.shared.ended.wait_timeout(new, left).past_panic().0;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Vec<Source>, usize)> {
        self.new.lock().past_panic()
    }

    fn gather(&self, relay: &dyn Relay) {
        let mut sources: Vec<Source> = Vec::new();
        let mut inbox = vec![0; LONGEST];
        let mut kept: Vec<Message> = Vec::new();
        loop {
            sources.append(&mut self.lock().0);
            if kept.is_empty() {
                let now = Instant::now();
                let (free, held): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.free_at <= now);
                let mut fds: Vec<_> =
                    free.iter().map(|source| PollFd::new(&source.socket, PollFlags::IN)).collect();
                let soonest = held.iter().map(|source| source.free_at - now).min();
                let timeout = soonest.and_then(|pause| Timespec::try_from(pause).ok());
                fds.push(PollFd::new(&self.wake, PollFlags::IN));
                let _ = poll(&mut fds, timeout.as_ref());
                let _ = rustix::io::read(&self.wake, &mut [0; 8]);
                sources.append(&mut self.lock().0);
            }
            let mut ended = vec![false; sources.len()];
            let mut messages = std::mem::take(&mut kept);
            take(&mut sources, &mut inbox, &mut messages, &mut ended);
            // What led to any of these was sent before it, and is there by now.
            let newest = messages.iter().map(|message| message.time).max().unwrap_or(0);
            take(&mut sources, &mut inbox, &mut messages, &mut ended);
            messages.sort_by_key(|message| message.time);
            let later = messages.partition_point(|message| message.time <= newest);
            kept = messages.split_off(later);
            for Message { source, body, .. } in &messages {
                if relay.relay(body) {
                    (sources[*source].mark)();
                }
                (sources[*source].heard)(body);
            }
            self.forget(&mut sources, &ended, &mut kept);
        }
    }

    /// Forgets sources that have ended and of which everything was relayed.
    fn forget(&self, sources: &mut Vec<Source>, ended: &[bool], kept: &mut [Message]) {
        for n in (0..ended.len()).rev() {
            if ended[n] && !kept.iter().any(|message| message.source == n) {
                sources.remove(n);
                kept.iter_mut().filter(|message| message.source > n).for_each(|message| message.source -= 1);
                self.lock().1 -= 1;
                self.ended.notify_all();
            }
        }
    }
}

/// Takes what is there of each source that may be heard, at most [`MOST`] messages.
fn take(sources: &mut [Source], inbox: &mut [u8], messages: &mut Vec<Message>, ended: &mut [bool]) {
    let now = Instant::now();
    for (n, source) in sources.iter_mut().enumerate().filter(|(_, source)| source.free_at <= now) {
        let (mut count, mut bytes) = (0, 0);
        while count < MOST && bytes < MOST_BYTES {
            match recv(&source.socket, &mut *inbox, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, 0)) => {
                    ended[n] = true;
                    break;
                }
                // One that is too long, or too short for its time, is none.
                Ok((_, length)) => {
                    (count, bytes) = (count + 1, bytes + length);
                    let Some((time, body)) = inbox.get(..length).and_then(<[u8]>::split_first_chunk::<TIME>)
                    else {
                        continue;
                    };
                    messages.push(Message {
                        time: u64::from_ne_bytes(*time),
                        source: n,
                        body: body.to_vec(),
                    });
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    ended[n] = true;
                    break;
                }
            }
        }
        source.free_at = source.pace.take(u32::try_from(count + bytes / SHORT).unwrap_or(u32::MAX));
    }
}
