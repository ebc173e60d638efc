//! LocalNetwork: this machine's addresses and links, kept up to date as they come and go.
//!
//! The kernel notifies changes over rtnetlink, and then the whole list is read anew, so a lost message does no harm. One thread does that
//! and sleeps otherwise. [`View::place`] checks whether a knock can have come from its source address, as far as that depends on this
//! machine; `decode` checks what holds on every machine.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use postern_core::{Direction, DropReason, Knock, Observer, Report, ThreadKind, What};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, write};
use thiserror::Error;

use crate::decode::arrival;
use crate::frame::Frame;
use crate::link_changes::{LinkChanges, LinkWaiters};
use crate::links::{LOOPBACK, Links, Shown, is_link_local};
use crate::local_addresses::LocalAddresses;
use crate::rtnetlink::{self, Changed, RtnetlinkRequests};

/// The pause before a list that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// This machine's addresses and links, kept up to date. It can be used from any thread.
pub struct LocalNetwork {
    observer: Arc<dyn Observer>,
    known: Arc<ArcSwap<Known>>,
    waiters: Arc<LinkWaiters>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// The sockets that it takes to follow changes. A process that gives up its powers, which are each thread's own, opens these before, and
/// starts threads after.
#[derive(Debug)]
pub struct LocalNetworkSockets {
    notifications: OwnedFd,
    requests: RtnetlinkRequests,
}

/// What is known at one moment.
#[derive(Debug)]
struct Known {
    addresses: Arc<LocalAddresses>,
    links: Arc<Links>,
}

/// The same, for use with every packet: a lookup costs a nanosecond while nothing changes.
#[derive(Clone)]
pub struct View {
    known: Cache<Arc<ArcSwap<Known>>, Arc<Known>>,
}

/// Why addresses and links cannot be known.
#[derive(Debug, Error)]
pub enum LocalNetworkError {
    /// No rtnetlink socket, or no subscription.
    #[error("cannot subscribe to changes of addresses and links")]
    Subscribe(#[source] io::Error),
    /// A list could not be read.
    #[error("cannot read the addresses and links of this machine")]
    Read(#[source] io::Error),
    /// The system cannot start another thread.
    #[error("cannot start the thread that follows changes of addresses and links")]
    Thread(#[source] io::Error),
}

impl LocalNetwork {
    /// Reads addresses and links, and follows their changes until this is dropped; failures are reported to `observer`.
    ///
    /// # Errors
    ///
    /// If the kernel does not list them, or the thread cannot be started.
    pub fn follow(observer: Arc<dyn Observer>) -> Result<Self, LocalNetworkError> {
        Self::follow_on(LocalNetworkSockets::open()?, observer)
    }

    /// The same on sockets that are open; no other is opened.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn follow_on(
        sockets: LocalNetworkSockets,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, LocalNetworkError> {
        let LocalNetworkSockets { notifications, mut requests } = sockets;
        let known = Known::read(&mut requests).map_err(LocalNetworkError::Read)?;
        let known = Arc::new(ArcSwap::from_pointee(known));
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| LocalNetworkError::Thread(errno.into()))?;
        let stop = Arc::new(stop);
        let waiters = Arc::<LinkWaiters>::default();
        let thread = thread::Builder::new()
            .name("local-network".to_owned())
            .spawn({
                let (known, stop, observer) = (known.clone(), stop.clone(), observer.clone());
                let waiters = waiters.clone();
                move || keep(&known, &waiters, &notifications, requests, &stop, &*observer)
            })
            .map_err(LocalNetworkError::Thread)?;
        Ok(Self { observer, known, waiters, stop, thread: Some(thread) })
    }

    /// Whether `address` is one of this machine's. All of 127.0.0.0/8 is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.known.load().addresses.contains(address)
    }

    /// The links as they are now.
    #[must_use]
    pub fn links(&self) -> Arc<Links> {
        Arc::clone(&self.known.load().links)
    }

    /// A descriptor that becomes readable when links change.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor for it.
    pub fn link_changes(&self) -> io::Result<LinkChanges> {
        self.waiters.add()
    }

    /// A view for use with every packet.
    #[must_use]
    pub fn view(&self) -> View {
        View { known: Cache::new(Arc::clone(&self.known)) }
    }
}

impl LocalNetworkSockets {
    /// Subscribes to changes, so that none is missed from now on, and opens what else is needed, also for [`Shown`].
    ///
    /// # Errors
    ///
    /// [`LocalNetworkError::Subscribe`].
    pub fn open() -> Result<Self, LocalNetworkError> {
        Shown::prepare();
        let notifications = rtnetlink::subscribe().map_err(LocalNetworkError::Subscribe)?;
        let requests = RtnetlinkRequests::open().map_err(LocalNetworkError::Subscribe)?;
        Ok(Self { notifications, requests })
    }
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        let _ = write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            self.observer.report(&Report::new(What::Panicked { thread: ThreadKind::Network }));
        }
    }
}

