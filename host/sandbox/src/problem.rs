//! Problem: why a rule cannot be part of a generation.

use postern_core::TooManyOverlaps;

use crate::instance::StartError;
use crate::load_error::LoadError;

/// What is wrong with a rule, by its place among those that were to be loaded, or with all of them together.
#[derive(Debug)]
pub enum Problem {
    /// Its module was not loaded.
    Module {
        /// Whose.
        rule: usize,
        /// Why.
        error: LoadError,
    },
    /// It was loaded and did not start.
    Start {
        /// Which.
        rule: usize,
        /// Why.
        error: StartError,
    },
    /// Together they ask for too much.
    Overlaps(TooManyOverlaps),
}
