//! Text for people: cleans text from outside for a terminal and a log, writes lines, reads and shows durations, shows sizes, mistakes in files and
//! chains of errors, and says panics.
//!
//! Text from outside is names of files, words of a module, output of a command. Its author could forge lines of a log with it, move a
//! terminal's cursor, or have a name read backwards. [`clean()`] is the one place where it is made harmless, and bounded. Every line for a
//! terminal goes through [`terminal`], and every panic through [`mod@panic`], so that no new message can forget to clean.
//!
//! **Invariant:** nothing else writes to standard output or standard error by itself; `.clippy.toml` of the workspace holds it.
//! It knows nothing of Postern, and is light enough for a rule.

pub mod chain;
pub mod clean;
pub mod duration;
pub mod json;
pub mod mistake;
pub mod panic;
pub mod size;
pub mod terminal;

pub use chain::chain;
pub use clean::{Cleaned, clean, line, piece};
pub use duration::DurationError;
pub use mistake::{Mistake, Mistakes};
