//! PeerLink: the order link to a process that is started again when it ends, and what the thread that reads it waits for. It knows nothing of
//! what is said.
//!
//! Any thread may send; the end of a link is noticed by the reader alone, once it has read what came before it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_link::OrderLink;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

/// For how long what is to be sent waits for a peer that has ended to be back; after that it is refused.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most messages that are read before anything else is looked at.
pub(crate) const ENOUGH: usize = 256;

/// The link to a peer, over as many of its processes as there are.
#[derive(Debug)]
pub(crate) struct PeerLink {
    /// None while there is none.
    current: Option<Arc<OrderLink>>,
    /// To the process that comes after the one of the current link.
    next: Option<OrderLink>,
    /// Since when there is none.
    lost_at: Instant,
    wake: Arc<OwnedFd>,
}

/// What a reader waits for, without a hold on the [`PeerLink`].
#[derive(Debug)]
pub(crate) struct LinkWait {
    link: Option<Arc<OrderLink>>,
    wake: Arc<OwnedFd>,
    wanted: PollFlags,
    timeout: Option<Duration>,
}

impl PeerLink {
    /// Begins with this link.
    ///
    /// # Errors
    /// If there are too many open files.
    pub(crate) fn new(link: OrderLink) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Self { current: Some(Arc::new(link)), next: None, lost_at: Instant::now(), wake })
    }

    /// The link, if it has not ended, as far as that was noticed.
    pub(crate) fn current(&self) -> Option<&OrderLink> {
        self.current.as_deref()
    }

    /// Has the reader go on with this link, once it has read what is left of the one before.
    pub(crate) fn follow_with(&mut self, link: OrderLink) {
        self.next = Some(link);
        self.wake();
    }

    /// Whether there is a link to go on with.
    pub(crate) const fn has_next(&self) -> bool {
        self.next.is_some()
    }

    /// Goes on with the next link, if there is one: whether there is.
    pub(crate) fn go_on(&mut self) -> bool {
        let next = self.next.take();
        let goes_on = next.is_some();
        if let Some(next) = next {
            self.current = Some(Arc::new(next));
        }
        goes_on
    }

    /// The link has ended, and everything that came over it was read.
    pub(crate) fn lose(&mut self) {
        if self.current.take().is_some() {
            self.lost_at = Instant::now();
        }
    }

    /// Whether there has been no link for so long that nothing waits for one any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// For how much longer what is to be sent waits for a link; none if there is one.
    fn left(&self) -> Option<Duration> {
        let is_lost = self.current.is_none() && self.next.is_none();
        is_lost.then(|| PATIENCE.saturating_sub(self.lost_at.elapsed()))
    }

    /// Has the reader look at everything anew.
    pub(crate) fn wake(&self) {
        // Writing fails only if the counter is full, and then the reader is awake already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// What to wait for: a message, the end or [`PeerLink::wake`]; room in the link, if something waits to be sent; and the end of patience, if
    /// that is to be refused then.
    pub(crate) fn wait_for(&self, is_waiting: bool, is_refusable: bool) -> LinkWait {
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, is_waiting);
        LinkWait {
            link: self.current.clone(),
            wake: Arc::clone(&self.wake),
            wanted,
            timeout: self.left().filter(|_| is_refusable),
        }
    }

    /// Whether the reader was woken since this was asked last.
    #[cfg(test)]
    pub(crate) fn is_woken(&self) -> bool {
        rustix::io::read(&self.wake, &mut [0; 8]).is_ok()
    }
}

impl LinkWait {
    /// For how long it waits at most; none if for as long as it takes.
    #[cfg(test)]
    pub(crate) const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Waits for it.
    pub(crate) fn wait(&self) {
        let mut fds = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        fds.extend(self.link.as_deref().map(|link| PollFd::new(link, self.wanted)));
        let timeout = self.timeout.and_then(|pause| Timespec::try_from(pause).ok());
        let _ = poll(&mut fds, timeout.as_ref());
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_counts_until_it_is_lost_and_then_the_next_one_at_once() {
        let (one, _peer) = OrderLink::pair().unwrap();
        let mut link = PeerLink::new(one).unwrap();
        assert!(link.current().is_some() && !link.is_given_up() && !link.go_on());
        assert_eq!(link.wait_for(true, true).timeout(), None);
        link.lose();
        assert!(link.current().is_none() && !link.is_given_up());
        assert!(link.wait_for(false, true).timeout().is_some_and(|left| left <= PATIENCE));
        assert_eq!(link.wait_for(true, false).timeout(), None);
        link.lost_at -= PATIENCE;
        assert!(link.is_given_up());
        let (next, _next_peer) = OrderLink::pair().unwrap();
        link.follow_with(next);
        assert!(link.is_woken() && link.has_next() && !link.is_given_up());
        assert!(link.go_on() && link.current().is_some() && !link.has_next());
    }

    #[test]
    fn a_reader_waits_for_a_message_and_for_who_wakes_it() {
        let (one, peer) = OrderLink::pair().unwrap();
        let link = PeerLink::new(one).unwrap();
        link.wake();
        link.wait_for(false, false).wait();
        assert!(!link.is_woken(), "waiting has taken it");
        assert_eq!(peer.send(b"answer"), postern_link::Sent::Sent);
        link.wait_for(false, false).wait();
    }
}
