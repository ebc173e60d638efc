//! Injector: puts frames on a wire, byte for byte.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pcap::{Active, Capture};

use super::namespace::Namespace;
use crate::deadline::eventually_within;

/// A raw sender.
pub struct Injector {
    wire: Capture<Active>,
}

/// For those who send many at once.
impl AsFd for Injector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}

impl Injector {
    pub(super) fn new(namespace: &Namespace, device: &str) -> Self {
        let wire = namespace.run(|| {
            let capture = Capture::from_device(device).expect("the device was made by us");
            let mut wire =
                capture.snaplen(64).buffer_size(1 << 16).open().expect("capturing is allowed here");
            // It only sends; what it would receive is in the way.
            wire.filter("less 1", true).expect("a valid filter");
            wire
        });
        Self { wire }
    }

    /// Sends a frame, waiting for room in the kernel's queue if there is none.
    ///
    /// # Panics
    /// If there is no room for long.
    #[track_caller]
    pub fn send(&mut self, frame: &[u8]) {
        if self.wire.sendpacket(frame).is_err() {
            eventually_within(Duration::from_secs(5), "room for a frame on the wire", || {
                self.wire.sendpacket(frame).ok()
            });
        }
    }
}
