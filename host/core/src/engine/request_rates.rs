//! RequestRates: how often each tenant's rules may ask for doors to be opened or closed. The host's own are bounded by what the doors take.

use std::collections::HashMap;
use std::time::Duration;

use crate::moment::Moment;
use crate::tenant::TenantId;

/// Times a second, over time: more than any service is knocked for, and a fortieth of what all doors take
/// ([`crate::OrderLimits::ORDERS_PER_SECOND`]).
const PER_SECOND: u32 = 500;
/// Times at once.
const BURST: u32 = 1000;
/// Tenants that are known. Those that used little lately are forgotten first, who have as much then as they had.
const MOST: usize = 4096;

/// What each tenant has used of its rate.
#[derive(Debug, Default)]
pub(super) struct RequestRates(HashMap<TenantId, Moment>);

impl RequestRates {
    /// Whether a tenant may have one more; if so it counts.
    pub(super) fn take(&mut self, tenant: &TenantId, now: Moment) -> bool {
        if tenant.is_host() {
            return true;
        }
        // By when all that was taken would have been earned (a virtual schedule: ITU-T I.371, the generic cell rate algorithm).
        let earned = self.0.get(tenant).copied().unwrap_or(now).max(now);
        if earned.since(now) > PACE * (BURST - 1) {
            return false;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, earned| *earned > now);
        }
        self.0.insert(tenant.clone(), earned.plus(PACE));
        true
    }
}

const PACE: Duration = Duration::from_nanos(1_000_000_000 / PER_SECOND as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_a_burst_and_then_a_rate_and_costs_others_nothing() {
        let (mut rates, start) = (RequestRates::default(), Moment::default().plus(Duration::from_secs(60)));
        let (a, b) = (TenantId::new("a"), TenantId::new("b"));
        let mut taken = |tenant: &TenantId, now| (0..5000).filter(|_| rates.take(tenant, now)).count();
        assert_eq!(taken(&a, start), 1000);
        assert_eq!(taken(&b, start), 1000);
        assert_eq!(taken(&a, start.plus(Duration::from_millis(20))), 10);
        assert_eq!(
            taken(&a, start.plus(Duration::from_secs(60))),
            1000,
            "nothing is saved up beyond the burst"
        );
        assert_eq!(taken(&TenantId::host(), start), 5000);
    }
}
