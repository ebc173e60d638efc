//! Captures: one for each interface, and what becomes of a frame.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_capture::{
    CaptureCounter, CaptureError, CaptureSettings, Devices, EndingCapture, Filter, Frame, FrameSink,
    LiveCapture, LocalNetwork, Precision, Sightings, View, decode,
};
use postern_config::Config;
use postern_core::{ANY_INTERFACE, Direction, DropReason, Observer, PacketCounts, Report, What};
use postern_sandbox::{Generation, Pool, Runtime, Submitter};
use tokio::sync::Notify;

/// An interface, and which way packets go there.
type CapturePlace = (String, Direction);

/// The running captures, by interface and by which way their packets go.
pub(crate) struct Captures {
    network: Arc<LocalNetwork>,
    sightings: Sightings,
    devices: Arc<Devices>,
    observer: Arc<dyn Observer>,
    captures: BTreeMap<CapturePlace, (bool, LiveCapture)>,
    /// What each is to let through, but for sources that somebody follows.
    filters: BTreeMap<CapturePlace, Arc<Filter>>,
    /// Whatever comes from these is let through.
    sources: Vec<IpAddr>,
    /// Captures that are ending. A rule may be in the middle of a call for one, which is not waited for here.
    ending: HashMap<CapturePlace, EndingCapture>,
}

impl Captures {
    /// No captures yet; `devices` will open them.
    pub(crate) fn new(
        network: Arc<LocalNetwork>,
        sightings: Sightings,
        devices: Arc<Devices>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let (captures, filters, ending) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
        Self { network, sightings, devices, observer, captures, filters, sources: Vec::new(), ending }
    }

    /// Captures what this generation asks for, where this configuration says. Captures that stay lose no packet. `listening` is notified
    /// when it may be that all are listening.
    pub(crate) fn follow(
        &mut self,
        config: &Config,
        generation: &Generation,
        pool: &Pool,
        listening: &Arc<Notify>,
    ) -> Result<(), CaptureError> {
        let wanted = wanted(config, generation, &*self.observer);
        self.ending.retain(|_, ending| !ending.is_over());
        let is_over = |place: &CapturePlace, (promiscuous, _): &mut (bool, LiveCapture)| {
            !wanted.contains_key(place) || *promiscuous != config.promiscuous
        };
        for (place, (_, capture)) in self.captures.extract_if(.., is_over) {
            self.ending.insert(place, capture.end());
        }
        self.filters.clone_from(&wanted);
        self.set_filters();
        if wanted.len() > 1 || config.interfaces.iter().any(|interface| interface == ANY_INTERFACE) {
            self.sightings.begin();
        }
        for (place, filter) in wanted {
            if !self.captures.contains_key(&place) {
                let (interface, direction) = place.clone();
                let settings = CaptureSettings { interface, direction, promiscuous: config.promiscuous };
                let decoder = Decoder {
                    submitter: pool.submitter(),
                    network: self.network.view(),
                    sightings: self.sightings.clone(),
                    only_ipv4: config.only_ipv4,
                    observer: Arc::clone(&self.observer),
                    listening: Arc::clone(listening),
                };
                let filter = with_sources(filter, &self.sources);
                let before = self.ending.remove(&place);
                // Without it a missing interface is polled less often.
                let changes = self.network.link_changes().ok();
                let (devices, observer) = (Arc::clone(&self.devices), Arc::clone(&self.observer));
                let capture =
                    LiveCapture::start_after(before, settings, filter, devices, changes, observer, decoder)?;
                self.captures.insert(place, (config.promiscuous, capture));
            }
        }
        Ok(())
    }

    /// Lets through whatever comes from these sources as well, and no others any more.
    pub(crate) fn follow_sources(&mut self, sources: Vec<IpAddr>) {
        self.sources = sources;
        self.set_filters();
    }

    fn set_filters(&self) {
        for (place, (_, capture)) in &self.captures {
            if let Some(filter) = self.filters.get(place) {
                capture.set_filter(with_sources(Arc::clone(filter), &self.sources));
            }
        }
    }

    /// Whether every capture is listening, with the newest filter.
    pub(crate) fn are_listening(&self) -> bool {
        self.captures.values().all(|(_, capture)| capture.ready(Duration::ZERO))
    }

