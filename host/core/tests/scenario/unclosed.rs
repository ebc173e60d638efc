//! Doors that only a command closes, when it fails, or when the door was never touched.

use expect_test::expect;

use crate::world::check;

#[test]
fn a_command_that_does_not_close_its_door_is_tried_six_times_with_doubling_pauses() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +5 fail lamp
         +40 end
         +50 end
         +60 mend lamp
         +60 open knock 192.0.2.1 door=lamp
         +80 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +10.0   -> lamp close 192.0.2.1
            +10.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(1s)
            +11.0   -> lamp close 192.0.2.1
            +11.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(2s)
            +13.0   -> lamp close 192.0.2.1
            +13.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(4s)
            +17.0   -> lamp close 192.0.2.1
            +17.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(8s)
            +25.0   -> lamp close 192.0.2.1
            +25.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(16s)
            +40.0 end: 1 openings, settled true
            +41.0   -> lamp close 192.0.2.1
            +41.0   -> journal lamp kept 192.0.2.1
            +41.0 knock lamp 192.0.2.1: stuck open: broken, again in None
            +50.0 end: 0 openings, settled true
            +60.0   -> lamp open 10s 192.0.2.1
            +60.0   -> journal lamp 10s 192.0.2.1
            +60.0 knock lamp 192.0.2.1: opened 10s
            +70.0   -> lamp close 192.0.2.1
            +70.0 knock lamp 192.0.2.1: closed Expired
            +80.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_command_that_closes_at_last_is_told_and_forgotten() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +5 fail lamp
         +12 mend lamp
         +30 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +10.0   -> lamp close 192.0.2.1
            +10.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(1s)
            +11.0   -> lamp close 192.0.2.1
            +11.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(2s)
            +13.0   -> lamp close 192.0.2.1
            +13.0 knock lamp 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_stop_tries_to_close_once_and_waits_for_no_other_try() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +0 open knock 192.0.2.2 door=lamp lasts=5
         +1 fail lamp
         +6.5 stop
         +6.5 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +0.0   -> lamp open 5s 192.0.2.2
            +0.0   -> journal lamp 5s 192.0.2.2
            +0.0 knock lamp 192.0.2.2: opened 5s
            +5.0   -> lamp close 192.0.2.2
            +5.0 knock lamp 192.0.2.2: stuck open: broken, again in Some(1s)
            +6.0   -> lamp close 192.0.2.2
            +6.0 knock lamp 192.0.2.2: stuck open: broken, again in Some(2s)
            +6.5   -> lamp close 192.0.2.1
            +6.5   -> lamp close 192.0.2.2
            +6.5   -> journal lamp kept 192.0.2.1
            +6.5 knock lamp 192.0.2.1: stuck open: broken, again in None
            +6.5   -> journal lamp kept 192.0.2.2
            +6.5 knock lamp 192.0.2.2: stuck open: broken, again in None
            +6.5 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_close_under_way_at_a_stop_is_its_try() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +1 fail lamp
         +1 delay 3
         +12 stop
         +14 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +10.0   -> lamp close 192.0.2.1
            +13.0   -> journal lamp kept 192.0.2.1
            +13.0 knock lamp 192.0.2.1: stuck open: broken, again in None
            +14.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_could_not_be_written_down_was_not_opened_and_is_not_closed() {
    check(
        "+0 full
         +0 open knock 192.0.2.1 door=lamp
         +1 end
         +2 empty
         +2 open knock 192.0.2.1 door=lamp
         +3 full
         +4 open knock 192.0.2.1 door=lamp
         +30 end",
        expect![[r#"
            +0.0 knock lamp 192.0.2.1: refused not-recorded nothing was run, since full
            +1.0 end: 0 openings, settled true
            +2.0   -> lamp open 10s 192.0.2.1
            +2.0   -> journal lamp 10s 192.0.2.1
            +2.0 knock lamp 192.0.2.1: opened 10s
            +4.0   -> journal lamp 10s 192.0.2.1
            +4.0 knock lamp 192.0.2.1: extended 10s
            +14.0   -> lamp close 192.0.2.1
            +14.0 knock lamp 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_door_of_an_earlier_run_that_does_not_close_is_kept_for_the_next() {
    check(
        "+0 fail old
         +0 inherited 192.0.2.1 0
         +60 end",
        expect![[r#"
            +0.0   -> old close 192.0.2.1
            +0.0 - old 192.0.2.1: stuck open: broken, again in Some(1s)
            +1.0   -> old close 192.0.2.1
            +1.0 - old 192.0.2.1: stuck open: broken, again in Some(2s)
            +3.0   -> old close 192.0.2.1
            +3.0 - old 192.0.2.1: stuck open: broken, again in Some(4s)
            +7.0   -> old close 192.0.2.1
            +7.0 - old 192.0.2.1: stuck open: broken, again in Some(8s)
            +15.0   -> old close 192.0.2.1
            +15.0 - old 192.0.2.1: stuck open: broken, again in Some(16s)
            +31.0   -> old close 192.0.2.1
            +31.0   -> journal  kept 192.0.2.1
            +31.0 - old 192.0.2.1: stuck open: broken, again in None
            +60.0 end: 0 openings, settled true
        "#]],
    );
}

/// One opening is closed once, whatever is asked while its command runs.
#[test]
fn a_close_under_way_is_not_ordered_again() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +1 delay 3
         +1 records 5
         +10 end
         +11 open knock 192.0.2.1 door=lamp
         +12 close knock 192.0.2.1 door=lamp
         +20 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +10.0   -> lamp close 192.0.2.1
            +10.0 end: 1 openings, settled false
            +11.0   -> record lamp 10s 192.0.2.1
            +13.0 knock lamp 192.0.2.1: closed Expired
            +16.0   -> journal struck out 192.0.2.1
            +20.0 end: 0 openings, settled true
        "#]],
    );
}
