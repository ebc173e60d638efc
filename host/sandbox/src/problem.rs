//! Problem: why a rule cannot be part of a generation.

use std::sync::Arc;

use postern_core::BeyondGrant;

use crate::instance::StartError;
use crate::load_error::LoadError;

/// What is wrong with a rule.
#[derive(Debug)]
pub struct Problem {
    /// Its place among those that were to be loaded.
    pub rule: usize,
    /// What is wrong.
    pub what: ProblemKind,
}

/// How far a rule came.
#[derive(Debug)]
pub enum ProblemKind {
    /// Its module was not loaded; other rules may run the same.
    Module(Arc<LoadError>),
    /// It was loaded and did not start.
    Start(StartError),
    /// It was started, and asks to see what it may not.
    Beyond(BeyondGrant),
    /// Loading or starting it panicked; the standard error says how.
    Panicked,
}
