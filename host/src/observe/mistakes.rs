//! The reports that a configuration with mistakes makes: one for each of the first, one of how many more there are, and one of what
//! follows.

use std::borrow::Cow;

use postern_config::{LostDoor, Mistakes};
use postern_core::{Observer, Posture, Report, Scope, What};

use crate::assemble::RefusedTenant;

/// Mistakes of a configuration, or of a tenant's files, that have a report each. A person mends no more at once, and a folder of broken files
/// must not fill the log at each reload.
const MOST: usize = 100;

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

/// What this tenant's files say is not run, or not yet.
pub(crate) fn report_refused_tenant(observer: &dyn Observer, refused: &RefusedTenant) {
    let RefusedTenant { tenant, mistakes, untried, kept, lost, untrusted, is_told } = refused;
    let scope = Scope::Tenant(Cow::Borrowed(tenant));
    let (number, detail) = each(observer, &scope, mistakes);
    let what = match number {
        0 if *untried > 0 => What::TenantTrying { rules: *kept, untried: *untried },
        0 => What::TenantCompiling { rules: *kept },
        _ => What::TenantRefused { rules: *kept, mistakes: number, detail: detail.into() },
    };
    if !is_told {
        observer.report(&Report { scope, ..Report::new(what) });
    }
    for rule in untrusted {
        observer.report(&Report::of_rule(rule, What::Untrusted));
    }
    for LostDoor { rule, door, without } in lost {
        let what = What::DoorLost { without: without.as_deref().map(Cow::Borrowed) };
        observer.report(&Report { door: Some(Cow::Borrowed(door)), ..Report::of_rule(rule, what) });
    }
}

/// Reports the first, and how many more there are; returns how many there are, and all in one line.
fn each(observer: &dyn Observer, scope: &Scope<'_>, mistakes: &Mistakes) -> (usize, String) {
    let report = |what| observer.report(&Report { scope: scope.clone(), ..Report::new(what) });
    for mistake in mistakes.iter().take(MOST) {
        report(What::Mistake { detail: mistake.to_string().into() });
    }
    let number = mistakes.iter().count();
    if number > MOST {
        report(What::MoreMistakes { mistakes: number - MOST });
    }
    (number, mistakes.in_one_line())
}

/// Reports how well the guarded ports are protected.
pub(crate) fn report_posture(posture: Posture, observer: &dyn Observer) {
    let what = match posture {
        Posture::Unguarded => return,
        Posture::Owned => What::TableOwned,
        Posture::Plain(why) => What::TableUnprotected { why },
    };
    observer.report(&Report::new(what));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use postern_config::Mistake;
    use postern_core::{DropReason, TenantId};

    use super::*;

    /// Keeps whose each report is, its name and its number.
    #[derive(Default)]
    struct Told(Mutex<Vec<(Option<TenantId>, &'static str, usize)>>);

    impl Observer for Told {
        fn report(&self, report: &Report<'_>) {
            let number = match report.what {
                What::MoreMistakes { mistakes }
                | What::ReloadRefused { mistakes, .. }
                | What::TenantRefused { mistakes, .. } => mistakes,
                _ => 1,
            };
            self.0.lock().unwrap().push((report.tenant().cloned(), report.what.name(), number));
        }

        fn count_drops(&self, _: Option<&TenantId>, _: DropReason, _: u64) {}
    }

    fn mistakes(number: usize) -> Mistakes {
        let mistake = |line| Mistake {
            file: "a.toml".into(),
            line: Some(line),
            key: String::new(),
            what: "is wrong".to_owned(),
        };
        Mistakes::new((1..=number).map(mistake).collect())
    }

    #[test]
    fn the_first_mistakes_are_told_and_the_others_are_counted() {
        let told = Told::default();
        report_refused_reload(&told, &mistakes(100), 1);
        let mut expected = vec![(None, "mistake", 1); 100];
        expected.push((None, "reload-refused", 100));
        assert_eq!(*told.0.lock().unwrap(), expected);

        let told = Told::default();
        let tenant = Some(TenantId::new("a"));
        let refused = RefusedTenant {
            tenant: TenantId::new("a"),
            mistakes: mistakes(12_000),
            untried: 0,
            is_told: false,
            kept: 0,
            lost: Vec::new(),
            untrusted: Vec::new(),
        };
        report_refused_tenant(&told, &refused);
        let mut expected = vec![(tenant.clone(), "mistake", 1); 100];
        expected.push((tenant.clone(), "more-mistakes", 11_900));
        expected.push((tenant, "tenant-refused", 12_000));
        assert_eq!(*told.0.lock().unwrap(), expected);
    }
}
