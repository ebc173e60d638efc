//! Text for people: what others wrote made fit for a terminal and a log, lines written, durations read and shown, mistakes in files and
//! chains of errors; and what becomes of panics.
//!
//! What others wrote is names of files, words of a module, output of a command. Whoever chooses such a text could write lines of his own into a log with it, move a terminal's cursor, or have a name read
//! backwards. [`clean()`] is the one place where it is made harmless, and bounded. What writes to a terminal goes through
//! [`terminal`], and panics through [`mod@panic`], so that no new message can forget it.
//!
//! **Invariant:** nothing else writes to standard output or standard error by itself; `.clippy.toml` of the workspace holds it.
//! It knows nothing of Postern, and is light enough for a rule.

pub mod chain;
pub mod clean;
pub mod duration;
pub mod mistake;
pub mod panic;
pub mod terminal;

pub use chain::chain;
pub use clean::{Cleaned, clean, line, piece};
pub use duration::DurationError;
pub use mistake::{Mistake, Mistakes};
