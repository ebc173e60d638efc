//! Plan: which hit is due when. It reads no clock and sends nothing.

use std::net::SocketAddr;
use std::time::Duration;

/// One packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// When, counted from the first hit.
    pub due: Duration,
    /// To which of the addresses.
    pub address: usize,
    /// Which of the steps.
    pub step: usize,
}

/// When each of `steps` steps is due at each address, in order of time.
///
/// Every address gets the whole knock, because it is not known which one a later connection takes. The two families go side by
/// side: they come from different addresses of ours, so a server takes them for two clients. Addresses of one family go one
/// after the other: they may all belong to one server, which would see each step twice and make us start over.
#[must_use]
pub fn plan(addresses: &[SocketAddr], steps: usize, interval: Duration) -> Vec<Hit> {
    let mut counts = [0_u32; 2];
    let mut hits = Vec::with_capacity(addresses.len() * steps);
    for (address, target) in addresses.iter().enumerate() {
        let count = &mut counts[usize::from(target.is_ipv6())];
        for step in 0..steps {
            hits.push(Hit { due: interval.saturating_mul(*count), address, step });
            *count += 1;
        }
    }
    // Stable: what is due at one time stays in the order of the addresses. Without an interval that is one whole knock, then the next.
    hits.sort_by_key(|hit| hit.due);
    hits
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn one_address_gets_its_steps_an_interval_apart() {
        check("10.0.0.1", 200, expect!["0:10.0.0.1#0 200:10.0.0.1#1 400:10.0.0.1#2"]);
    }

    #[test]
    fn without_an_interval_everything_is_due_at_once_and_in_order() {
        check("10.0.0.1 ::1", 0, expect!["0:10.0.0.1#0 0:10.0.0.1#1 0:10.0.0.1#2 0:::1#0 0:::1#1 0:::1#2"]);
    }

    #[test]
    fn families_go_side_by_side() {
        check(
            "::1 10.0.0.1",
            100,
            expect!["0:::1#0 0:10.0.0.1#0 100:::1#1 100:10.0.0.1#1 200:::1#2 200:10.0.0.1#2"],
        );
    }

    #[test]
    fn addresses_of_one_family_go_one_after_the_other() {
        check(
            "10.0.0.1 10.0.0.2 ::1",
            100,
            expect![
                "0:10.0.0.1#0 0:::1#0 100:10.0.0.1#1 100:::1#1 200:10.0.0.1#2 200:::1#2 300:10.0.0.2#0 400:10.0.0.2#1 500:10.0.0.2#2"
            ],
        );
    }

    #[test]
    fn nothing_to_knock_at_is_nothing_to_do() {
        check("", 100, expect![""]);
    }

    #[track_caller]
    fn check(addresses: &str, interval_ms: u64, expect: Expect) {
        let addresses: Vec<_> = addresses
            .split_whitespace()
            .map(|text| SocketAddr::new(text.parse().expect("an address"), 0))
            .collect();
        let show =
            |hit: &Hit| format!("{}:{}#{}", hit.due.as_millis(), addresses[hit.address].ip(), hit.step);
        let hits = plan(&addresses, 3, Duration::from_millis(interval_ms));
        expect.assert_eq(&hits.iter().map(show).collect::<Vec<_>>().join(" "));
    }
}
