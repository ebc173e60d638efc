//! Barriers: which barriers are missing around the daemon's processes, as far as these have said.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use postern_text::panic::PastPanic;

use crate::compile::CompileService;
use crate::origin::LocalOrigin;

/// What the processes of each role have said last; a compiler and a reader say it with what they do.
#[derive(Default)]
pub(super) struct Barriers {
    roles: Mutex<BTreeMap<&'static str, Vec<String>>>,
    compilers: Mutex<Option<Arc<CompileService>>>,
    readers: Mutex<Option<Arc<LocalOrigin>>>,
}

impl Barriers {
    /// The process that has this role now lacks these.
    pub(super) fn note(&self, role: &'static str, missing: Vec<String>) {
        self.roles.lock().past_panic().insert(role, missing);
    }

    /// Compilers are started by this from now on.
    pub(super) fn compile_by(&self, service: Arc<CompileService>) {
        *self.compilers.lock().past_panic() = Some(service);
    }

    /// Readers are started by this from now on.
    pub(super) fn read_by(&self, origin: Arc<LocalOrigin>) {
        *self.readers.lock().past_panic() = Some(origin);
    }

    /// All that are known to be missing, a line each.
    pub(super) fn missing(&self) -> Vec<String> {
        let line = |role: &str, missing: &String| format!("{role}: {missing}");
        let roles = self.roles.lock().past_panic();
        let mut lines: Vec<_> =
            roles.iter().flat_map(|(role, missing)| missing.iter().map(|it| line(role, it))).collect();
        let compilers = self.compilers.lock().past_panic();
        let of_compilers = compilers.iter().filter_map(|service| service.missing_barriers()).flatten();
        lines.extend(of_compilers.map(|missing| line("compiler", missing)));
        let readers = self.readers.lock().past_panic();
        let of_readers = readers.iter().filter_map(|origin| origin.missing_around_readers()).flatten();
        lines.extend(of_readers.map(|missing| line("reader", missing)));
        lines
    }
}
