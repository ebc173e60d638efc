//! Device: an open capture on one interface, with our own filter in the kernel.

use std::io;
use std::sync::Arc;

use pcap::{Active, Capture, Linktype};
use postern_core::{ANY_INTERFACE, Direction, Observer, Report, What};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use socket2::{SockFilter, SockRef};

use super::link_lookup::LinkLookup;
use super::{BATCH, CaptureError, CaptureSettings, FULL_RING, handle, packet_options};
use crate::filter::{Filter, NetworkHeader};
use crate::frame::{Frame, LinkType, timestamp};

/// The cooked header that shows VLAN tags (LINKTYPE_LINUX_SLL), and the one that says on which interface a frame came in
/// (LINKTYPE_LINUX_SLL2).
pub(super) const COOKED: Linktype = Linktype(113);
pub(super) const COOKED_V2: Linktype = Linktype(276);

/// Bytes of the kernel's ring: 6144 frames, which a flood of 300,000 a second needs 20 ms to fill.
pub(super) const RING: i32 = 12 << 20;

/// An open capture.
pub(super) struct Device {
    capture: Capture<Active>,
    interface: Arc<str>,
    link: LinkType,
    direction: Direction,
    scope: Scope,
    origin: Origin,
    /// The index of the interface that is promiscuous because of this device, and not of how libpcap opened it.
    promiscuous: Option<u32>,
    /// The counts of the kernel when they were last looked at; they wrap.
    seen: (u32, u32),
}

/// Which interfaces a packet socket sees. They have numbers; a later one of the same name has another.
#[derive(Debug)]
pub(super) enum Scope {
    /// All of them.
    Every,
    /// The one that it is bound to. The kernel reports if that goes down or away.
    Bound { index: u32 },
    /// All, but the filter passes only what one of them sees. Nobody reports anything of that; it must be asked for.
    Filtered { index: u32, links: Arc<LinkLookup> },
}

/// Who opened it, and for what.
#[derive(Debug)]
pub(super) enum Origin {
    /// For this use alone.
    Direct,
    /// The reserve, on this interface, with the kind of hardware that it had.
    Own { hardware: Option<u16> },
    /// The reserve, on `any`, for any use.
    Spare,
}

impl Device {
    pub(super) fn open(settings: &CaptureSettings, observer: &dyn Observer) -> Result<Self, CaptureError> {
        let interface = &settings.interface;
        let failed = |source| handle::why(interface, source);
        let mut capture = handle::open(interface, settings.promiscuous, RING).map_err(failed)?;
        handle::set_direction(&capture, settings.direction).map_err(failed)?;
        if interface == ANY_INTERFACE && capture.set_datalink(COOKED_V2).is_err() {
            // Before libpcap 1.10. The capture goes on with the older header, and links are not known.
            observer.report(&Report::new(What::LinksUnknown { interface: interface.into() }));
        }
        let scope = if interface == ANY_INTERFACE {
            Scope::Every
        } else {
            let index = name_to_index(&capture, interface);
            let missing = |_| CaptureError::NoInterface { interface: interface.clone() };
            Scope::Bound { index: index.map_err(missing)? }
        };
        Ok(Self::new(capture, settings, scope, Origin::Direct))
    }

    /// Goes on with a handle of the reserve. Nothing is in its ring of what came before.
    pub(super) fn reserved(
        capture: Capture<Active>,
        settings: &CaptureSettings,
        scope: Scope,
        origin: Origin,
    ) -> Result<Self, CaptureError> {
        let mut device = Self::new(capture, settings, scope, origin);
        for _ in 0..FULL_RING {
            if !matches!(device.capture.dispatch(Some(BATCH), |_| {}), Ok(1..)) {
                break;
            }
        }
        device.seen();
        let failed = |source| device.failed(source);
        handle::set_direction(&device.capture, settings.direction).map_err(failed)?;
        if let Some(index) = device.index().filter(|_| settings.promiscuous) {
            let lost = |_| CaptureError::Lost { interface: settings.interface.clone() };
            packet_options::set_promiscuous(&device.capture, index, true).map_err(lost)?;
            device.promiscuous = Some(index);
        }
        Ok(device)
    }

    fn new(capture: Capture<Active>, settings: &CaptureSettings, scope: Scope, origin: Origin) -> Self {
        let link = LinkType::from_number(capture.get_datalink().0);
        let (interface, direction) = (settings.interface.as_str().into(), settings.direction);
        Self { capture, interface, link, direction, scope, origin, promiscuous: None, seen: (0, 0) }
    }

    /// Its handle, for another use.
    pub(super) fn into_handle(self) -> (Capture<Active>, Origin) {
        if let Some(index) = self.promiscuous {
            // It fails if the interface has gone, and then there is nothing to do.
            let _ = packet_options::set_promiscuous(&self.capture, index, false);
        }
        (self.capture, self.origin)
    }