    /// Ends all of them; returns when no frame is handed on any more.
    pub(crate) fn stop(self) {
        let endings: Vec<_> = self
            .captures
            .into_values()
            .map(|(_, capture)| capture.end())
            .chain(self.ending.into_values())
            .collect();
        endings.into_iter().for_each(EndingCapture::wait);
    }

    /// Where each capture counts, with its interface and which way its packets go.
    pub(crate) fn counters(&self) -> Vec<(String, Direction, CaptureCounter)> {
        let captures = self.captures.iter();
        captures
            .map(|((interface, direction), (_, capture))| (interface.clone(), *direction, capture.counter()))
            .collect()
    }

    /// Whether every capture has been tried, with or without success.
    pub(crate) fn were_tried(&self) -> bool {
        self.captures.values().all(|(_, capture)| capture.has_tried())
    }

    /// The packets on all interfaces; none if a capture does not say in time how many it has seen.
    pub(crate) fn counts(&self) -> Option<PacketCounts> {
        self.captures.values().try_fold(PacketCounts::default(), |sum, (_, capture)| {
            let stats = capture.stats()?;
            Some(PacketCounts { received: sum.received + stats.received, lost: sum.lost + stats.dropped })
        })
    }
}

/// The same filter, which also lets through what comes from these sources.
fn with_sources(filter: Arc<Filter>, sources: &[IpAddr]) -> Arc<Filter> {
    if sources.is_empty() { filter } else { Arc::new(filter.with_sources(sources)) }
}

/// Where to capture, and with which filter. Of what leaves this machine nothing is captured on `any`: what it forwards has come in there.
fn wanted(
    config: &Config,
    generation: &Generation,
    observer: &dyn Observer,
) -> BTreeMap<CapturePlace, Arc<Filter>> {
    let incoming = filter(generation, Direction::Incoming, observer);
    let leaves = generation.dispatch.watches(Direction::Outgoing).next().is_some();
    let outgoing = leaves.then(|| filter(generation, Direction::Outgoing, observer));
    let mut wanted = BTreeMap::new();
    for interface in &config.interfaces {
        wanted.insert((interface.clone(), Direction::Incoming), Arc::clone(&incoming));
        if let Some(outgoing) = outgoing.as_ref().filter(|_| interface != ANY_INTERFACE) {
            wanted.insert((interface.clone(), Direction::Outgoing), Arc::clone(outgoing));
        }
    }
    wanted
}

fn filter(generation: &Generation, direction: Direction, observer: &dyn Observer) -> Arc<Filter> {
    let watches: Vec<_> = generation.dispatch.watches(direction).collect();
    let filter = Filter::of_direction(direction, &watches);
    if let Precision::Widened { from, to } = filter.precision() {
        observer.report(&Report::new(What::FilterWidened { from, to }));
    }
    Arc::new(filter)
}

/// What becomes of a capture's frames: decoded, compared with this machine's addresses, and handed to the workers.
struct Decoder {
    submitter: Submitter,
    network: View,
    sightings: Sightings,
    only_ipv4: bool,
    observer: Arc<dyn Observer>,
    listening: Arc<Notify>,
}

impl FrameSink for Decoder {
    /// It may run rules.
    const STACK: usize = Runtime::STACK;

    /// A frame becomes a knock, or it is counted.
    fn frame(&mut self, frame: Frame<'_>) {
        let knock = decode(&frame, self.submitter.detail()).and_then(|mut knock| {
            if self.only_ipv4 && knock.source.is_ipv6() {
                return Err(DropReason::NotWatched);
            }
            match self.network.place(&mut knock, &frame) {
                Ok(()) => Ok(knock),
                Err(reason) => {
                    self.observer.passed_over(&knock, reason);
                    Err(reason)
                }
            }
        });
        match knock {
            Ok(mut knock) => {
                knock.sighting = self.sightings.of(&frame, &knock);
                self.submitter.offer(knock);
            }
            Err(reason) => self.observer.count_drops(None, reason, 1),
        }
    }

    fn pause(&mut self) {
        self.submitter.judge();
    }

    fn listening(&mut self) {
        self.listening.notify_one();
    }

    fn waiting(&mut self) {
        self.listening.notify_one();
    }
}
