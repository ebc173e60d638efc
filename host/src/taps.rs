//! Taps: a capture for each interface, and what becomes of a frame.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_core::DropReason;

use crate::capture::{CaptureError, Filter, Frame, Precision, Tap, TapSettings};
use crate::config::Config;
use crate::decode::decode;
use crate::log;
use crate::rules::{Entrance, Generation, Pool};

/// The running captures, by interface.
#[derive(Default)]
pub(crate) struct Taps {
    taps: BTreeMap<String, (bool, Tap)>,
}

impl Taps {
    /// Captures what this generation asks for, where this configuration says. Captures that stay lose no packet.
    pub(crate) fn follow(
        &mut self,
        config: &Config,
        generation: &Generation,
        pool: &Pool,
    ) -> Result<(), CaptureError> {
        let watches: Vec<_> = generation.dispatch.watches().collect();
        let filter = Arc::new(Filter::from_watches(&watches));
        if let Precision::Widened { from, to } = filter.precision() {
            tracing::warn!(
                event = "capture",
                "{from} port ranges are too many for the kernel's filter; it lets {to} wider ones through and the daemon sorts them out"
            );
        }
        self.taps.retain(|interface, (promiscuous, _)| {
            config.interfaces.contains(interface) && *promiscuous == config.promiscuous
        });
        for (_, tap) in self.taps.values() {
            tap.set_filter(Arc::clone(&filter));
        }
        for interface in &config.interfaces {
            if !self.taps.contains_key(interface) {
                let settings = TapSettings { interface: interface.clone(), promiscuous: config.promiscuous };
                let entrance = pool.entrance();
                let only_ipv4 = config.only_ipv4;
                let tap = Tap::start(settings, Arc::clone(&filter), move |frame| {
                    take(&frame, &entrance, only_ipv4);
                })?;
                self.taps.insert(interface.clone(), (config.promiscuous, tap));
            }
        }
        Ok(())
    }

    /// Whether every capture is listening, with the newest filter.
    pub(crate) fn are_listening(&self) -> bool {
        self.taps.values().all(|(_, tap)| tap.ready(Duration::ZERO))
    }

    /// Packets captured, and lost because the daemon was too slow, on all interfaces.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let stats = self.taps.values().map(|(_, tap)| tap.stats());
        stats.fold((0, 0), |(received, dropped), stats| (received + stats.received, dropped + stats.dropped))
    }
}

/// A frame becomes a knock and goes to its worker, or it is counted.
fn take(frame: &Frame<'_>, entrance: &Entrance, only_ipv4: bool) {
    let offered = decode(frame, entrance.payload_limit()).and_then(|knock| match knock.source {
        IpAddr::V6(_) if only_ipv4 => Err(DropReason::NotWatched),
        _ => entrance.offer(knock),
    });
    if let Err(reason) = offered {
        log::count_drop(reason);
    }
}
