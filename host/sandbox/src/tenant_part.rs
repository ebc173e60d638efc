//! TenantPart: a tenant in a generation, with what its rules may use together.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Admission, Bounds, CpuMeter, CpuPace, CpuShare, DropReason, Moment, Observer, Report, Scope, TenantId,
    TenantLimits, What,
};

use crate::runtime::Runtime;

/// A tenant with limits or with rules.
pub(crate) struct TenantPart {
    pub(crate) id: TenantId,
    /// Whether it has limits of its own.
    pub(crate) is_bounded: bool,
    /// What may be remembered for its rules; none: as much as the machine has.
    pub(crate) memory: Option<Bounds>,
    /// None if it may use all CPU time that there is.
    pub(crate) share: Option<Arc<MeteredShare>>,
}

/// A tenant's share of a processor, and what it has used of it.
pub(crate) struct MeteredShare {
    share: CpuShare,
    pace: CpuPace,
    /// The tenant's in all generations, or a reload would give it all of its share anew.
    meter: Arc<CpuMeter>,
}

impl TenantPart {
    /// A tenant with these limits; without any, it has those of the machine alone, as the host does.
    pub(crate) fn new(runtime: &Runtime, id: &TenantId, limits: Option<&TenantLimits>) -> Self {
        let share = limits.and_then(|limits| {
            let (share, pace) = (limits.share, CpuPace::of(limits.share)?);
            Some(Arc::new(MeteredShare { share, pace, meter: runtime.cpu_meter(id) }))
        });
        let memory = limits.map(|limits| limits.memory);
        Self { id: id.clone(), is_bounded: limits.is_some(), memory, share }
    }
}

impl MeteredShare {
    /// Whether a rule of the tenant may be called now; if not, the packet is counted, and it is said when that begins.
    pub(crate) fn admits_call(&self, tenant: &TenantId, now: Moment, observer: &dyn Observer) -> bool {
        let Admission::Over { begins } = self.meter.admit(self.pace, now) else { return true };
        observer.count_drops(Some(tenant), DropReason::OverShare, 1);
        if begins {
            let scope = Scope::Tenant(Cow::Borrowed(tenant));
            observer.report(&Report { scope, ..Report::new(What::OverShare { share: self.share }) });
        }
        false
    }

    /// Counts the CPU time of a call that began at `now`.
    pub(crate) fn charge(&self, now: Moment, used: Duration) {
        self.meter.charge(self.pace, now, used);
    }
}
