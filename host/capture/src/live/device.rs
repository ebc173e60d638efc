//! Device: an open capture on one interface, with our own filter in the kernel.

use std::io;
use std::sync::Arc;

use pcap::{Active, Capture, Linktype, TimestampType};
use postern_core::{ANY_INTERFACE, Direction, Observer, Report, Timestamp, What};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use socket2::{SockFilter, SockRef};

use super::{CaptureError, CaptureSettings};
use crate::filter::{Filter, NetworkHeader};
use crate::frame::{Frame, LinkType};

/// The cooked header that says on which interface a frame came in (LINKTYPE_LINUX_SLL2).
const COOKED_V2: Linktype = Linktype(276);

/// Bytes kept of a frame: a full Ethernet frame with tags and long headers, and so that the kernel's ring holds two frames in a page.
const SNAP_LENGTH: i32 = 1920;
/// Bytes of the kernel's ring: 6144 frames, which a flood of 300,000 a second needs 20 ms to fill.
const RING: i32 = 12 << 20;

/// An open capture.
pub(super) struct Device {
    capture: Capture<Active>,
    interface: Arc<str>,
    link: LinkType,
    direction: Direction,
    /// The number of the interface; a later one of the same name has another. None for `any`.
    index: Option<u32>,
    /// The counts of the kernel when they were last looked at; they wrap.
    seen: (u32, u32),
}

impl Device {
    pub(super) fn open(settings: &CaptureSettings, observer: &dyn Observer) -> Result<Self, CaptureError> {
        let interface = &settings.interface;
        let mut capture = Self::capture(settings).map_err(|source| why(interface, source))?;
        if interface == ANY_INTERFACE && capture.set_datalink(COOKED_V2).is_err() {
            // Before libpcap 1.10. The capture goes on with the older header, and links are not known.
            observer.report(&Report::new(What::LinksUnknown { interface: interface.into() }));
        }
        let link = LinkType::from_number(capture.get_datalink().0);
        let index = if interface == ANY_INTERFACE {
            None
        } else {
            let index = name_to_index(&capture, interface);
            Some(index.map_err(|_| CaptureError::NoInterface { interface: interface.clone() })?)
        };
        let (interface, direction) = (interface.as_str().into(), settings.direction);
        Ok(Self { capture, interface, link, direction, index, seen: (0, 0) })
    }

    /// Whether this is still the interface of that name, and not one that is gone or renamed.
    pub(super) fn is_current(&self) -> bool {
        self.index.is_none_or(|index| name_to_index(&self.capture, &self.interface) == Ok(index))
    }

    fn capture(settings: &CaptureSettings) -> Result<Capture<Active>, pcap::Error> {
        let capture = Capture::from_device(settings.interface.as_str())?
            // Frames are delivered as soon as the kernel has them, not when a block of the ring is full.
            .immediate_mode(true)
            .promisc(settings.promiscuous && settings.interface != ANY_INTERFACE)
            .snaplen(SNAP_LENGTH)
            .buffer_size(RING)
            .tstamp_type(TimestampType::Host)
            .open()?
            .setnonblock()?;
        // libpcap does not set close-on-exec on its socket, and a door's command must not inherit it.
        let flags = fcntl_getfd(&capture).map_err(io::Error::from)?;
        fcntl_setfd(&capture, flags | FdFlags::CLOEXEC).map_err(io::Error::from)?;
        // Our filter rejects packets of the other direction, but some may be in the ring before it is attached; libpcap drops those.
        // Other unwanted packets from that moment do no harm, since dispatch checks again.
        capture.direction(match settings.direction {
            Direction::Incoming => pcap::Direction::In,
            Direction::Outgoing => pcap::Direction::Out,
        })?;
        Ok(capture)
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

    /// The whole program: on `any` with the prologue that rejects hidden link-local packets.
    fn program(&self, filter: Vec<SockFilter>) -> Vec<SockFilter> {
        if self.link != LinkType::CookedV2 {
            return filter;
        }
        let mut program = Filter::without_hidden_link_local();
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
        let index = self.index.unwrap_or(0);
        self.capture
            .dispatch(Some(limit), |packet| {
                let time = timestamp(packet.header.ts.tv_sec, packet.header.ts.tv_usec);
                let (length, bytes) = (packet.header.len, packet.data);
                sink(Frame { time, link, length, interface, index, direction, bytes });
            })
            .map_err(|source| why(interface, source))
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

fn timestamp(seconds: i64, micros: i64) -> Timestamp {
    let (seconds, micros) = (u64::try_from(seconds).unwrap_or(0), u64::try_from(micros).unwrap_or(0));
    Timestamp(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// libpcap gives its errors only as text, so the two common causes are found by probing.
fn why(interface: &str, source: pcap::Error) -> CaptureError {
    let interface = interface.to_owned();
    let probe = |family, kind| socket_with(family, kind, SocketFlags::CLOEXEC, None);
    if matches!(probe(AddressFamily::PACKET, SocketType::RAW), Err(Errno::PERM | Errno::ACCESS)) {
        return CaptureError::NotPermitted { interface };
    }
    let exists = probe(AddressFamily::UNIX, SocketType::DGRAM)
        .is_ok_and(|socket: OwnedFd| name_to_index(&socket, &interface).is_ok());
    if interface != ANY_INTERFACE && !exists {
        return CaptureError::NoInterface { interface };
    }
    CaptureError::Pcap { interface, source }
}
