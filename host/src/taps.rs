//! Taps: a capture for each interface, and what becomes of a frame.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use postern_core::DropReason;
use tokio::sync::Notify;

use crate::capture::{CaptureError, Ending, Filter, Frame, Precision, Sink, Tap, TapSettings};
use crate::config::Config;
use crate::decode::decode;
use crate::local_network::{LocalNetwork, View};
use crate::log;
use crate::rules::{Entrance, Generation, Pool, Runtime};

/// The running captures, by interface.
pub(crate) struct Taps {
    network: Arc<LocalNetwork>,
    taps: BTreeMap<String, (bool, Tap)>,
    /// Captures that were told to end, by interface. A rule may be in the middle of a call for one, and nobody waits for that here.
    ending: HashMap<String, Ending>,
}

impl Taps {
    /// No captures yet.
    pub(crate) fn new(network: Arc<LocalNetwork>) -> Self {
        Self { network, taps: BTreeMap::new(), ending: HashMap::new() }
    }

    /// Captures what this generation asks for, where this configuration says. Captures that stay lose no packet. Who waits for
    /// `listening` may look again whether all are.
    pub(crate) fn follow(
        &mut self,
        config: &Config,
        generation: &Generation,
        pool: &Pool,
        listening: &Arc<Notify>,
    ) -> Result<(), CaptureError> {
        let watches: Vec<_> = generation.dispatch.watches().collect();
        let filter = Arc::new(Filter::from_watches(&watches));
        if let Precision::Widened { from, to } = filter.precision() {
            tracing::warn!(
                event = "capture",
                "{from} port ranges are too many for the kernel's filter; it lets {to} wider ones through and the daemon sorts them out"
            );
        }
        self.ending.retain(|_, ending| !ending.is_over());
        let is_over = |interface: &String, (promiscuous, _): &mut (bool, Tap)| {
            !config.interfaces.contains(interface) || *promiscuous != config.promiscuous
        };
        for (interface, (_, tap)) in self.taps.extract_if(.., is_over) {
            self.ending.insert(interface, tap.end());
        }
        for (_, tap) in self.taps.values() {
            tap.set_filter(Arc::clone(&filter));
        }
        for interface in &config.interfaces {
            if !self.taps.contains_key(interface) {
                let settings = TapSettings { interface: interface.clone(), promiscuous: config.promiscuous };
                let way_in = WayIn {
                    entrance: pool.entrance(),
                    network: self.network.view(),
                    only_ipv4: config.only_ipv4,
                    listening: Arc::clone(listening),
                };
                let before = self.ending.remove(interface);
                let tap = Tap::start_after(before, settings, Arc::clone(&filter), way_in)?;
                self.taps.insert(interface.clone(), (config.promiscuous, tap));
            }
        }
        Ok(())
    }

    /// Whether every capture is listening, with the newest filter.
    pub(crate) fn are_listening(&self) -> bool {
        self.taps.values().all(|(_, tap)| tap.ready(Duration::ZERO))
    }

    /// Ends all of them; returns when no frame is handed on any more.
    pub(crate) fn stop(self) {
        let endings: Vec<_> =
            self.taps.into_values().map(|(_, tap)| tap.end()).chain(self.ending.into_values()).collect();
        endings.into_iter().for_each(Ending::wait);
    }

    /// Whether every capture has been tried, be it in vain.
    pub(crate) fn were_tried(&self) -> bool {
        self.taps.values().all(|(_, tap)| tap.has_tried())
    }

    /// Packets captured, and lost because the daemon was too slow, on all interfaces.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let stats = self.taps.values().map(|(_, tap)| tap.stats());
        stats.fold((0, 0), |(received, dropped), stats| (received + stats.received, dropped + stats.dropped))
    }
}

/// What becomes of a tap's frames.
struct WayIn {
    entrance: Entrance,
    network: View,
    only_ipv4: bool,
    listening: Arc<Notify>,
}

impl Sink for WayIn {
    /// It may run rules.
    const STACK: usize = Runtime::STACK;

    /// A frame becomes a knock, or it is counted.
    fn frame(&mut self, frame: Frame<'_>) {
        match decode(&frame, self.entrance.payload_limit()) {
            Ok(knock) if self.only_ipv4 && knock.source.is_ipv6() => log::count_drop(DropReason::NotWatched),
            Ok(mut knock) => match self.network.place(&mut knock, &frame) {
                Ok(()) => self.entrance.offer(knock),
                Err(reason) => log::count_drop(reason),
            },
            Err(reason) => log::count_drop(reason),
        }
    }

    fn pause(&mut self) {
        self.entrance.judge();
    }

    fn listening(&mut self) {
        self.listening.notify_one();
    }

    fn waiting(&mut self) {
        self.listening.notify_one();
    }
}
