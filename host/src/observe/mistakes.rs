//! The reports that a configuration with mistakes makes: one for each, and one of what follows.

use postern_config::Mistakes;
use postern_core::{Observer, Report, What};

/// Nothing is started with this configuration; `guards` is the file for which ports are guarded all the same.
pub(crate) fn report_refused_start(observer: &dyn Observer, mistakes: &Mistakes, guards: Option<&str>) {
    let (number, detail) = each(observer, mistakes);
    let guards = guards.map(Into::into);
    observer.report(&Report::new(What::StartRefused { mistakes: number, detail: detail.into(), guards }));
}

/// This configuration is not taken, since the one of generation `running` runs.
pub(crate) fn report_refused_reload(observer: &dyn Observer, mistakes: &Mistakes, running: u64) {
    let (number, detail) = each(observer, mistakes);
    let what = What::ReloadRefused { generation: running, mistakes: number, detail: detail.into() };
    observer.report(&Report::new(what));
}

/// Reports each; how many there are, and all in one line.
fn each(observer: &dyn Observer, mistakes: &Mistakes) -> (usize, String) {
    for mistake in mistakes.iter() {
        observer.report(&Report::new(What::Mistake { detail: mistake.to_string().into() }));
    }
    (mistakes.iter().count(), mistakes.in_one_line())
}
