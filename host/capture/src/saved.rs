//! SavedCapture: the frames of a capture file, with the file's own times.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pcap::{Capture, Offline};
use postern_core::Direction;
use thiserror::Error;

use crate::decode::arrival;
use crate::frame::{Frame, LinkType, SNAP_LENGTH, timestamp};
use crate::links::LOOPBACK;

/// The frames of one pcap or pcapng file. As much is kept of each as a capture on an interface keeps.
pub struct SavedCapture {
    capture: Capture<Offline>,
    file: PathBuf,
    link: LinkType,
    interface: Arc<str>,
    index: u32,
    frames: u64,
}

/// Why a capture file cannot be read.
#[derive(Debug, Error)]
pub enum SavedCaptureError {
    /// Its beginning is not that of a capture file, or it cannot be read at all.
    #[error("{} cannot be read; it must be a pcap or pcapng file, as tcpdump -w and Wireshark write them", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// What libpcap says.
        source: pcap::Error,
    },
    /// It is no capture file from here on, or what follows cannot be read.
    #[error(
        "{} cannot be read beyond its packet {read}; if it was cut off, what is before counts; if it holds interfaces of different link types, save each in a file of its own, such as with tshark -r FILE -Y frame.interface_id==0 -w ONE",
        file.display()
    )]
    Read {
        /// The file.
        file: PathBuf,
        /// How many packets were read before.
        read: u64,
        /// What libpcap says.
        source: pcap::Error,
    },
}

impl SavedCapture {
    /// Opens a file whose packets count as captured on this interface. On `lo` loopback addresses are right.
    ///
    /// # Errors
    /// [`SavedCaptureError::Open`].
    pub fn open(file: &Path, interface: &str) -> Result<Self, SavedCaptureError> {
        let capture = Capture::from_file(file)
            .map_err(|source| SavedCaptureError::Open { file: file.to_owned(), source })?;
        let link = LinkType::from_number(capture.get_datalink().0);
        let index = if interface == "lo" { LOOPBACK } else { 0 };
        Ok(Self { capture, file: file.to_owned(), link, interface: interface.into(), index, frames: 0 })
    }

    /// What its frames begin with.
    #[must_use]
    pub const fn link(&self) -> LinkType {
        self.link
    }

    /// The next frame; none at the file's end.
    ///
    /// # Errors
    /// [`SavedCaptureError::Read`]. There is no use in going on.
    pub fn read(&mut self) -> Result<Option<Frame<'_>>, SavedCaptureError> {
        let Self { capture, file, link, interface, index, frames } = self;
        let packet = match capture.next_packet() {
            Ok(packet) => packet,
            Err(pcap::Error::NoMorePackets) => return Ok(None),
            Err(source) => {
                return Err(SavedCaptureError::Read { file: file.clone(), read: *frames, source });
            }
        };
        *frames += 1;
        let bytes = &packet.data[..packet.data.len().min(SNAP_LENGTH.into())];
        let frame = Frame {
            time: timestamp(unsigned(packet.header.ts.tv_sec), unsigned(packet.header.ts.tv_usec)),
            link: *link,
            length: packet.header.len,
            interface,
            index: *index,
            direction: Direction::Incoming,
            bytes,
        };
        let direction = if arrival::is_outgoing(&frame) { Direction::Outgoing } else { Direction::Incoming };
        Ok(Some(Frame { direction, ..frame }))
    }
}

/// A number of a pcap file. libpcap takes it for one with a sign, so that the times of 2038 and later are before 1970.
const fn unsigned(number: i64) -> i64 {
    if number < 0 { number.saturating_add(1 << 32) } else { number }
}

#[cfg(test)]
mod tests;
