//! One door open for one client, because rules of several tenants opened it.

use expect_test::expect;

use crate::world::check;

#[test]
fn each_has_a_door_open_for_its_own_time_and_hears_of_nobody_else() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=60
         +5 open b/knock 192.0.2.1
         +6 doors a b
         +7 open b/knock 192.0.2.1
         +20 doors a b
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 60s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 60s
            +5.0   -> ssh extend 55s 192.0.2.1
            +5.0 b/knock ssh 192.0.2.1: opened 10s
            +6.0 a sees ssh 192.0.2.1 by a/knock: since Some(6s), 54s left
            +6.0 b sees ssh 192.0.2.1 by b/knock: since Some(1s), 9s left
            +7.0   -> ssh extend 53s 192.0.2.1
            +7.0 b/knock ssh 192.0.2.1: extended 10s
            +17.0 b/knock ssh 192.0.2.1: closed Expired
            +20.0 a sees ssh 192.0.2.1 by a/knock: since Some(20s), 40s left
            +60.0   -> ssh expire 192.0.2.1
            +60.0 a/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn the_shorter_time_is_no_longer_because_of_the_longer() {
    check(
        "+0 open a/knock 192.0.2.1
         +2 open b/knock 192.0.2.1 lasts=60
         +3 open a/knock 192.0.2.1
         +30 doors a b
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 10s
            +2.0   -> ssh extend 60s 192.0.2.1
            +2.0 b/knock ssh 192.0.2.1: opened 60s
            +3.0   -> ssh extend 59s 192.0.2.1
            +3.0 a/knock ssh 192.0.2.1: extended 10s
            +13.0 a/knock ssh 192.0.2.1: closed Expired
            +30.0 b sees ssh 192.0.2.1 by b/knock: since Some(28s), 32s left
            +62.0   -> ssh expire 192.0.2.1
            +62.0 b/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn whoever_closes_closes_its_own_and_the_door_is_open_no_longer_than_the_others_asked() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=60
         +1 open b/knock 192.0.2.1
         +2 close a/knock 192.0.2.1
         +3 doors a b
         +4 close a/knock 192.0.2.1
         +5 close b/knock 192.0.2.1
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 60s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 60s
            +1.0   -> ssh extend 59s 192.0.2.1
            +1.0 b/knock ssh 192.0.2.1: opened 10s
            +2.0   -> ssh extend 9s 192.0.2.1
            +2.0 a/knock ssh 192.0.2.1: closed Asked
            +3.0 b sees ssh 192.0.2.1 by b/knock: since Some(2s), 8s left
            +5.0   -> ssh close 192.0.2.1
            +5.0 b/knock ssh 192.0.2.1: closed Asked
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn the_host_closes_for_all_and_each_hears_that_of_its_own() {
    check(
        "+0 open a/knock 192.0.2.1
         +1 open b/knock 192.0.2.1
         +2 close knock 192.0.2.1
         +3 open brief 192.0.2.1
         +4 open a/knock 192.0.2.1
         +5 close knock 192.0.2.1
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 10s
            +1.0   -> ssh extend 10s 192.0.2.1
            +1.0 b/knock ssh 192.0.2.1: opened 10s
            +2.0   -> ssh close 192.0.2.1
            +2.0 a/knock ssh 192.0.2.1: closed Asked
            +2.0 b/knock ssh 192.0.2.1: closed Asked
            +3.0   -> ssh open 3s 192.0.2.1
            +3.0 brief ssh 192.0.2.1: opened 3s
            +4.0   -> ssh extend 10s 192.0.2.1
            +4.0 a/knock ssh 192.0.2.1: opened 10s
            +5.0   -> ssh close 192.0.2.1
            +5.0 knock ssh 192.0.2.1: closed Asked
            +5.0 a/knock ssh 192.0.2.1: closed Asked
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_tenant_does_not_close_what_is_not_its_own_and_hears_what_may_be() {
    check(
        "+0 open knock 192.0.2.1
         +1 close a/knock 192.0.2.1
         +2 found ssh 192.0.2.2 30
         +3 close a/knock 192.0.2.2
         +4 open a/knock 192.0.2.2
         +5 close a/knock 192.0.2.2
         +6 end
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +3.0 a/knock ssh 192.0.2.2: refused not-its-own
            +4.0   -> ssh extend 28s 192.0.2.2
            +4.0 a/knock ssh 192.0.2.2: opened 10s
            +5.0   -> ssh extend 27s 192.0.2.2
            +5.0 a/knock ssh 192.0.2.2: closed Asked
            +6.0 end: 2 openings, settled true
            +10.0   -> ssh expire 192.0.2.1
            +10.0 knock ssh 192.0.2.1: closed Expired
            +32.0   -> ssh expire 192.0.2.2
            +32.0 - ssh 192.0.2.2: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_a_command_opened_is_closed_when_the_last_has_it_open_no_more() {
    check(
        "+0 open a/knock 192.0.2.1 door=lamp
         +1 open b/knock 192.0.2.1 door=lamp lasts=60
         +2 doors a b
         +20 doors a b
         +21 open a/knock 192.0.2.1 door=lamp lasts=100
         +22 close b/knock 192.0.2.1 door=lamp
         +23 open b/knock 192.0.2.1 door=lamp
         +24 close a/knock 192.0.2.1 door=lamp
         +90 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 a/knock lamp 192.0.2.1: opened 10s
            +1.0   -> journal lamp 60s 192.0.2.1
            +1.0 b/knock lamp 192.0.2.1: opened 60s
            +2.0 a sees lamp 192.0.2.1 by a/knock: since Some(2s), 8s left
            +2.0 b sees lamp 192.0.2.1 by b/knock: since Some(1s), 59s left
            +10.0 a/knock lamp 192.0.2.1: closed Expired
            +20.0 b sees lamp 192.0.2.1 by b/knock: since Some(19s), 41s left
            +21.0   -> journal lamp 100s 192.0.2.1
            +21.0 a/knock lamp 192.0.2.1: opened 100s
            +22.0   -> journal lamp 99s 192.0.2.1
            +22.0 b/knock lamp 192.0.2.1: closed Asked
            +23.0   -> journal lamp 98s 192.0.2.1
            +23.0 b/knock lamp 192.0.2.1: opened 10s
            +24.0   -> journal lamp 9s 192.0.2.1
            +24.0 a/knock lamp 192.0.2.1: closed Asked
            +33.0   -> lamp close 192.0.2.1
            +33.0 b/knock lamp 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn each_has_what_a_slow_command_opens_from_when_that_has_ended() {
    check(
        "+0 delay 5
         +0 open a/knock 192.0.2.1 door=lamp
         +1 open b/knock 192.0.2.1 door=lamp lasts=60
         +2 close a/knock 192.0.2.1 door=lamp
         +3 open a/knock 192.0.2.1 door=lamp lasts=1
         +90 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +1.0   -> journal lamp 60s 192.0.2.1
            +2.0   -> journal lamp 59s 192.0.2.1
            +2.0 a/knock lamp 192.0.2.1: closed Asked
            +3.0   -> journal lamp 58s 192.0.2.1
            +5.0   -> journal lamp 60s 192.0.2.1
            +5.0 a/knock lamp 192.0.2.1: opened 1s
            +5.0 b/knock lamp 192.0.2.1: opened 60s
            +6.0 a/knock lamp 192.0.2.1: closed Expired
            +65.0   -> lamp close 192.0.2.1
            +70.0 b/knock lamp 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_command_that_fails_is_refused_to_each() {
    check(
        "+0 delay 5
         +0 fail lamp
         +0 open a/knock 192.0.2.1 door=lamp
         +1 open b/knock 192.0.2.1 door=lamp
         +6 mend lamp
         +90 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +1.0   -> journal lamp 10s 192.0.2.1
            +5.0 a/knock lamp 192.0.2.1: refused door-failed broken
            +5.0 b/knock lamp 192.0.2.1: refused door-failed broken
            +5.0   -> lamp close 192.0.2.1
            +10.0 a/knock lamp 192.0.2.1: stuck open: broken, again in Some(1s)
            +10.0 b/knock lamp 192.0.2.1: stuck open: broken, again in Some(1s)
            +11.0   -> lamp close 192.0.2.1
            +16.0 a/knock lamp 192.0.2.1: closed Failed
            +16.0 b/knock lamp 192.0.2.1: closed Failed
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn an_order_that_fails_leaves_each_what_it_had() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=30
         +1 fail ssh
         +1 open b/knock 192.0.2.1 lasts=60
         +2 open a/knock 192.0.2.1 lasts=60
         +3 doors a b
         +3 mend ssh
         +4 open b/knock 192.0.2.1 lasts=60
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 30s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 30s
            +1.0   -> ssh extend 60s 192.0.2.1
            +1.0 b/knock ssh 192.0.2.1: refused door-failed broken
            +2.0   -> ssh extend 60s 192.0.2.1
            +2.0 a/knock ssh 192.0.2.1: refused door-failed broken
            +3.0 a sees ssh 192.0.2.1 by a/knock: since Some(3s), 27s left
            +4.0   -> ssh extend 60s 192.0.2.1
            +4.0 b/knock ssh 192.0.2.1: opened 60s
            +30.0 a/knock ssh 192.0.2.1: closed Expired
            +64.0   -> ssh expire 192.0.2.1
            +64.0 b/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_could_not_be_made_shorter_is_closed_at_its_end_and_not_left_to_its_clock() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=60
         +1 open b/knock 192.0.2.1
         +2 fail ssh
         +2 close a/knock 192.0.2.1
         +12 mend ssh
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 60s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 60s
            +1.0   -> ssh extend 59s 192.0.2.1
            +1.0 b/knock ssh 192.0.2.1: opened 10s
            +2.0   -> ssh extend 9s 192.0.2.1
            +2.0 a/knock ssh 192.0.2.1: closed Asked
            +11.0   -> ssh close 192.0.2.1
            +11.0 b/knock ssh 192.0.2.1: stuck open: broken, again in Some(1s)
            +12.0   -> ssh close 192.0.2.1
            +12.0 b/knock ssh 192.0.2.1: stuck open: broken, again in Some(2s)
            +14.0   -> ssh close 192.0.2.1
            +14.0 b/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn orders_under_way_are_answered_to_whom_they_were_for() {
    check(
        "+0 delay 3
         +0 open a/knock 192.0.2.1 lasts=30
         +1 open b/knock 192.0.2.1 lasts=20
         +2 close a/knock 192.0.2.1
         +2.5 open a/knock 192.0.2.1
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 30s 192.0.2.1
            +1.0   -> ssh extend 29s 192.0.2.1
            +2.0   -> ssh extend 19s 192.0.2.1
            +2.5   -> ssh extend 18.5s 192.0.2.1
            +3.0 a/knock ssh 192.0.2.1: opened 27s
            +4.0 b/knock ssh 192.0.2.1: opened 17s
            +5.0 a/knock ssh 192.0.2.1: closed Asked
            +5.5 a/knock ssh 192.0.2.1: opened 7s
            +12.5 a/knock ssh 192.0.2.1: closed Expired
            +21.0   -> ssh expire 192.0.2.1
            +24.0 b/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_is_being_closed_for_one_is_opened_for_another() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=60
         +1 delay 3
         +1 close a/knock 192.0.2.1
         +2 open b/knock 192.0.2.1
         +6 doors a b
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 60s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 60s
            +1.0   -> ssh close 192.0.2.1
            +2.0   -> ssh open 10s 192.0.2.1
            +4.0 a/knock ssh 192.0.2.1: closed Asked
            +5.0 b/knock ssh 192.0.2.1: opened 7s
            +6.0 b sees ssh 192.0.2.1 by b/knock: since Some(1s), 6s left
            +12.0   -> ssh expire 192.0.2.1
            +15.0 b/knock ssh 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_one_may_not_have_any_more_is_not_recorded_for_it_alone() {
    check(
        "+0 records 3
         +0 open a/knock 192.0.2.1 door=lamp
         +1 open b/knock 192.0.2.1 door=lamp
         +2 revoke a/knock
         +4 doors a b
         +4 revoke b/knock
         +5 open a/knock 192.0.2.2 door=lamp
         +6 close a/knock 192.0.2.2 door=lamp
         +90 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +1.0   -> journal lamp 10s 192.0.2.1
            +3.0 a/knock lamp 192.0.2.1: refused outdated
            +3.0   -> lamp open 10s 192.0.2.1
            +3.0   -> journal lamp 10s 192.0.2.1
            +3.0 b/knock lamp 192.0.2.1: opened 10s
            +4.0 b sees lamp 192.0.2.1 by b/knock: since Some(1s), 9s left
            +5.0   -> record lamp 10s 192.0.2.2
            +6.0 a/knock lamp 192.0.2.2: closed Asked
            +8.0   -> journal struck out 192.0.2.2
            +13.0   -> lamp close 192.0.2.1
            +13.0 b/knock lamp 192.0.2.1: closed Expired
            +90.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_was_lost_is_open_again_for_all() {
    check(
        "+0 open a/knock 192.0.2.1 lasts=60
         +1 open b/knock 192.0.2.1
         +2 lost ssh 192.0.2.1
         +3 doors a b
         +4 removed ssh 192.0.2.1
         +90 end",
        expect![[r#"
            +0.0   -> ssh open 60s 192.0.2.1
            +0.0 a/knock ssh 192.0.2.1: opened 60s
            +1.0   -> ssh extend 59s 192.0.2.1
            +1.0 b/knock ssh 192.0.2.1: opened 10s
            +2.0   -> ssh open 58s 192.0.2.1
            +2.0 a/knock ssh 192.0.2.1: opened 58s
            +2.0 b/knock ssh 192.0.2.1: opened 9s
            +3.0 a sees ssh 192.0.2.1 by a/knock: since Some(1s), 57s left
            +3.0 b sees ssh 192.0.2.1 by b/knock: since Some(1s), 8s left
            +4.0 a/knock ssh 192.0.2.1: closed Removed
            +4.0 b/knock ssh 192.0.2.1: closed Removed
            +90.0 end: 0 openings, settled true
        "#]],
    );
}
