//! Output: what writes down what one replica tells.

use std::io;

use super::seen::Seen;
use super::tally::{Openings, Tally};
use super::teller::Told;

/// Writes down what one replica tells.
pub(super) trait Output {
    /// What happened between two packets.
    fn later(&mut self, told: &[Told]) -> io::Result<()>;

    /// A packet, and what came of it.
    fn packet(&mut self, seen: &Seen, told: &[Told]) -> io::Result<()>;

    /// There are no more packets.
    fn end(&mut self, tally: &Tally, openings: &Openings) -> io::Result<()>;
}
