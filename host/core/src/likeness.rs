//! Likeness: which packets are one and the same.

/// How alike packets are that are one and the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// Byte for byte. A packet that a router has passed on is another one.
    Exact,
    /// But for what routers change: for those who see packets come in and leave again.
    AcrossRouters,
}
