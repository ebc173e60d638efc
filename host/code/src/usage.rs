//! Usage: how much is in a cache, and how much may be.

/// How much a cache keeps besides what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files.
    pub files: usize,
}

impl Default for CacheLimits {
    /// Room for 5,000 modules of the usual size, or for 30 of Python: 2 GiB, 8,192 files.
    fn default() -> Self {
        Self { bytes: 2 << 30, files: 8192 }
    }
}

impl CacheLimits {
    /// What is left after pruning, so that not every file that comes prunes again.
    pub(crate) const fn after_pruning(self) -> Self {
        Self { bytes: self.bytes / 8 * 7, files: self.files - self.files / 8 }
    }

    /// The part of each of so many owners.
    pub(crate) fn part_of(self, owners: usize) -> Self {
        let owners = owners.max(1);
        Self { bytes: self.bytes / owners as u64, files: self.files / owners }
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) files: usize,
}

impl Usage {
    pub(crate) const fn is_within(self, limits: CacheLimits) -> bool {
        self.bytes <= limits.bytes && self.files <= limits.files
    }

    /// One more file.
    pub(crate) const fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.files = self.files.saturating_add(1);
    }

    /// One file less.
    pub(crate) const fn subtract(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.files = self.files.saturating_sub(1);
    }
}
