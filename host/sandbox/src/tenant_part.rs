//! TenantPart: a tenant in a generation, with what its rules may use together.

use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Admission, Bounds, CpuMeter, CpuPace, CpuShare, DropReason, Moment, Observer, Report, TenantId,
    TenantLimits, What,
};

use crate::over_shares::OverShares;
use crate::runtime::Runtime;
use crate::share_owner::ShareOwner;
use crate::stopwatch::SHORT;

/// A tenant with limits or with rules.
pub(crate) struct TenantPart {
    pub(crate) id: TenantId,
    /// Whether it has limits of its own.
    pub(crate) is_bounded: bool,
    /// What may be remembered for its rules; none: as much as the machine has.
    pub(crate) memory: Option<Bounds>,
    /// Of its rules; none if each has its own.
    pub(crate) share: Option<Arc<MeteredShare>>,
    /// Of its rules on trial.
    pub(crate) share_on_trial: Option<Arc<MeteredShare>>,
}

/// A share of a processor, and what was used of it.
pub(crate) struct MeteredShare {
    owner: ShareOwner,
    share: CpuShare,
    pace: CpuPace,
    /// The owner's in all generations, or a reload would give it all of its share anew.
    meter: Arc<CpuMeter>,
    overs: OverShares,
}

impl TenantPart {
    /// A tenant with these limits; without any, it has those of the machine alone, as the host does.
    pub(crate) fn new(runtime: &Runtime, id: &TenantId, limits: Option<&TenantLimits>) -> Self {
        let share = |owner: fn(TenantId) -> ShareOwner| {
            MeteredShare::new(runtime, owner(id.clone()), limits?.share).map(Arc::new)
        };
        Self {
            id: id.clone(),
            is_bounded: limits.is_some(),
            memory: limits.map(|limits| limits.memory),
            share: share(ShareOwner::Tenant),
            share_on_trial: share(ShareOwner::OnTrial),
        }
    }
}

impl MeteredShare {
    /// This owner's; none if it may use all CPU time that there is.
    pub(crate) fn new(runtime: &Runtime, owner: ShareOwner, share: CpuShare) -> Option<Self> {
        let (pace, meter) = (CpuPace::of(share)?, runtime.cpu_meter(&owner));
        Some(Self { owner, share, pace, meter, overs: runtime.over_shares().clone() })
    }

    /// Whether it is that of several rules.
    pub(crate) const fn is_of_several(&self) -> bool {
        !matches!(self.owner, ShareOwner::Rule(_))
    }

    /// Whether a rule of the owner may be called now; if not, the packet is counted, and it is said when that begins.
    pub(crate) fn admits_call(&self, now: Moment, observer: &dyn Observer) -> bool {
        let Admission::Over { begins } = self.meter.admit(self.pace, now) else { return true };
        observer.count_drops(Some(self.owner.tenant()), DropReason::OverShare, 1);
        if begins {
            let what = What::OverShare { share: self.share };
            observer.report(&Report { scope: self.owner.scope(), ..Report::new(what) });
            self.overs.began();
        }
        false
    }

    /// Counts the CPU time of a call that began at `now`. A single rule's quick calls are not counted: it is the only one of its owner that a
    /// flood of them is for, and such a flood is what the daemon is there for. What keeps others waiting is a slow call.
    pub(crate) fn charge(&self, now: Moment, used: Duration) {
        if matches!(self.owner, ShareOwner::Rule(_)) && used <= SHORT {
            return;
        }
        self.meter.charge(self.pace, now, used);
    }
}
