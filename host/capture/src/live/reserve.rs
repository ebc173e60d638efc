//! Reserve: packet sockets that were opened while this process still could, and where each of them is used now.
//!
//! A place (an interface and a direction) whose interface is there at the start has a handle of its own, opened on it as ever. The kernel
//! unbinds that for good when the interface goes, and libpcap could not decode another kind of link on it. All other cases are served by
//! spares: handles on `any`, whose frames have a cooked header whatever the link is, behind a filter that passes what one interface sees. So
//! it makes no difference to a spare whether its interface was never there, comes back, or comes back as another kind of link.
//! Nothing is bound to an interface again: safe code has no address for that of interfaces without a hardware address (tun, WireGuard,
//! PPP), and libpcap, once the kernel has said ENETDOWN, would look for an interface called `any` for ever.

#[cfg(test)]
mod tests;

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

use pcap::{Active, Capture};
use postern_core::{ANY_INTERFACE, Direction, Observer, Report, What};
use postern_text::panic::PastPanic;
use socket2::SockRef;

use super::device::{COOKED, COOKED_V2, Device, Origin, RING, Scope};
use super::link_lookup::{LinkLookup, LinkState};
use super::parking::{Parking, bound_to};
use super::{CaptureError, CaptureSettings, handle};
use crate::filter::Filter;

/// Bytes of the ring of a spare: 1024 frames. The whole ring counts as this process's memory from the moment when it is opened.
const SPARE_RING: i32 = 2 << 20;

pub(super) struct Reserve {
    links: Arc<LinkLookup>,
    parking: Parking,
    held: Mutex<Held>,
    when_exhausted: Box<dyn Fn() + Send + Sync>,
}

/// The handles that are not in use.
#[derive(Default)]
struct Held {
    own: Vec<OwnHandle>,
    spares: Vec<Capture<Active>>,
    is_exhausted: bool,
}

/// A handle that was opened on the interface of its place.
struct OwnHandle {
    interface: String,
    direction: Direction,
    /// The kind of link that libpcap decodes on it. None for `any`, which never goes.
    hardware: Option<u16>,
    capture: Capture<Active>,
}

