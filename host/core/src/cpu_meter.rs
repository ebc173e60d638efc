//! CpuMeter: whether a tenant may run its rules now, by the CPU time that they took before.
//!
//! In no second do a tenant's rules take more than its share, but for the calls that are under way at its end: one for each worker. And within
//! a second they take it evenly, since the packets of all tenants are judged one after the other: what one tenant takes at once, the others
//! wait for. So a tenant has an allowance that is filled with nearly all of its share and holds a millisecond, half of what a
//! single call may take unless its rule says otherwise: a tenant at its share is called once, then has nothing for the rest of its turn, and is
//! called again. A few slow calls right after each other, as a knock makes them, are no reason to drop one: they may be taken ahead, from a
//! reserve of eight milliseconds that takes a second to fill. So what others wait for beyond a single call is less than a hundredth of the time.
//!
//! Each of both is one number, the time at which it is empty: to ask whether there is something left is a comparison, and to take
//! something is a multiplication, whichever threads do so at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::moment::Moment;
use crate::tenant_limits::CpuShare;

const SECOND: u64 = 1_000_000_000;
/// The most that the allowance holds, in nanoseconds of CPU time.
const MOST_ALLOWANCE: u64 = 1_000_000;
/// The most that the reserve holds, and what it gets in a second.
const MOST_RESERVE: u64 = 8_000_000;
/// Of a small share they hold such a part at most: with what comes in a second they must not be more than the share.
const PARTS_ALLOWANCE: u64 = 20;
const PARTS_RESERVE: u64 = 5;
/// An owner that had nothing dropped for so long is not over its share any more.
const ENDED_AFTER: u64 = 5 * SECOND;
/// Before the daemon's first moment, so that all is full then.
const EPOCH: u64 = ENDED_AFTER;
/// The most that is counted of one call.
const MOST_USED: u64 = 10 * SECOND;

/// How fast a share gives CPU time back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuPace {
    allowance: Refill,
    reserve: Refill,
}

/// How fast something fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refill {
    /// Nanoseconds of CPU time in a second.
    rate: u64,
    /// What a nanosecond of CPU time takes to come, in nanoseconds, with [`Refill::FRACTION`] bits behind the point.
    price: u64,
    /// How long it takes from empty to full, in nanoseconds.
    whole: u64,
}

/// The CPU time of one tenant's rules, on all threads together.
#[derive(Debug, Default)]
pub struct CpuMeter {
    /// When the allowance is or was empty, in nanoseconds from [`EPOCH`] before the daemon's start. Later than now: so much was taken ahead.
    allowance_empty: AtomicU64,
    /// The same of the reserve.
    reserve_empty: AtomicU64,
    /// When a packet was last dropped.
    last_over: AtomicU64,
    /// How many were, since the owner is over its share.
    dropped: AtomicU64,
}

/// Whether a rule may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Admitted,
    /// No: the tenant has used up its share.
    Over {
        /// It was not over its share before.
        begins: bool,
    },
}

/// Whether an owner is over its share: from the first packet that is dropped until none was dropped for some seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It is not.
    None,
    /// It is.
    Lasts {
        /// When that may end, at the earliest.
        until: Moment,
    },
    /// It was, and is not any more. This is said once.
    Ended {
        /// How many packets were dropped meanwhile.
        dropped: u64,
    },
}

impl CpuPace {
    /// The pace of this share; none if it has no limit.
    #[must_use]
    pub fn of(share: CpuShare) -> Option<Self> {
        let in_a_second = share.micros_a_second()?.max(1) * 1000;
        let allowance = MOST_ALLOWANCE.min(in_a_second / PARTS_ALLOWANCE);
        let reserve = MOST_RESERVE.min(in_a_second / PARTS_RESERVE);
        // A second can begin when both are full, and end when all of it was taken ahead.
        let rate = in_a_second - allowance - reserve;
        Some(Self { allowance: Refill::new(rate, allowance), reserve: Refill::new(reserve, reserve) })
    }
}

