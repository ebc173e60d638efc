//! What somebody else takes out of a set is closed, and stays so; what the door's own clock closes has expired.

use expect_test::expect;

use crate::world::check;

#[test]
fn what_somebody_else_removed_is_closed_and_can_be_opened_again() {
    check(
        "+0 open knock 192.0.2.1
         +1 removed ssh 192.0.2.1
         +1 removed ssh 192.0.2.9
         +2 end
         +3 open knock 192.0.2.1
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +1.0 knock ssh 192.0.2.1: closed Removed
            +2.0 end: 0 openings, settled true
            +3.0   -> ssh open 10s 192.0.2.1
            +3.0 knock ssh 192.0.2.1: opened 10s
            +13.0   -> ssh expire 192.0.2.1
            +13.0 knock ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn an_order_that_has_no_answer_yet_decides_itself() {
    check(
        "+0 delay 2
         +0 open knock 192.0.2.1
         +1 removed ssh 192.0.2.1
         +3 open knock 192.0.2.1
         +4 removed ssh 192.0.2.1
         +6 close knock 192.0.2.1
         +7 removed ssh 192.0.2.1
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +2.0 knock ssh 192.0.2.1: opened 8s
            +3.0   -> ssh extend 10s 192.0.2.1
            +5.0 knock ssh 192.0.2.1: extended 8s
            +6.0   -> ssh close 192.0.2.1
            +8.0 knock ssh 192.0.2.1: closed Asked
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_is_due_within_a_second_is_left_to_its_deadline() {
    check(
        "+0 open knock 192.0.2.1
         +9 removed ssh 192.0.2.1
         +9.5 end
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +9.5 end: 1 openings, settled true
            +10.0   -> ssh expire 192.0.2.1
            +10.0 knock ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_could_not_be_put_back_was_not_removed_by_anybody() {
    check(
        "+0 open knock 192.0.2.1
         +2 fail ssh
         +2 lost ssh 192.0.2.1
         +3 mend ssh
         +3 removed ssh 192.0.2.1
         +4 removed ssh 192.0.2.1
         +30 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +2.0   -> ssh open 8s 192.0.2.1
            +2.0 knock ssh 192.0.2.1: refused door-failed broken
            +3.0   -> ssh open 7s 192.0.2.1
            +3.0 knock ssh 192.0.2.1: opened 7s
            +4.0 knock ssh 192.0.2.1: closed Removed
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_is_open_at_a_door_that_was_taken_away_is_left_to_its_clock_whatever_is_listed() {
    check(
        "+0 open knock 192.0.2.1
         +1 drop ssh
         +2 removed ssh 192.0.2.1
         +2 lost ssh 192.0.2.1
         +2 end
         +10 found ssh 192.0.2.1 5
         +10 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +2.0 end: 1 openings, settled true
            +10.0 knock ssh 192.0.2.1: closed Expired
            +10.0 end: 0 openings, settled true
        "#]],
    );
}
