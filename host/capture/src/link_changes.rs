//! LinkChanges: wakes captures that wait for a network interface.
//!
//! The thread of [`crate::local_network`] is the only one that subscribes to the kernel; it wakes all waiting captures. A wake-up says only that
//! some interface has changed: each capture then checks its own.

use std::io;
use std::sync::{Arc, Mutex, Weak};

use postern_text::panic::PastPanic;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{read, write};

/// Readable when interfaces have come, gone up, gone down or gone since it was made, or since `forget`.
#[derive(Debug)]
pub struct LinkChanges {
    event: Arc<OwnedFd>,
}

/// The eventfds of all [`LinkChanges`]: one for each capture. Those of dropped ones are removed when the next is added.
#[derive(Debug, Default)]
pub(crate) struct LinkWaiters {
    events: Mutex<Vec<Weak<OwnedFd>>>,
}

impl LinkChanges {
    /// Clears it, so that it is readable again only after the next change.
    pub(crate) fn forget(&self) {
        // It does not block: nothing to read means that nothing has changed.
        let _ = read(&*self.event, &mut [0_u8; 8]);
    }
}

impl AsFd for LinkChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl LinkWaiters {
    /// Adds a waiter.
    ///
    /// # Errors
    /// If the system has no descriptor for it.
    pub(crate) fn add(&self) -> io::Result<LinkChanges> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut events = self.events.lock().past_panic();
        events.retain(|event| event.strong_count() > 0);
        events.push(Arc::downgrade(&event));
        Ok(LinkChanges { event })
    }

    /// Wakes all waiters.
    pub(crate) fn wake(&self) {
        for event in self.events.lock().past_panic().iter().filter_map(Weak::upgrade) {
            // It can only fail because the counter is full, and then it is readable already.
            let _ = write(&*event, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_readable(changes: &LinkChanges) -> bool {
        let mut descriptors = [PollFd::new(changes, PollFlags::IN)];
        poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn all_waiters_are_woken_until_they_clear_it() {
        let waiters = LinkWaiters::default();
        let (a, b) = (waiters.add().unwrap(), waiters.add().unwrap());
        assert!(!is_readable(&a) && !is_readable(&b));
        waiters.wake();
        waiters.wake();
        assert!(is_readable(&a) && is_readable(&b));
        a.forget();
        assert!(!is_readable(&a) && is_readable(&b));
        waiters.wake();
        assert!(is_readable(&a));
    }

    #[test]
    fn dropped_waiters_are_removed() {
        let waiters = LinkWaiters::default();
        for _ in 0..10 {
            drop(waiters.add().unwrap());
            waiters.wake();
        }
        assert_eq!(waiters.events.lock().unwrap().len(), 1);
    }
}
