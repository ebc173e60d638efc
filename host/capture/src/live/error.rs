//! CaptureError: why an interface cannot be captured on.

use std::io;

use thiserror::Error;

/// Why there is no capture.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// This process may not open packet sockets.
    #[error("capturing on {interface} needs CAP_NET_RAW: run as root or give posternd that capability")]
    NotPermitted {
        /// The interface.
        interface: String,
    },
    /// There is no such interface, now.
    #[error("there is no interface {interface}")]
    NoInterface {
        /// The interface.
        interface: String,
    },
    /// The interface went down or was removed.
    #[error("{interface} went down or away")]
    Lost {
        /// The interface.
        interface: String,
    },
    /// libpcap failed.
    #[error("cannot capture on {interface}")]
    Pcap {
        /// The interface.
        interface: String,
        /// What libpcap says.
        source: pcap::Error,
    },
    /// The kernel refused the filter.
    #[error("cannot attach the filter to the capture on {interface}")]
    Filter {
        /// The interface.
        interface: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The system cannot start another thread.
    #[error("cannot start the thread that captures on {interface}")]
    Thread {
        /// The interface.
        interface: String,
        /// What the system says.
        source: io::Error,
    },
}
