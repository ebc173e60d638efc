//! Capture files built by hand: every byte is written here, so that a file may also be one that no program writes.

/// The number of Ethernet, by the registry of link types at <https://www.tcpdump.org/linktypes.html>.
pub const ETHERNET: u32 = 1;
/// That of Linux cooked captures, version 2.
pub const COOKED_V2: u32 = 276;

/// Longest frame of the files.
const SNAP_LENGTH: u32 = 262_144;

/// How a pcap file writes times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticks {
    /// In microseconds.
    Micros,
    /// In nanoseconds.
    Nanos,
}

/// A pcap file, with the numbers of a machine of little endian.
#[derive(Clone, Debug)]
pub struct Pcap {
    bytes: Vec<u8>,
    ticks: Ticks,
}

impl Pcap {
    /// Of Ethernet frames, with times in microseconds.
    #[must_use]
    pub fn ethernet() -> Self {
        Self::new(ETHERNET, Ticks::Micros)
    }

    /// Of frames of this link type.
    #[must_use]
    pub fn new(link: u32, ticks: Ticks) -> Self {
        let magic: u32 = match ticks {
            Ticks::Micros => 0xa1b2_c3d4,
            Ticks::Nanos => 0xa1b2_3c4d,
        };
        // Version 2.4, and a time zone and an accuracy that nobody writes.
        let words = [magic, 0x0004_0002, 0, 0, SNAP_LENGTH, link];
        Self { bytes: words.into_iter().flat_map(u32::to_le_bytes).collect(), ticks }
    }

    /// And a frame that was captured as a whole, so many microseconds after 1970.
    ///
    /// # Panics
    /// If that is after 2106, which such a file cannot say, or the frame is too long.
    #[must_use]
    pub fn frame(self, micros: u64, frame: &[u8]) -> Self {
        self.part(micros, frame, frame.len())
    }

    /// And a frame of which only these bytes were captured.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn part(mut self, micros: u64, captured: &[u8], whole: usize) -> Self {
        let part = match self.ticks {
            Ticks::Micros => micros % 1_000_000,
            Ticks::Nanos => micros % 1_000_000 * 1000,
        };
        let words = [micros / 1_000_000, part, captured.len() as u64, whole as u64];
        self.bytes.extend(words.into_iter().flat_map(word));
        self.bytes.extend(captured);
        self
    }

    /// And these bytes, whatever they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// The file.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A pcapng file of frames that were captured on interfaces of these link types; each frame has the number of its interface.
///
/// # Panics
/// If a frame is too long.
#[must_use]
pub fn pcapng(links: &[u32], frames: &[(u32, u64, &[u8])]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let body = [body, &vec![0; body.len().next_multiple_of(4) - body.len()]].concat();
        let length = word(12 + body.len() as u64);
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    };
    // Byte order, version 1.0, and a section of unknown length.
    let mut file = block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat());
    for link in links {
        file.extend(block(1, &[link.to_le_bytes(), SNAP_LENGTH.to_le_bytes()].concat()));
    }
    for (interface, micros, frame) in frames {
        let head = [u64::from(*interface), micros >> 32, micros & 0xffff_ffff];
        let lengths = [frame.len() as u64; 2];
        let head: Vec<u8> = head.into_iter().chain(lengths).flat_map(word).collect();
        file.extend(block(6, &[&head, *frame].concat()));
    }
    file
}

fn word(number: u64) -> [u8; 4] {
    u32::try_from(number).expect("a word of a capture file").to_le_bytes()
}
