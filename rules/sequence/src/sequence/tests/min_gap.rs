//! Steps that must keep their distance.

use std::fmt::Write as _;

use postern_sdk::testing::{Rehearsal, rehearse};

use super::{Sequence, check, compare};

const SLOW: &str = r#"{"sequence": ["7/udp", "8/udp", "9/udp"], "min_gap": "500ms", "within": "5s"}"#;

#[test]
fn a_step_that_comes_too_soon_makes_the_client_start_over() {
    check(
        SLOW,
        "+0.0s udp/7
         +0.5s udp/8
         +1.0s udp/9
         +2.0s udp/7
         +2.499999s udp/8
         +3.0s udp/9
         +4.0s udp/7
         +5.0s udp/8
         +5.012s udp/9",
        "+0.0s remember 1 until +5.0s
         +0.5s remember 2 until +5.0s
         +1.0s open
         +2.0s remember 1 until +7.0s
         +2.499999s forget: step 2 came after 499 ms, too soon
         +3.0s ignore
         +4.0s remember 1 until +9.0s
         +5.0s remember 2 until +9.0s
         +5.012s forget: step 3 came after 12 ms, too soon",
    );
}

#[test]
fn a_client_that_repeats_the_sequence_quickly_never_gets_in() {
    let knocks: String = (0..1000).fold(String::new(), |mut knocks, n| {
        let _ = writeln!(knocks, "+{}.{:03}s udp/{}", n / 100, n % 100 * 10, 7 + n % 3);
        knocks
    });
    let knocks: String = knocks.lines().map(super::with_source).collect();
    let said = rehearse::<Sequence>(SLOW, &knocks);
    assert!(said.contains("too soon") && !said.contains("open"), "{said}");
}

#[test]
fn a_repeat_that_is_ignored_is_one_too_when_the_next_step_is_the_same() {
    check(
        r#"{"sequence": ["7/udp", "7/udp"], "min_gap": "500ms", "duplicates": "ignore-last"}"#,
        "+0.0s udp/7
         +0.1s udp/7
         +0.5s udp/7",
        "+0.0s remember 1 until +25.0s
         +0.1s ignore
         +0.5s open",
    );
}

#[test]
fn after_a_clock_was_set_back_a_client_begins_anew() {
    check(
        SLOW,
        "+100.0s udp/7
         +60.0s udp/8
         +60.1s udp/7
         +60.6s udp/8
         +61.1s udp/9",
        "+100.0s remember 1 until +105.0s
         +60.0s forget: step 2 came after 0 ms, too soon
         +60.1s remember 1 until +65.1s
         +60.6s remember 2 until +65.1s
         +61.1s open",
    );
}

#[test]
fn a_reload_that_sets_it_is_kept_to_from_the_next_step_on() {
    let settings = |rest: &str| format!(r#"{{"sequence": ["7/udp", "8/udp", "9/udp"]{rest}}}"#);
    let mut rehearsal = Rehearsal::<Sequence>::new(&settings("")).unwrap();
    rehearsal.play("+0.0s 203.0.113.7 udp/7\n+0.1s 203.0.113.7 udp/8");
    rehearsal.reload(&settings(r#", "min_gap": "1s""#)).unwrap();
    compare(&rehearsal.play("+1.1s 203.0.113.7 udp/9"), "+1.1s open");
}

/// Every combination of distances around both ends: it opens if all are within them, and only then.
#[test]
fn exactly_the_right_distances_open() {
    let settings = r#"{"sequence": ["1/udp", "2/udp", "3/udp", "4/udp"], "min_gap": "200ms", "gap": "1s", "within": "2s"}"#;
    let distances = [0, 199, 200, 201, 600, 999, 1000, 1001];
    let mut opened = 0;
    for a in distances {
        for b in distances {
            for c in distances {
                let times = [0, a, a + b, a + b + c];
                let knocks: String = (1..).zip(times).fold(String::new(), |mut knocks, (port, time)| {
                    let _ = writeln!(knocks, "+{}.{:03}s 203.0.113.7 udp/{port}", time / 1000, time % 1000);
                    knocks
                });
                let is_right =
                    [a, b, c].iter().all(|distance| (200..1000).contains(distance)) && a + b + c < 2000;
                let opens = rehearse::<Sequence>(settings, &knocks).ends_with(" open\n");
                assert_eq!(opens, is_right, "{knocks}");
                opened += usize::from(opens);
            }
        }
    }
    assert!(opened > 10, "{opened}");
}
