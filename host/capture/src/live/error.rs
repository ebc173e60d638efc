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
    /// It is there, but down.
    #[error("{interface} is down")]
    Down {
        /// The interface.
        interface: String,
    },
    /// The kernel does not say whether it is there.
    #[error("cannot ask the kernel for {interface}")]
    Lookup {
        /// The interface.
        interface: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// All packet sockets that were opened ahead are in use, and this process can open no more.
    #[error(
        "no packet socket is left for {interface}: more new interfaces than spares; only a restart can open more"
    )]
    NoSpare {
        /// The interface.
        interface: String,
    },
    /// The packet sockets for later cannot be opened.
    #[error("cannot open packet sockets for interfaces that come later")]
    Reserve {
        /// What the kernel says.
        source: io::Error,
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
