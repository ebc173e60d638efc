//! What a knock costs who connects through it.

use std::time::Duration;

use postern_tests::{BannerSite, BannerWay, Lab};

use super::postern;
use crate::{KNOCK, STEPS, posternd};

const ROUND_TRIP: Duration = Duration::from_millis(40);
/// What a knock may cost beside round trips. On an idle machine it is three milliseconds, of which one is the wait for the door and the
/// others start programs. This one has other tests to do, and programs that are not optimised; less than a round trip tells enough.
const BEYOND: Duration = Duration::from_millis(20);
/// The best of at most so many counts.
const ROUNDS: usize = 20;

#[test]
fn ssh_through_a_knock_takes_little_longer_than_without() {
    let Some(lab) = Lab::with_delay_if_possible(ROUND_TRIP / 2) else { return };
    let config = format!("interfaces = [\"eth0\"]\n{}", BannerSite::DOOR);
    let daemon = posternd(&lab).config(&config).rule("knock", KNOCK).start();
    let Some(site) = BannerSite::if_possible(&lab, &postern(), STEPS) else { return };
    for (way, round_trips) in [(BannerWay::SshFdpass, 0), (BannerWay::SshMatch, 1)] {
        let bound = round_trips * ROUND_TRIP + BEYOND;
        let (mut without, mut with) = (Duration::MAX, Duration::MAX);
        let costs_little = (0..ROUNDS).any(|_| {
            without = without.min(site.time(BannerWay::Ssh));
            with = with.min(site.time(way));
            with < without + bound
        });
        assert!(costs_little, "{way:?}: {with:?}, without a knock {without:?}");
        // One to connect, and one to the banner; and none is lost when the knock is for a connection of its own.
        assert!(
            without >= 2 * ROUND_TRIP && with >= (2 + round_trips) * ROUND_TRIP,
            "{way:?}: {with:?}, {without:?}"
        );
    }
    daemon.stop();
}
