//! OverShares: says that an owner of rules is over its share from now on, so that somebody looks when that has ended.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// Says it to one listener, if there is any. Another handle is the same.
#[derive(Clone, Default)]
pub(crate) struct OverShares(Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>);

impl OverShares {
    /// Has `tell` called each time, on the thread that judges, if nothing was said before.
    pub(crate) fn tell(&self, tell: Box<dyn Fn() + Send + Sync>) {
        let _ = self.0.set(tell);
    }

    /// One begins.
    pub(crate) fn began(&self) {
        if let Some(tell) = self.0.get() {
            tell();
        }
    }
}

impl fmt::Debug for OverShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverShares").finish_non_exhaustive()
    }
}
