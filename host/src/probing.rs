//! Probing: sends a knock of nobody's the way of all others, through a judging thread, the engine and the doorman, and says when it is back.
//!
//! It opens nothing and changes nothing. Whoever watches over the daemon learns from it that all of that works, also when no packet comes:
//! systemd's watchdog ([`crate::watchdog`]), or whatever else can have a probe begun and hear of [`MainLoopEvent::Probed`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use postern_sandbox::{Prober, Runtime};

use crate::main_loop_event::{MainLoopEvent, MainLoopSender};
use crate::shared_engine::SharedEngine;

/// Begins probes. There is a thread for them, since a probe waits with whatever hangs; it is not joined.
pub(crate) struct Probing {
    /// Bounded: a probe that does not come back is followed by one more, which waits behind it.
    requests: SyncSender<()>,
    place: Arc<AtomicU8>,
}

/// Where a probe is.
#[derive(Clone, Copy)]
enum Place {
    Judged,
    Decided,
    Ordered,
}

impl Probing {
    /// Sends probes through these; each that comes back is an event of the main loop, and so is each that came to nothing.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub(crate) fn start(
        prober: Prober,
        engine: Arc<SharedEngine>,
        sender: MainLoopSender,
    ) -> io::Result<Self> {
        let (requests, queue) = sync_channel(1);
        let place = Arc::new(AtomicU8::new(0));
        let at = Arc::clone(&place);
        let work = move || {
            for () in queue {
                at.store(Place::Judged as u8, Ordering::Relaxed);
                let reply = sender.clone();
                let reply = move |result| drop(reply.send(MainLoopEvent::Probed(result)));
                if let Err(fault) = prober.probe() {
                    reply(Err(fault));
                    continue;
                }
                at.store(Place::Decided as u8, Ordering::Relaxed);
                // Noted with the engine's lock held, and so after it was waited for.
                engine.probe(|| at.store(Place::Ordered as u8, Ordering::Relaxed), reply);
            }
        };
        thread::Builder::new().name("probe".to_owned()).stack_size(Runtime::STACK).spawn(work)?;
        Ok(Self { requests, place })
    }

    /// Begins one; if the one before is still under way, behind it.
    pub(crate) fn begin(&self) {
        // If one waits already, that one does as well.
        let _ = self.requests.try_send(());
    }

    /// For what the one under way waits.
    pub(crate) fn waits_for(&self) -> &'static str {
        match self.place.load(Ordering::Relaxed) {
            place if place == Place::Judged as u8 => "a thread that judges knocks",
            place if place == Place::Decided as u8 => "the engine",
            _ => "the packet filter",
        }
    }
}
