//! Steps that may overtake each other.

use std::fmt::Write as _;

use postern_sdk::testing::{Rehearsal, rehearse};

use super::{Sequence, check, compare};

const ANY_ORDER: &str = r#"{"sequence": ["7/udp", "8/udp", "9/udp"], "reorder": "50ms", "within": "5s"}"#;

#[test]
fn steps_that_come_together_count_in_any_order() {
    check(
        ANY_ORDER,
        "+0.0s udp/9
         +0.01s udp/8
         +0.049999s udp/7
         +1.0s udp/7
         +2.0s udp/9
         +2.04s udp/8",
        "+0.0s remember 1 until +0.05s
         +0.01s remember 2 until +0.05s
         +0.049999s open
         +1.0s remember 1 until +6.0s
         +2.0s remember 2 until +2.05s
         +2.04s open",
    );
}

#[test]
fn without_the_setting_order_counts() {
    check(
        r#"{"sequence": ["7/udp", "8/udp"]}"#,
        "+0.0s udp/8
         +0.001s udp/7
         +0.002s udp/8",
        "+0.0s ignore
         +0.001s remember 1 until +25.001s
         +0.002s open",
    );
}

#[test]
fn what_is_missing_for_too_long_makes_the_client_start_over() {
    check(
        ANY_ORDER,
        "+0.0s udp/7
         +0.1s udp/9
         +0.15s udp/8
         +0.16s udp/7
         +0.3s udp/9",
        "+0.0s remember 1 until +5.0s
         +0.1s remember 2 until +0.15s
         +0.15s remember 1 until +0.2s
         +0.16s remember 2 until +5.15s
         +0.3s open",
    );
}

#[test]
fn each_step_that_is_held_has_its_own_time() {
    check(
        r#"{"sequence": ["1/udp", "2/udp", "3/udp", "4/udp", "5/udp"], "reorder": "50ms"}"#,
        "+0.0s udp/1
         +0.01s udp/3
         +0.05s udp/5
         +0.055s udp/2
         +0.07s udp/4",
        "+0.0s remember 1 until +25.0s
         +0.01s remember 2 until +0.06s
         +0.05s remember 3 until +0.06s
         +0.055s remember 4 until +0.1s
         +0.07s open",
    );
}

#[test]
fn other_ports_and_repeats_are_as_wrong_as_ever() {
    check(
        r#"{"sequence": ["7/udp", "8/udp", "9/udp"], "reorder": "50ms", "strict": true}"#,
        "+0.0s udp/8
         +0.01s udp/1234
         +0.02s udp/7
         +0.03s udp/9
         +0.04s udp/9
         +0.05s udp/8",
        "+0.0s remember 1 until +0.05s
         +0.01s forget: step 1 should be 7/udp, was 1234/udp
         +0.02s remember 1 until +25.02s
         +0.03s remember 2 until +0.08s
         +0.04s forget: step 2 should be 8/udp, was 9/udp
         +0.05s remember 1 until +0.1s",
    );
    check(
        r#"{"sequence": ["7/udp", "8/udp", "9/udp"], "reorder": "50ms", "duplicates": "ignore-last"}"#,
        "+0.0s udp/9
         +0.01s udp/9
         +0.02s udp/7
         +0.03s udp/7
         +0.04s udp/8",
        "+0.0s remember 1 until +0.05s
         +0.01s ignore
         +0.02s remember 2 until +0.05s
         +0.03s ignore
         +0.04s open",
    );
}

#[test]
fn a_clock_set_back_lengthens_nothing() {
    check(
        ANY_ORDER,
        "+100.0s udp/9
         +60.0s udp/8
         +60.05s udp/7",
        "+100.0s remember 1 until +100.05s
         +60.0s remember 2 until +60.05s
         +60.05s remember 1 until +65.05s",
    );
    check(
        ANY_ORDER,
        "+100.0s udp/9
         +60.0s udp/7
         +60.06s udp/8",
        "+100.0s remember 1 until +100.05s
         +60.0s remember 2 until +60.05s
         +60.06s remember 1 until +60.11s",
    );
}

#[test]
fn a_reload_keeps_what_is_held_while_it_may_be() {
    let settings = |rest: &str| format!(r#"{{"sequence": ["7/udp", "8/udp"]{rest}}}"#);
    let mut rehearsal = Rehearsal::<Sequence>::new(&settings(r#", "reorder": "50ms""#)).unwrap();
    rehearsal.play("+0.0s 203.0.113.7 udp/8\n+0.0s 203.0.113.8 udp/8");
    rehearsal.reload(&settings(r#", "reorder": "40ms""#)).unwrap();
    compare(&rehearsal.play("+0.03s 203.0.113.7 udp/7"), "+0.03s open");
    // Exactly the window is too long.
    rehearsal.play("+1.0s 203.0.113.7 udp/8");
    rehearsal.reload(&settings(r#", "reorder": "20ms""#)).unwrap();
    compare(&rehearsal.play("+1.02s 203.0.113.7 udp/7"), "+1.02s remember 1 until +26.02s");
    rehearsal.reload(&settings("")).unwrap();
    compare(&rehearsal.play("+0.03s 203.0.113.8 udp/7"), "+0.03s 203.0.113.8 remember 1 until +25.03s");
}

/// Every order of four steps, at every distance of a few: it opens if there is a way to see the packets as the steps so that no step came
/// the window or longer before one that should have come before it, and only then.
#[test]
fn exactly_what_is_near_enough_opens() {
    for ports in [[1, 2, 3, 4], [1, 2, 1, 3], [1, 1, 2, 2]] {
        let steps = ports.map(|port| format!("\"{port}/udp\"")).join(", ");
        let settings = format!(r#"{{"sequence": [{steps}], "reorder": "50ms"}}"#);
        let (mut opened, mut all) = (0, 0);
        for order in orders() {
            for (a, b, c) in triples(&[0, 10, 25, 40, 50]) {
                let times = [0, a, a + b, a + b + c];
                // What came at times[n] is the step order[n].
                let knocks: String =
                    order.iter().zip(times).fold(String::new(), |mut knocks, (step, time)| {
                        let _ = writeln!(knocks, "+0.{time:03}s 203.0.113.7 udp/{}", ports[*step]);
                        knocks
                    });
                let fits = |seen: [usize; 4]| {
                    let is_that_port = (0..4).all(|n| ports[seen[n]] == ports[order[n]]);
                    let is_near =
                        |n: usize, later: usize| seen[n] < seen[later] || times[later] - times[n] < 50;
                    is_that_port && (0..4).all(|n| (n + 1..4).all(|later| is_near(n, later)))
                };
                let opens = rehearse::<Sequence>(&settings, &knocks).ends_with(" open\n");
                assert_eq!(opens, orders().into_iter().any(fits), "{settings}\n{knocks}");
                (opened, all) = (opened + usize::from(opens), all + 1);
            }
        }
        assert!(opened > all / 10 && opened < all, "{opened} of {all}");
    }
}

/// All orders of four.
fn orders() -> Vec<[usize; 4]> {
    let mut orders = Vec::new();
    for number in 0..256 {
        let order = [number / 64, number / 16 % 4, number / 4 % 4, number % 4];
        if (0..4).all(|step| order.contains(&step)) {
            orders.push(order);
        }
    }
    orders
}

fn triples(of: &[usize]) -> Vec<(usize, usize, usize)> {
    let pairs = of.iter().flat_map(|a| of.iter().map(move |b| (*a, *b)));
    pairs.flat_map(|(a, b)| of.iter().map(move |c| (a, b, *c))).collect()
}
