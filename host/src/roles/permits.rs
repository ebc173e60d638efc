//! Permits: how many do something at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many do something at once.
#[derive(Clone, Default)]
pub(super) struct Permits(Arc<AtomicUsize>);

/// The right to do it, until this is gone.
pub(super) struct Permit(Permits);

impl Permits {
    /// None if as many as `most` have one.
    pub(super) fn take(&self, most: usize) -> Option<Permit> {
        let more = |count| (count < most).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Self(Permits(count)) = self;
        count.fetch_sub(1, Ordering::Relaxed);
    }
}