impl Reserve {
    /// Opens a handle for each place whose interface is there and up, a spare for each but those on `any`, and so many spares more.
    pub(super) fn open(
        places: impl IntoIterator<Item = (String, Direction)>,
        more: usize,
        when_exhausted: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, CaptureError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::PermissionDenied => {
                CaptureError::NotPermitted { interface: ANY_INTERFACE.to_owned() }
            }
            _ => CaptureError::Reserve { source },
        };
        let parking = Parking::new().map_err(failed)?;
        let links = Arc::new(LinkLookup::open().map_err(failed)?);
        let (mut held, mut spares) = (Held::default(), more);
        for (interface, direction) in places {
            spares += usize::from(interface != ANY_INTERFACE);
            match OwnHandle::open(interface, direction) {
                Ok(own) => held.own.push(own),
                Err(error @ CaptureError::NotPermitted { .. }) => return Err(error),
                // A spare will do.
                Err(_) => {}
            }
        }
        for _ in 0..spares {
            let open = || handle::open(ANY_INTERFACE, false, SPARE_RING);
            let spare = open().map_err(|source| handle::why(ANY_INTERFACE, source))?;
            close(&spare).and_then(|()| parking.park(&spare)).map_err(failed)?;
            held.spares.push(spare);
        }
        Ok(Self { links, parking, held: Mutex::new(held), when_exhausted })
    }

    /// A device for these settings.
    ///
    /// # Errors
    /// If the interface is not there or not up, or if there is no handle for it.
    pub(super) fn take(
        &self,
        settings: &CaptureSettings,
        observer: &dyn Observer,
    ) -> Result<Device, CaptureError> {
        let is_any = settings.interface == ANY_INTERFACE;
        let link = if is_any { None } else { Some(self.link(settings)?) };
        let (own, gone) = self.held().take_own(settings, link);
        // Closing one takes time, in which others may take theirs.
        drop(gone);
        let (mut capture, origin) = match own {
            Some(own) => (own.capture, Origin::Own { hardware: own.hardware }),
            None => (self.take_spare(settings)?, Origin::Spare),
        };
        // An own handle reports once more that its interface was down.
        let _ = SockRef::from(&capture).take_error();
        let scope = match (link, &origin) {
            (None, _) => Scope::Every,
            (Some(link), Origin::Spare) => {
                Scope::Filtered { index: link.index, links: Arc::clone(&self.links) }
            }
            (Some(link), _) => Scope::Bound { index: link.index },
        };
        if matches!(origin, Origin::Spare) {
            let header = if is_any { COOKED_V2 } else { COOKED };
            if capture.set_datalink(header).is_err() && is_any {
                observer.report(&Report::new(What::LinksUnknown { interface: ANY_INTERFACE.into() }));
            }
            // It still passes nothing: first its owner attaches a filter.
            let failed = |source| CaptureError::Filter { interface: settings.interface.clone(), source };
            self.parking.drive_off(&capture).map_err(failed)?;
        }
        Device::reserved(capture, settings, scope, origin)
    }

    /// Keeps the handle of a device for the next use. If that fails, it is closed.
    pub(super) fn put_back(&self, device: Device) {
        let (interface, direction) = (device.name().to_owned(), device.direction());
        let (capture, origin) = device.into_handle();
        if close(&capture).is_err() {
            return;
        }
        match origin {
            Origin::Own { hardware } => {
                self.held().own.push(OwnHandle { interface, direction, hardware, capture });
            }
            Origin::Spare => {
                if self.parking.park(&capture).is_ok() {
                    self.held().spares.push(capture);
                }
            }
            Origin::Direct => {}
        }
    }

    /// The interface, if it is up.
    fn link(&self, settings: &CaptureSettings) -> Result<LinkState, CaptureError> {
        let interface = settings.interface.clone();
        match self.links.find(&interface) {
            Ok(Some(link)) if link.is_up => Ok(link),
            Ok(Some(_)) => Err(CaptureError::Down { interface }),
            Ok(None) => {
                let gone = self.held().take_gone();
                drop(gone);
                Err(CaptureError::NoInterface { interface })
            }
            Err(source) => Err(CaptureError::Lookup { interface, source }),
        }
    }

    fn take_spare(&self, settings: &CaptureSettings) -> Result<Capture<Active>, CaptureError> {
        let mut held = self.held();
        if let Some(spare) = held.spares.pop() {
            return Ok(spare);
        }
        let was_exhausted = mem::replace(&mut held.is_exhausted, true);
        drop(held);
        if !was_exhausted {
            (self.when_exhausted)();
        }
        Err(CaptureError::NoSpare { interface: settings.interface.clone() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().past_panic()
    }
}

impl Held {
    /// The own handle of a place if it can be used on this link, and those that cannot be used any more.
    fn take_own(
        &mut self,
        settings: &CaptureSettings,
        link: Option<LinkState>,
    ) -> (Option<OwnHandle>, Vec<OwnHandle>) {
        let gone = self.take_gone();
        let is_it = |own: &OwnHandle| {
            own.interface == settings.interface
                && own.direction == settings.direction
                && link
                    .is_none_or(|link| bound_to(&own.capture).is_some_and(|(index, _)| index == link.index))
        };
        let at = self.own.iter().position(is_it);
        (at.map(|at| self.own.swap_remove(at)), gone)
    }

    /// Own handles whose interface has gone, or has become another kind of link.
    fn take_gone(&mut self) -> Vec<OwnHandle> {
        self.own.extract_if(.., |own| !own.can_be_used()).collect()
    }
}

impl OwnHandle {
    fn open(interface: String, direction: Direction) -> Result<Self, CaptureError> {
        let open = || handle::open(&interface, false, RING);
        let mut capture = open().map_err(|source| handle::why(&interface, source))?;
        let hardware = if interface == ANY_INTERFACE {
            // Before libpcap 1.10 there is none: whoever takes it reports that.
            let _ = capture.set_datalink(COOKED_V2);
            None
        } else {
            match bound_to(&capture) {
                Some((_, hardware)) => Some(hardware),
                None => return Err(CaptureError::NoInterface { interface }),
            }
        };
        let failed = |source| CaptureError::Filter { interface: interface.clone(), source };
        close(&capture).map_err(failed)?;
        Ok(Self { interface, direction, hardware, capture })
    }

    fn can_be_used(&self) -> bool {
        self.hardware.is_none_or(|decoded| bound_to(&self.capture).is_some_and(|(_, now)| now == decoded))
    }
}

/// From now on no packet gets into its ring.
fn close(capture: &Capture<Active>) -> io::Result<()> {
    SockRef::from(capture).attach_filter(&Filter::nothing())
}
