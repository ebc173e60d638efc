//! LinkLookup: asks the kernel for one interface by its name, on a socket that stays open.

use std::io;
use std::sync::Mutex;

use postern_text::panic::PastPanic;

use crate::rtnetlink::{NEW_LINK, RtnetlinkMessage, RtnetlinkRequests, word};

/// Asks for interfaces; can be used by several captures.
#[derive(Debug)]
pub(super) struct LinkLookup(Mutex<RtnetlinkRequests>);

/// An interface as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkState {
    pub(super) index: u32,
    pub(super) is_up: bool,
}

impl LinkLookup {
    /// # Errors
    /// If this process gets no socket.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(Mutex::new(RtnetlinkRequests::open()?)))
    }

    /// The interface of this name, if there is one.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub(super) fn find(&self, name: &str) -> io::Result<Option<LinkState>> {
        self.0.lock().past_panic().find_link(name, LinkState::read)
    }
}

impl LinkState {
    /// From struct ifinfomsg.
    fn read(message: &RtnetlinkMessage<'_>) -> Option<Self> {
        const INDEX: usize = 4;
        const FLAGS: usize = 8;
        /// IFF_UP.
        const UP: u32 = 1;
        if message.kind != NEW_LINK {
            return None;
        }
        let (index, flags) = (word(message.body, INDEX)?, word(message.body, FLAGS)?);
        Some(Self { index, is_up: flags & UP != 0 })
    }
}
