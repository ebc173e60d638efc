//! The engine as its shell drives it: events and times in, what people would be told out.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod claims;
mod clients;
mod flood;
mod generation;
mod many;
mod records;
mod removed;
mod restart;
mod shared;
mod tenants;
mod unclosed;
mod world;

use expect_test::expect;

use world::check;

#[test]
fn opens_and_closes_on_time() {
    check(
        "+0 open knock 192.0.2.1
         +9.9 end
         +20 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +9.9 end: 1 openings, settled true
            +10.0   -> ssh expire 192.0.2.1
            +10.0 knock ssh 192.0.2.1: closed Expired
            +20.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn opening_again_extends_and_never_takes_time_away() {
    check(
        "+0 open knock 192.0.2.1
         +4 open knock 192.0.2.1
         +5 open brief 192.0.2.1
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +4.0   -> ssh extend 10s 192.0.2.1
            +4.0 knock ssh 192.0.2.1: extended 10s
            +5.0   -> ssh extend 9s 192.0.2.1
            +5.0 brief ssh 192.0.2.1: extended 9s
            +14.0   -> ssh expire 192.0.2.1
            +14.0 brief ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_command_door_is_extended_without_running_its_command_again() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +4 open knock 192.0.2.1 door=lamp
         +30 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +4.0   -> journal lamp 10s 192.0.2.1
            +4.0 knock lamp 192.0.2.1: extended 10s
            +14.0   -> lamp close 192.0.2.1
            +14.0 knock lamp 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn time_comes_from_the_verdict_then_the_rule_then_the_door_and_has_a_ceiling() {
    check(
        "+0 open knock 192.0.2.1 lasts=2
         +0 open brief 192.0.2.2
         +0 open knock 192.0.2.3
         +1 open knock 192.0.2.1 lasts=86400
         +1 open knock 192.0.2.4 lasts=0",
        expect![[r#"
            +0.0   -> ssh open 2s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 2s
            +0.0   -> ssh open 3s 192.0.2.2
            +0.0 brief ssh 192.0.2.2: opened 3s
            +0.0   -> ssh open 10s 192.0.2.3
            +0.0 knock ssh 192.0.2.3: opened 10s
            +1.0 knock ssh 192.0.2.1: shortened 86400s to 3600s
            +1.0   -> ssh extend 3600s 192.0.2.1
            +1.0 knock ssh 192.0.2.1: extended 3600s
            +1.0 knock ssh 192.0.2.4: refused fault
        "#]],
    );
}

#[test]
fn what_was_not_granted_is_refused() {
    check(
        "+0 open stranger 192.0.2.1
         +0 open brief 192.0.2.1 door=lamp
         +0 open knock 192.0.2.1 door=cellar
         +0 open knock 192.0.2.1 prefix=24
         +0 close stranger 192.0.2.1
         +0 open knock 192.0.2.1 prefix=32",
        expect![[r#"
            +0.0 stranger - 192.0.2.1: refused door-not-granted none was named, and the rule may open none
            +0.0 brief lamp 192.0.2.1: refused door-not-granted the rule's file names ssh
            +0.0 knock cellar 192.0.2.1: refused door-not-granted the rule's file names ssh, lamp, bell
            +0.0 knock ssh 192.0.2.1: refused client-not-granted a prefix around the source that door and rule do not both allow; to allow it, name its width as prefixes of both
            +0.0 stranger - 192.0.2.1: refused door-not-granted none was named, and the rule may open none
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
        "#]],
    );
}

#[test]
fn a_rule_closes_before_time_and_only_what_is_open() {
    check(
        "+0 close knock 192.0.2.1
         +1 open knock 192.0.2.1
         +2 close knock 192.0.2.2
         +3 close brief 192.0.2.1
         +4 close knock 192.0.2.1
         +30 end",
        expect![[r#"
            +1.0   -> ssh open 10s 192.0.2.1
            +1.0 knock ssh 192.0.2.1: opened 10s
            +3.0   -> ssh close 192.0.2.1
            +3.0 brief ssh 192.0.2.1: closed Asked
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn counts_as_open_only_when_the_door_says_so() {
    check(
        "+0 fail ssh
         +0 open knock 192.0.2.1
         +1 end
         +2 mend ssh
         +2 open knock 192.0.2.1",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: refused door-failed broken
            +1.0 end: 0 openings, settled true
            +2.0   -> ssh open 10s 192.0.2.1
            +2.0 knock ssh 192.0.2.1: opened 10s
        "#]],
    );
}

#[test]
fn a_door_that_keeps_the_time_is_left_to_it() {
    check(
        "+0 open knock 192.0.2.1 lasts=100
         +0 open knock 192.0.2.2
         +5 fail ssh
         +6 close knock 192.0.2.1
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 100s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 100s
            +0.0   -> ssh open 10s 192.0.2.2
            +0.0 knock ssh 192.0.2.2: opened 10s
            +6.0   -> ssh close 192.0.2.1
            +6.0 knock ssh 192.0.2.1: stuck open: broken, again in Some(1s)
            +7.0   -> ssh close 192.0.2.1
            +7.0 knock ssh 192.0.2.1: stuck open: broken, again in Some(2s)
            +9.0   -> ssh close 192.0.2.1
            +9.0 knock ssh 192.0.2.1: stuck open: broken, again in Some(4s)
            +10.0   -> ssh expire 192.0.2.2
            +10.0 knock ssh 192.0.2.2: closed Expired
            +13.0   -> ssh close 192.0.2.1
            +13.0 knock ssh 192.0.2.1: stuck open: broken, again in Some(8s)
            +21.0   -> ssh close 192.0.2.1
            +21.0 knock ssh 192.0.2.1: stuck open: broken, again in Some(16s)
            +37.0   -> ssh close 192.0.2.1
            +37.0 knock ssh 192.0.2.1: stuck open: broken, again in None
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_command_that_failed_to_open_is_closed_for_it_may_have_done_half() {
    check(
        "+0 fail lamp
         +0 open knock 192.0.2.1 door=lamp
         +0.5 mend lamp
         +30 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: refused door-failed broken
            +0.0   -> lamp close 192.0.2.1
            +0.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(1s)
            +1.0   -> lamp close 192.0.2.1
            +1.0 knock lamp 192.0.2.1: closed Failed
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_door_that_opens_another_has_an_opening_for_each_knock() {
    check(
        "+0 open knock 192.0.2.1 door=bell
         +4 open knock 192.0.2.1 door=bell
         +5 open knock 192.0.2.2 door=bell
         +11 open knock 192.0.2.1 door=bell
         +12 close knock 192.0.2.1 door=bell
         +30 end",
        expect![[r#"
            +0.0   -> bell open 10s 192.0.2.1
            +0.0   -> journal bell 10s 192.0.2.1
            +0.0 knock bell 192.0.2.1: opened 10s
            +4.0   -> bell open 10s 192.0.2.1
            +4.0   -> journal bell 10s 192.0.2.1
            +4.0 knock bell 192.0.2.1: opened 10s
            +5.0   -> bell open 10s 192.0.2.2
            +5.0   -> journal bell 10s 192.0.2.2
            +5.0 knock bell 192.0.2.2: opened 10s
            +10.0   -> bell close 192.0.2.1
            +10.0 knock bell 192.0.2.1: closed Expired
            +11.0   -> bell open 10s 192.0.2.1
            +11.0   -> journal bell 10s 192.0.2.1
            +11.0 knock bell 192.0.2.1: opened 10s
            +12.0   -> bell close 192.0.2.1
            +12.0   -> bell close 192.0.2.1
            +12.0 knock bell 192.0.2.1: closed Asked
            +12.0 knock bell 192.0.2.1: closed Asked
            +15.0   -> bell close 192.0.2.2
            +15.0 knock bell 192.0.2.2: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_a_slow_command_opens_is_open_for_its_time_from_when_the_command_ended() {
    check(
        "+0 delay 15
         +0 open knock 192.0.2.1 door=lamp
         +1 open knock 192.0.2.1 door=bell
         +2 open knock 192.0.2.1 door=lamp lasts=100
         +20 delay 0
         +200 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +1.0   -> bell open 10s 192.0.2.1
            +2.0   -> journal lamp 100s 192.0.2.1
            +2.0 knock lamp 192.0.2.1: extended 100s
            +15.0   -> journal lamp 87s 192.0.2.1
            +15.0 knock lamp 192.0.2.1: opened 87s
            +16.0   -> journal bell 10s 192.0.2.1
            +16.0 knock bell 192.0.2.1: opened 10s
            +26.0   -> bell close 192.0.2.1
            +26.0 knock bell 192.0.2.1: closed Expired
            +102.0   -> lamp close 192.0.2.1
            +102.0 knock lamp 192.0.2.1: closed Expired
            +200.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn an_extension_that_failed_gives_no_time() {
    check(
        "+0 open knock 192.0.2.1
         +5 fail ssh
         +5 open knock 192.0.2.1
         +6 mend ssh
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +5.0   -> ssh extend 10s 192.0.2.1
            +5.0 knock ssh 192.0.2.1: refused door-failed broken
            +10.0   -> ssh expire 192.0.2.1
            +10.0 knock ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn slow_doors_are_answered_for_in_any_order() {
    check(
        "+0 delay 3
         +0 open knock 192.0.2.1
         +1 open knock 192.0.2.1
         +2 close knock 192.0.2.1
         +2.5 open knock 192.0.2.1
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +1.0   -> ssh extend 10s 192.0.2.1
            +2.0   -> ssh close 192.0.2.1
            +2.5   -> ssh open 10s 192.0.2.1
            +3.0 knock ssh 192.0.2.1: opened 7s
            +4.0 knock ssh 192.0.2.1: extended 7s
            +5.0 knock ssh 192.0.2.1: closed Asked
            +5.5 knock ssh 192.0.2.1: opened 7s
            +12.5   -> ssh expire 192.0.2.1
            +15.5 knock ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_full_ledger_refuses_new_clients_and_still_extends_old_ones() {
    check(
        "+0 open knock 192.0.2.1
         +0 open knock 192.0.2.2
         +0 open knock 192.0.2.3
         +0 open knock 192.0.2.4
         +1 open knock 192.0.2.5
         +1 open knock 192.0.2.4
         +10 open knock 192.0.2.5",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +0.0   -> ssh open 10s 192.0.2.2
            +0.0 knock ssh 192.0.2.2: opened 10s
            +0.0   -> ssh open 10s 192.0.2.3
            +0.0 knock ssh 192.0.2.3: opened 10s
            +0.0   -> ssh open 10s 192.0.2.4
            +0.0 knock ssh 192.0.2.4: opened 10s
            +1.0 knock ssh 192.0.2.5: refused openings-full
            +1.0   -> ssh extend 10s 192.0.2.4
            +1.0 knock ssh 192.0.2.4: extended 10s
            +10.0   -> ssh expire 192.0.2.1
            +10.0   -> ssh expire 192.0.2.2
            +10.0   -> ssh expire 192.0.2.3
            +10.0 knock ssh 192.0.2.1: closed Expired
            +10.0 knock ssh 192.0.2.2: closed Expired
            +10.0 knock ssh 192.0.2.3: closed Expired
            +10.0   -> ssh open 10s 192.0.2.5
            +10.0 knock ssh 192.0.2.5: opened 10s
        "#]],
    );
}

#[test]
fn openings_outlive_a_reload_that_removes_their_door() {
    check(
        "+0 open knock 192.0.2.1
         +0 open knock 192.0.2.1 door=lamp
         +1 drop ssh
         +1 drop lamp
         +2 open knock 192.0.2.2 door=lamp
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +2.0 knock lamp 192.0.2.2: refused door-not-granted the rule's file names ssh, bell
            +10.0   -> ssh expire 192.0.2.1
            +10.0   -> lamp close 192.0.2.1
            +10.0 knock ssh 192.0.2.1: closed Expired
            +10.0 knock lamp 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_removed_door_that_keeps_the_time_is_left_to_its_own_clock() {
    check(
        "+0 open knock 192.0.2.1
         +1 drop ssh
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +10.0 knock ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_an_earlier_run_left_open_is_taken_over() {
    check(
        "+0 found ssh 192.0.2.1 5
         +1 open knock 192.0.2.1
         +2 found ssh 192.0.2.2 5
         +30 end",
        expect![[r#"
            +1.0   -> ssh extend 10s 192.0.2.1
            +1.0 knock ssh 192.0.2.1: extended 10s
            +7.0   -> ssh expire 192.0.2.2
            +7.0 - ssh 192.0.2.2: closed Expired
            +11.0   -> ssh expire 192.0.2.1
            +11.0 knock ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_an_earlier_run_could_not_close_is_closed_on_time() {
    check(
        "+0 inherited 192.0.2.1 5
         +1 drop ssh
         +30 end",
        expect![[r#"
            +5.0   -> old close 192.0.2.1
            +5.0 - old 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_somebody_flushed_is_put_back_for_the_time_that_is_left() {
    check(
        "+0 open knock 192.0.2.1
         +4 lost ssh 192.0.2.1
         +5 lost ssh 192.0.2.9
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +4.0   -> ssh open 6s 192.0.2.1
            +4.0 knock ssh 192.0.2.1: opened 6s
            +10.0   -> ssh expire 192.0.2.1
            +10.0 knock ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_cannot_be_put_back_now_is_put_back_later() {
    check(
        "+0 open knock 192.0.2.1
         +2 fail ssh
         +2 lost ssh 192.0.2.1
         +4 mend ssh
         +4 lost ssh 192.0.2.1
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +2.0   -> ssh open 8s 192.0.2.1
            +2.0 knock ssh 192.0.2.1: refused door-failed broken
            +4.0   -> ssh open 6s 192.0.2.1
            +4.0 knock ssh 192.0.2.1: opened 6s
            +10.0   -> ssh expire 192.0.2.1
            +10.0 knock ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_door_that_was_changed_is_still_the_door_that_was_opened() {
    check(
        "+0 open knock 192.0.2.1
         +0 open knock 192.0.2.2
         +1 change ssh
         +2 close knock 192.0.2.1
         +3 open knock 192.0.2.2
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +0.0   -> ssh open 10s 192.0.2.2
            +0.0 knock ssh 192.0.2.2: opened 10s
            +2.0   -> ssh close 192.0.2.1
            +2.0 knock ssh 192.0.2.1: closed Asked
            +3.0   -> ssh extend 10s 192.0.2.2
            +3.0 knock ssh 192.0.2.2: extended 10s
            +13.0   -> ssh expire 192.0.2.2
            +13.0 knock ssh 192.0.2.2: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn stopping_closes_what_nobody_else_would_and_opens_nothing() {
    check(
        "+0 open knock 192.0.2.1
         +0 open knock 192.0.2.1 door=lamp
         +1 stop
         +1 open knock 192.0.2.2
         +1 lost ssh 192.0.2.1
         +1 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +1.0   -> lamp close 192.0.2.1
            +1.0 knock lamp 192.0.2.1: closed Stopping
            +1.0 knock ssh 192.0.2.2: refused stopping
            +1.0 end: 1 openings, settled true
        "#]],
    );
}

/// Each counts from what is known, not from what an order before it was to bring about.
#[test]
fn extensions_that_fail_together_take_no_time_and_give_none() {
    check(
        "+0 open knock 192.0.2.1
         +1 delay 2
         +1 fail ssh
         +1 open knock 192.0.2.1 lasts=20
         +2 open knock 192.0.2.1
         +4 mend ssh
         +4 delay 0
         +11 end
         +20 open knock 192.0.2.2
         +20 delay 2
         +21 open knock 192.0.2.2 lasts=20
         +22 fail ssh
         +22 open knock 192.0.2.2 lasts=25
         +30 mend ssh
         +60 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +1.0   -> ssh extend 20s 192.0.2.1
            +2.0   -> ssh extend 19s 192.0.2.1
            +3.0 knock ssh 192.0.2.1: refused door-failed broken
            +4.0 knock ssh 192.0.2.1: refused door-failed broken
            +10.0   -> ssh expire 192.0.2.1
            +10.0 knock ssh 192.0.2.1: closed Expired
            +11.0 end: 0 openings, settled true
            +20.0   -> ssh open 10s 192.0.2.2
            +20.0 knock ssh 192.0.2.2: opened 10s
            +21.0   -> ssh extend 20s 192.0.2.2
            +22.0   -> ssh extend 25s 192.0.2.2
            +23.0 knock ssh 192.0.2.2: extended 18s
            +24.0 knock ssh 192.0.2.2: refused door-failed broken
            +41.0   -> ssh expire 192.0.2.2
            +43.0 knock ssh 192.0.2.2: closed Expired
            +60.0 end: 0 openings, settled true
        "#]],
    );
}
