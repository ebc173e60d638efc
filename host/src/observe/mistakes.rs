//! The reports that a configuration with mistakes makes: one for each, and one of what follows.

use std::borrow::Cow;

use postern_config::{LostDoor, Mistakes};
use postern_core::{Observer, Report, Scope, What};

use crate::assemble::RefusedTenant;

/// Nothing is started with this configuration; `guards` is the file for which ports are guarded all the same.
pub(crate) fn report_refused_start(observer: &dyn Observer, mistakes: &Mistakes, guards: Option<&str>) {
    let (number, detail) = each(observer, &Scope::Machine, mistakes);
    let guards = guards.map(Into::into);
    observer.report(&Report::new(What::StartRefused { mistakes: number, detail: detail.into(), guards }));
}

/// This configuration is not taken, since the one of generation `running` runs.
pub(crate) fn report_refused_reload(observer: &dyn Observer, mistakes: &Mistakes, running: u64) {
    let (number, detail) = each(observer, &Scope::Machine, mistakes);
    let what = What::ReloadRefused { generation: running, mistakes: number, detail: detail.into() };
    observer.report(&Report::new(what));
}

/// What this tenant's files say is not run.
pub(crate) fn report_refused_tenant(observer: &dyn Observer, refused: &RefusedTenant) {
    let RefusedTenant { tenant, mistakes, kept, lost } = refused;
    let scope = Scope::Tenant(Cow::Borrowed(tenant));
    let (number, detail) = each(observer, &scope, mistakes);
    let what = What::TenantRefused { rules: *kept, mistakes: number, detail: detail.into() };
    observer.report(&Report { scope, ..Report::new(what) });
    for LostDoor { rule, door, without } in lost {
        let what = What::DoorLost { without: without.as_deref().map(Cow::Borrowed) };
        observer.report(&Report { door: Some(Cow::Borrowed(door)), ..Report::of_rule(rule, what) });
    }
}

/// Reports each; how many there are, and all in one line.
fn each(observer: &dyn Observer, scope: &Scope<'_>, mistakes: &Mistakes) -> (usize, String) {
    for mistake in mistakes.iter() {
        let what = What::Mistake { detail: mistake.to_string().into() };
        observer.report(&Report { scope: scope.clone(), ..Report::new(what) });
    }
    (mistakes.iter().count(), mistakes.in_one_line())
}