impl Refill {
    const FRACTION: u32 = 16;

    const fn new(rate: u64, most: u64) -> Self {
        Self { rate, price: (SECOND << Self::FRACTION).div_ceil(rate), whole: most * SECOND / rate }
    }

    /// When it is empty after so much was taken at `now`, if it would have been at `empty` before.
    fn take(self, empty: u64, now: u64, used: u64) -> u64 {
        let time = (u128::from(used) * u128::from(self.price)) >> Self::FRACTION;
        let empty = empty.max(now.saturating_sub(self.whole));
        empty.saturating_add(u64::try_from(time).unwrap_or(u64::MAX))
    }

    /// What comes in this time, in nanoseconds of CPU time and billionths of them.
    fn in_time(self, time: u64) -> u128 {
        u128::from(time) * u128::from(self.rate)
    }
}

impl CpuMeter {
    /// Whether a rule of the tenant may be called at `now`. With several threads, all may be admitted before the first of them charges.
    pub fn admit(&self, pace: CpuPace, now: Moment) -> Admission {
        let now = nanos(now);
        let empty = self.allowance_empty.load(Ordering::Relaxed);
        if now > empty || self.may_go_ahead(pace, now, empty) {
            return Admission::Admitted;
        }
        self.last_over.store(now, Ordering::Relaxed);
        // Seen with a later time by whoever sees it.
        Admission::Over { begins: self.dropped.fetch_add(1, Ordering::Release) == 0 }
    }

    /// Whether the owner is over its share at `now`, or has just ceased to be.
    pub fn excess(&self, now: Moment) -> Excess {
        if self.dropped.load(Ordering::Acquire) == 0 {
            return Excess::None;
        }
        let until = self.last_over.load(Ordering::Relaxed).saturating_add(ENDED_AFTER);
        if nanos(now) < until {
            return Excess::Lasts { until: Moment(Duration::from_nanos(until.saturating_sub(EPOCH))) };
        }
        Excess::Ended { dropped: self.dropped.swap(0, Ordering::Relaxed) }
    }

    /// Whether less was taken ahead than the reserve holds.
    #[cold]
    fn may_go_ahead(&self, pace: CpuPace, now: u64, empty: u64) -> bool {
        let filled = now.saturating_sub(self.reserve_empty.load(Ordering::Relaxed)).min(pace.reserve.whole);
        pace.allowance.in_time(empty - now) < pace.reserve.in_time(filled)
    }

    /// Counts the CPU time of a call that began at `now`.
    pub fn charge(&self, pace: CpuPace, now: Moment, used: Duration) {
        let (now, used) = (nanos(now), duration_nanos(used).min(MOST_USED));
        let take = |from: &AtomicU64, refill: Refill| {
            let take = |empty| Some(refill.take(empty, now, used));
            from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or_else(|empty| empty)
        };
        let was_empty = take(&self.allowance_empty, pace.allowance);
        if now <= was_empty {
            take(&self.reserve_empty, pace.reserve);
        }
    }
}

fn nanos(now: Moment) -> u64 {
    EPOCH.saturating_add(duration_nanos(now.0))
}