impl View {
    /// Sets the link of a knock with a link-local source, and checks that the source is none of this machine's own addresses, which only
    /// packets that leave it or come by loopback can have.
    ///
    /// # Errors
    /// [`DropReason::ImpossibleSource`] if no other machine can have sent it.
    pub fn place(&mut self, knock: &mut Knock, frame: &Frame<'_>) -> Result<(), DropReason> {
        let known = self.known.load();
        let interface = arrival::interface(frame);
        if is_link_local(knock.source) {
            knock.link = arrival::tags(frame).map_or(0, |tags| known.links.seen_by_ip(interface, &tags));
        }
        let from = match knock.direction {
            Direction::Incoming => interface,
            Direction::Outgoing => LOOPBACK,
        };
        if known.addresses.can_send(knock.source, from, knock.link) {
            Ok(())
        } else {
            Err(DropReason::ImpossibleSource)
        }
    }
}

impl Known {
    fn read(requests: &mut RtnetlinkRequests) -> io::Result<Self> {
        let addresses = Arc::new(LocalAddresses::read(requests)?);
        Ok(Self { addresses, links: Arc::new(Links::read(requests)?) })
    }

    /// Reads anew the lists that have changed, and keeps the others.
    fn renewed(&self, requests: &mut RtnetlinkRequests, changed: Changed) -> io::Result<Self> {
        let (mut addresses, mut links) = (self.addresses.clone(), self.links.clone());
        if changed.addresses {
            addresses = Arc::new(LocalAddresses::read(requests)?);
        }
        if changed.links {
            links = Arc::new(Links::read(requests)?);
        }
        Ok(Self { addresses, links })
    }
}

/// The thread: sleep until something changes, read all of its kind.
fn keep(
    known: &ArcSwap<Known>,
    waiters: &LinkWaiters,
    notifications: &OwnedFd,
    mut requests: RtnetlinkRequests,
    stop: &OwnedFd,
    observer: &dyn Observer,
) {
    let mut retry: Option<(Changed, Timespec)> = None;
    loop {
        let mut descriptors = [PollFd::new(stop, PollFlags::IN), PollFd::new(notifications, PollFlags::IN)];
        match poll(&mut descriptors, retry.as_ref().map(|(_, pause)| pause)) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => {
                let error = errno.to_string().into();
                observer.report(&Report::new(What::NetworkUnfollowed { error }));
                return;
            }
        }
        if !descriptors[0].revents().is_empty() {
            return;
        }
        let missed = retry.map_or(Changed::NOTHING, |(missed, _)| missed);
        let heard = rtnetlink::drain(notifications);
        if heard.links {
            // Before the lists are read, which may take long.
            waiters.wake();
        }
        let changed = heard.and(missed);
        retry = match known.load().renewed(&mut requests, changed) {
            Ok(renewed) => {
                let (addresses, links) = (renewed.addresses.count(), renewed.links.count());
                observer.report(&Report::new(What::NetworkRead { addresses, links }));
                known.store(Arc::new(renewed));
                None
            }
            Err(error) => {
                if retry.is_none() {
                    let error = error.to_string().into();
                    observer.report(&Report::new(What::NetworkUnread { error }));
                }
                Timespec::try_from(RETRY).ok().map(|pause| (changed, pause))
            }
        };
    }
}

#[cfg(test)]
mod tests;