    /// Whether this is still the interface of that name, and not one that is gone or renamed; and whether it is up, if nobody else says that.
    pub(super) fn is_current(&self) -> bool {
        let has_index = |index| name_to_index(&self.capture, &self.interface) == Ok(index);
        match &self.scope {
            Scope::Every => true,
            Scope::Bound { index } => has_index(*index),
            Scope::Filtered { index, links } => match links.find(&self.interface) {
                Ok(link) => link.is_some_and(|link| link.index == *index && link.is_up),
                Err(_) => has_index(*index),
            },
        }
    }

    /// Whether the kernel reports on the socket that the interface goes down or away.
    pub(super) const fn hears_of_loss(&self) -> bool {
        !matches!(self.scope, Scope::Filtered { .. })
    }

    const fn index(&self) -> Option<u32> {
        match self.scope {
            Scope::Every => None,
            Scope::Bound { index } | Scope::Filtered { index, .. } => Some(index),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.interface
    }

    pub(super) const fn interface(&self) -> &Arc<str> {
        &self.interface
    }

    pub(super) fn link(&self) -> LinkType {
        self.link
    }

    pub(super) const fn direction(&self) -> Direction {
        self.direction
    }

    pub(super) fn descriptor(&self) -> &impl AsFd {
        &self.capture
    }

    /// Replaces the attached filter by `filter` atomically. It is set on the socket directly; libpcap does not know of it and filters nothing.
    ///
    /// A socket's memory for filters is limited (net.core.optmem_max), and during the change the kernel holds the old and the new one. If that
    /// is too much, a filter that passes everything is attached in between; if it is still too much, a coarser filter is attached.
    pub(super) fn attach(&self, filter: &Filter, observer: &dyn Observer) -> Result<(), CaptureError> {
        let failed = |source| CaptureError::Filter { interface: self.name().to_owned(), source };
        let socket = SockRef::from(&self.capture);
        let is_no_memory = |error: &io::Error| error.raw_os_error() == Some(Errno::NOMEM.raw_os_error());
        match socket.attach_filter(&self.program(filter.socket_filter(self.header()))) {
            Err(error) if is_no_memory(&error) => {}
            other => return other.map_err(failed),
        }
        socket.attach_filter(&self.program(filter.everything())).map_err(failed)?;
        observer.report(&Report::new(What::FilterCramped { interface: self.name().into() }));
        let mut smaller = Some(filter.clone());
        while let Some(filter) = smaller {
            match socket.attach_filter(&self.program(filter.socket_filter(self.header()))) {
                Err(error) if is_no_memory(&error) => smaller = filter.coarser(),
                other => return other.map_err(failed),
            }
        }
        Ok(())
    }

    /// The whole program: with a prologue that rejects hidden link-local packets if it is for `any`, or what other interfaces see.
    fn program(&self, filter: Vec<SockFilter>) -> Vec<SockFilter> {
        let mut program = match self.scope {
            Scope::Every if self.link == LinkType::CookedV2 => Filter::without_hidden_link_local(),
            Scope::Filtered { index, .. } => Filter::of_interface(index),
            Scope::Every | Scope::Bound { .. } => Vec::new(),
        };
        program.extend(filter);
        program
    }

    /// Hands on at most `limit` frames that are there, and says how many. Does not wait.
    pub(super) fn read(
        &mut self,
        limit: usize,
        mut sink: impl FnMut(Frame<'_>),
    ) -> Result<usize, CaptureError> {
        let Self { link, direction, ref interface, .. } = *self;
        let index = self.index().unwrap_or(0);
        let read = self.capture.dispatch(Some(limit), |packet| {
            let time = timestamp(packet.header.ts.tv_sec, packet.header.ts.tv_usec);
            let (length, bytes) = (packet.header.len, packet.data);
            sink(Frame { time, link, length, interface, index, direction, bytes });
        });
        read.map_err(|source| self.failed(source))
    }

    /// Why libpcap failed on it. It may be that no other socket can be opened, so nothing is probed but with its own.
    fn failed(&self, source: pcap::Error) -> CaptureError {
        let interface = (*self.interface).to_owned();
        if self.index().is_some() && name_to_index(&self.capture, &interface).is_err() {
            return CaptureError::NoInterface { interface };
        }
        CaptureError::Pcap { interface, source }
    }

    /// Frames received, and those of them that were dropped, since the last call.
    pub(super) fn seen(&mut self) -> (u64, u64) {
        let Ok(now) = self.capture.stats() else { return (0, 0) };
        let (received, dropped) = self.seen;
        self.seen = (now.received, now.dropped);
        (now.received.wrapping_sub(received).into(), now.dropped.wrapping_sub(dropped).into())
    }

    /// Where the kernel has the IP header when it runs the filter: cooked captures begin with it.
    fn header(&self) -> NetworkHeader {
        match self.link {
            LinkType::Ethernet => NetworkHeader::At(14),
            LinkType::Cooked | LinkType::CookedV2 | LinkType::Ip | LinkType::Ipv4 | LinkType::Ipv6 => {
                NetworkHeader::At(0)
            }
            LinkType::Null | LinkType::Loop | LinkType::Other(_) => NetworkHeader::Anywhere,
        }
    }
}