fn duration_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000_000;
    const BURN: u64 = 1_800_000;

    /// A tenant on one worker, in nanoseconds of virtual time.
    struct World {
        meter: CpuMeter,
        pace: CpuPace,
        now: u64,
        /// When each call began and what it took.
        calls: Vec<(u64, u64)>,
        dropped: usize,
    }

    impl World {
        fn new(percent: u32) -> Self {
            let pace = CpuPace::of(CpuShare::percent(percent)).unwrap();
            Self { meter: CpuMeter::default(), pace, now: 0, calls: Vec::new(), dropped: 0 }
        }

        fn moment(&self) -> Moment {
            Moment(Duration::from_nanos(self.now))
        }

        /// A packet that came at this time, and is judged then or when the worker is done with those before.
        fn packet(&mut self, at: u64, cost: u64) -> Admission {
            self.now = self.now.max(at);
            let admission = self.meter.admit(self.pace, self.moment());
            if admission == Admission::Admitted {
                self.meter.charge(self.pace, self.moment(), Duration::from_nanos(cost));
                self.calls.push((self.now, cost));
                self.now += cost;
            } else {
                self.dropped += 1;
            }
            admission
        }

        fn flood(&mut self, rate: u64, seconds: u64, cost: u64) {
            let begin = self.now;
            for n in 0..rate * seconds {
                self.packet(begin + n * SECOND / rate, cost);
            }
        }

        /// The most that was used in any second, by the beginning of the calls.
        fn most_in_a_second(&self) -> u64 {
            let mut most = 0;
            let (mut first, mut sum) = (0, 0);
            for (n, (begin, cost)) in self.calls.iter().enumerate() {
                sum += cost;
                while self.calls[first].0 + SECOND <= *begin {
                    sum -= self.calls[first].1;
                    first += 1;
                }
                assert!(first <= n);
                most = most.max(sum);
            }
            most
        }

        /// How long calls followed each other without a pause, each time.
        fn runs(&self) -> Vec<u64> {
            let mut runs = Vec::new();
            let mut end = u64::MAX;
            for (begin, cost) in &self.calls {
                match runs.last_mut() {
                    Some(run) if *begin == end => *run += cost,
                    _ => runs.push(*cost),
                }
                end = begin + cost;
            }
            runs
        }
    }

    #[test]
    fn whoever_burns_gets_its_share_and_one_call_at_a_time() {
        for rate in [3_000, 100_000] {
            let mut world = World::new(25);
            world.flood(rate, 10, BURN);
            assert!(world.most_in_a_second() <= 250 * MILLI + BURN, "{}", world.most_in_a_second());
            let used: u64 = world.calls.iter().map(|(_, cost)| cost).sum();
            assert!((2_350..2_500).contains(&(used / MILLI)), "{used}");
            let runs = world.runs();
            // Those calls that follow another at once are the reserve's.
            let ahead: u64 = runs.iter().map(|run| run - BURN).sum();
            assert!(ahead <= 11 * 8 * MILLI + BURN, "{ahead}");
            // It is served again soon, each time.
            assert!(world.calls.windows(2).all(|two| two[1].0 - two[0].0 <= 30 * MILLI));
        }
    }

    #[test]
    fn whoever_burns_in_bursts_holds_others_up_for_a_hundredth_of_the_time() {
        for (pause, burst) in [(8, 2), (20, 10), (100, 50), (500, 100), (1_100, 100)] {
            let mut world = World::new(25);
            for n in 0..20 * SECOND / (pause * MILLI) {
                (0..burst).for_each(|_| _ = world.packet(n * pause * MILLI, BURN));
            }
            let beyond_a_call: u64 = world.runs().iter().map(|run| run - BURN).sum();
            assert!(beyond_a_call < world.now / 100, "{pause} {burst}: {beyond_a_call}");
            assert!(world.most_in_a_second() <= 250 * MILLI + BURN);
        }
    }

    #[test]
    fn knocks_of_slow_calls_are_judged_whole() {
        let mut world = World::new(10);
        for knock in 0..20 {
            for step in 0..3 {
                world.packet(knock * SECOND + step * 2 * MILLI, 2 * MILLI);
            }
        }
        assert_eq!((world.dropped, world.calls.len()), (0, 60));
    }

    #[test]
    fn a_flood_of_quick_calls_below_the_share_loses_nothing_however_it_is_batched() {
        for batch in [40, 4_000] {
            let mut world = World::new(25);
            for n in 0..1_000_000 / batch {
                (0..batch).for_each(|_| _ = world.packet(n * batch * 5_000, 350));
            }
            assert_eq!(world.dropped, 0, "{batch}");
        }
    }

    #[test]
    fn a_long_call_is_paid_back_whole() {
        let mut world = World::new(1);
        world.packet(0, 100 * MILLI);
        for n in 1..3_000 {
            world.packet(n * 10 * MILLI, 100);
        }
        // A hundredth of the time.
        let second_call = world.calls[1].0;
        assert!((9 * SECOND..14 * SECOND).contains(&second_call), "{second_call}");
    }

    #[test]
    fn it_is_said_when_it_begins_and_when_it_ends_and_not_while_it_lasts() {
        let mut world = World::new(25);
        let begins = |world: &mut World, at, packets| {
            let admissions =
                (0..packets).map(|n| world.packet(at + n * MILLI, 50 * MILLI)).collect::<Vec<_>>();
            admissions.iter().filter(|it| **it == Admission::Over { begins: true }).count()
        };
        let excess = |world: &World, at| world.meter.excess(Moment(Duration::from_nanos(at)));
        assert_eq!(begins(&mut world, 0, 1), 0);
        assert_eq!(excess(&world, 20 * SECOND), Excess::None);
        assert_eq!(begins(&mut world, 0, 20_000), 1);
        // It is over when that is said, and not sooner.
        assert_eq!(begins(&mut world, 26 * SECOND, 100), 0);
        let last = world.meter.last_over.load(Ordering::Relaxed) - EPOCH;
        let until = Moment(Duration::from_nanos(last + 5 * SECOND));
        assert_eq!(excess(&world, last), Excess::Lasts { until });
        assert_eq!(excess(&world, last + 5 * SECOND - 1), Excess::Lasts { until });
        let dropped = world.dropped as u64;
        assert!(dropped > 15_000, "{dropped}");
        assert_eq!(excess(&world, last + 5 * SECOND), Excess::Ended { dropped });
        assert_eq!(excess(&world, last + 5 * SECOND), Excess::None);
        assert_eq!(begins(&mut world, 40 * SECOND, 100), 1);
        assert_eq!(excess(&world, 60 * SECOND), Excess::Ended { dropped: world.dropped as u64 - dropped });
    }

    #[test]
    fn no_second_has_more_than_the_share_and_a_call_for_each_worker_whatever_comes() {
        let mut seed = 9_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for percent in [1, 2, 5, 10, 25, 60, 100] {
            for workers in [1, 4] {
                let mut world = World::new(percent);
                let longest = [100, 10_000, 2 * MILLI, 5 * MILLI][usize::try_from(random(4)).unwrap()];
                while world.now < 5 * SECOND && world.calls.len() < 100_000 {
                    let calls = random(3) * random(50);
                    for _ in 0..calls {
                        // All workers ask, and only then the first of them is done.
                        let admitted = (0..workers)
                            .filter(|_| world.meter.admit(world.pace, world.moment()) == Admission::Admitted)
                            .count();
                        for _ in 0..admitted {
                            let cost = random(longest) + 1;
                            world.meter.charge(world.pace, world.moment(), Duration::from_nanos(cost));
                            world.calls.push((world.now, cost));
                        }
                        world.now += random(longest) + 1;
                    }
                    world.now += random(20 * MILLI) * random(3);
                }
                let (most, share) = (world.most_in_a_second(), u64::from(percent) * 10 * MILLI);
                assert!(most <= share + workers * longest, "{percent}% {workers} {longest}: {most}");
            }
        }
    }

    #[test]
    fn the_host_has_no_pace_and_the_lowest_share_has_one() {
        assert_eq!(CpuPace::of(CpuShare::UNLIMITED), None);
        let mut world = World::new(1);
        world.flood(1_000, 3, 10_000);
        assert!(world.dropped > 0 && world.calls.len() > 1_000 * 2, "{}", world.calls.len());
    }
}
