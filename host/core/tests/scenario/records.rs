//! What only a command can close is recorded before it is opened.

use expect_test::expect;

use crate::world::check;

#[test]
fn an_opening_is_ordered_when_it_is_recorded_and_its_time_begins_when_it_is_open() {
    check(
        "+0 records 2
         +0 delay 1
         +0 open knock 192.0.2.1 door=lamp
         +1 end
         +12.9 end
         +13 end
         +20 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +1.0 end: 1 openings, settled false
            +2.0   -> lamp open 10s 192.0.2.1
            +3.0   -> journal lamp 10s 192.0.2.1
            +3.0 knock lamp 192.0.2.1: opened 10s
            +12.9 end: 1 openings, settled true
            +13.0   -> lamp close 192.0.2.1
            +13.0 end: 1 openings, settled false
            +14.0 knock lamp 192.0.2.1: closed Expired
            +20.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn nothing_is_ordered_that_could_not_be_recorded() {
    check(
        "+0 records 2
         +0 full
         +0 open knock 192.0.2.1 door=lamp
         +3 end
         +3 empty
         +3 open knock 192.0.2.1 door=lamp
         +6 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +2.0 knock lamp 192.0.2.1: refused not-recorded nothing was run, since full
            +3.0 end: 0 openings, settled true
            +3.0   -> record lamp 10s 192.0.2.1
            +5.0   -> lamp open 10s 192.0.2.1
            +5.0   -> journal lamp 10s 192.0.2.1
            +5.0 knock lamp 192.0.2.1: opened 10s
            +6.0 end: 1 openings, settled true
        "#]],
    );
}

#[test]
fn a_door_of_knockds_is_opened_all_the_same() {
    check(
        "+0 records 1
         +0 full
         +0 open knock 192.0.2.1 door=bell
         +2 end
         +20 end",
        expect![[r#"
            +0.0   -> record bell 10s 192.0.2.1
            +1.0 - bell 192.0.2.1: not recorded: full
            +1.0   -> bell open 10s 192.0.2.1
            +1.0   -> journal bell 10s 192.0.2.1
            +1.0 knock bell 192.0.2.1: opened 10s
            +2.0 end: 1 openings, settled true
            +11.0   -> bell close 192.0.2.1
            +11.0 knock bell 192.0.2.1: closed Expired
            +20.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_door_that_keeps_the_time_is_not_recorded() {
    check(
        "+0 records never
         +0 open knock 192.0.2.1
         +20 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +10.0   -> ssh expire 192.0.2.1
            +10.0 knock ssh 192.0.2.1: closed Expired
            +20.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_record_that_is_answered_too_late_or_never_opens_nothing() {
    check(
        "+0 records 10
         +0 open knock 192.0.2.1 door=lamp
         +1 records 12
         +1 open knock 192.0.2.2 door=bell
         +10 end
         +12 records never
         +12 open knock 192.0.2.3 door=lamp
         +30 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +1.0   -> record bell 10s 192.0.2.2
            +10.0 knock lamp 192.0.2.1: refused not-recorded nothing was run, since how to close it was not recorded in time
            +10.0   -> journal struck out 192.0.2.1
            +10.0 end: 1 openings, settled false
            +11.0 knock bell 192.0.2.2: refused not-recorded nothing was run, since how to close it was not recorded in time
            +12.0   -> record lamp 10s 192.0.2.3
            +13.0   -> journal struck out 192.0.2.2
            +22.0 knock lamp 192.0.2.3: refused not-recorded nothing was run, since how to close it was not recorded in time
            +30.0 end: 0 openings, settled false
        "#]],
    );
}

#[test]
fn a_close_meanwhile_takes_it_back() {
    check(
        "+0 records 2
         +0 open knock 192.0.2.1 door=lamp
         +0 open knock 192.0.2.1 door=bell
         +0 open knock 192.0.2.1 door=bell
         +1 close knock 192.0.2.1 door=lamp
         +1 close knock 192.0.2.1 door=bell
         +1 end
         +3 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +0.0   -> record bell 10s 192.0.2.1
            +0.0   -> record bell 10s 192.0.2.1
            +1.0 knock lamp 192.0.2.1: closed Asked
            +1.0 knock bell 192.0.2.1: closed Asked
            +1.0 knock bell 192.0.2.1: closed Asked
            +1.0 end: 0 openings, settled false
            +2.0   -> journal struck out 192.0.2.1
            +2.0   -> journal struck out 192.0.2.1
            +2.0   -> journal struck out 192.0.2.1
            +3.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_is_asked_for_again_after_it_was_taken_back_has_a_record_of_its_own() {
    check(
        "+0 records 2
         +0 open knock 192.0.2.1 door=lamp
         +0 close knock 192.0.2.1 door=lamp
         +1 open knock 192.0.2.1 door=lamp
         +2.5 end
         +4 end
         +20 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: closed Asked
            +1.0   -> record lamp 10s 192.0.2.1
            +2.5 end: 1 openings, settled false
            +3.0   -> lamp open 10s 192.0.2.1
            +3.0   -> journal lamp 10s 192.0.2.1
            +3.0 knock lamp 192.0.2.1: opened 10s
            +4.0 end: 1 openings, settled true
            +13.0   -> lamp close 192.0.2.1
            +13.0 knock lamp 192.0.2.1: closed Expired
            +20.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn opening_again_meanwhile_extends() {
    check(
        "+0 records 2
         +0 open knock 192.0.2.1 door=lamp
         +1 open knock 192.0.2.1 door=lamp lasts=30
         +1 open knock 192.0.2.1 door=lamp lasts=3
         +3 end
         +40 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +1.0   -> journal lamp 30s 192.0.2.1
            +1.0 knock lamp 192.0.2.1: extended 30s
            +1.0   -> journal lamp 30s 192.0.2.1
            +1.0 knock lamp 192.0.2.1: extended 30s
            +2.0   -> lamp open 30s 192.0.2.1
            +2.0   -> journal lamp 30s 192.0.2.1
            +2.0 knock lamp 192.0.2.1: opened 30s
            +3.0 end: 1 openings, settled true
            +32.0   -> lamp close 192.0.2.1
            +32.0 knock lamp 192.0.2.1: closed Expired
            +40.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_reload_that_revokes_the_rule_or_drops_the_door_strikes_it_out() {
    check(
        "+0 records 2
         +0 open knock 192.0.2.1 door=lamp
         +1 revoke knock
         +3 end
         +4 reload
         +4 open knock 192.0.2.1 door=lamp
         +5 drop lamp
         +7 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +2.0 knock lamp 192.0.2.1: refused outdated
            +2.0   -> journal struck out 192.0.2.1
            +3.0 end: 0 openings, settled true
            +4.0   -> record lamp 10s 192.0.2.1
            +6.0 knock lamp 192.0.2.1: refused outdated
            +6.0   -> journal struck out 192.0.2.1
            +7.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_is_recorded_opens_over_reloads_that_change_nothing_for_its_rule() {
    check(
        "+0 records 2
         +0 open knock 192.0.2.1 door=lamp
         +1 reload
         +3 end
         +4 open knock 192.0.2.2 door=lamp
         +5 reload
         +5 reload
         +7 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +2.0   -> lamp open 10s 192.0.2.1
            +2.0   -> journal lamp 10s 192.0.2.1
            +2.0 knock lamp 192.0.2.1: opened 10s
            +3.0 end: 1 openings, settled true
            +4.0   -> record lamp 10s 192.0.2.2
            +6.0   -> lamp open 10s 192.0.2.2
            +6.0   -> journal lamp 10s 192.0.2.2
            +6.0 knock lamp 192.0.2.2: opened 10s
            +7.0 end: 2 openings, settled true
        "#]],
    );
}

#[test]
fn a_rule_whose_file_is_gone_opens_nothing_that_was_being_recorded() {
    check(
        "+0 records 2
         +0 open knock 192.0.2.1 door=lamp
         +1 gone knock
         +3 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +1.0 knock: withdrawn
            +2.0 knock lamp 192.0.2.1: refused withdrawn
            +2.0   -> journal struck out 192.0.2.1
            +3.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn while_it_is_being_recorded_a_stop_opens_nothing_and_waits_for_the_answer() {
    check(
        "+0 records 2
         +0 open knock 192.0.2.1 door=lamp
         +1 stop
         +1 end
         +3 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +1.0 knock lamp 192.0.2.1: refused stopping
            +1.0 end: 0 openings, settled false
            +2.0   -> journal struck out 192.0.2.1
            +3.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_could_not_be_closed_and_is_opened_again_is_closed_if_that_is_refused() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +1 fail lamp
         +10.5 records 2
         +10.5 open knock 192.0.2.1 door=lamp
         +11 mend lamp
         +11.5 revoke knock
         +13 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +10.0   -> lamp close 192.0.2.1
            +10.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(1s)
            +10.5   -> record lamp 10s 192.0.2.1
            +12.5 knock lamp 192.0.2.1: refused outdated
            +12.5   -> lamp close 192.0.2.1
            +12.5 knock lamp 192.0.2.1: closed Expired
            +13.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_was_being_closed_is_recorded_after_that_and_then_withdrawn_without_a_command() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +1 delay 2
         +1 records 4
         +10.5 open knock 192.0.2.1 door=lamp
         +13 close knock 192.0.2.1 door=lamp
         +13 end
         +15 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +10.0   -> lamp close 192.0.2.1
            +10.5   -> record lamp 10s 192.0.2.1
            +12.0 knock lamp 192.0.2.1: closed Expired
            +13.0 knock lamp 192.0.2.1: closed Asked
            +13.0 end: 0 openings, settled false
            +14.5   -> journal struck out 192.0.2.1
            +15.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_close_that_failed_before_is_done_again_when_it_is_asked_for_meanwhile() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +1 fail lamp
         +10.5 records 2
         +10.5 open knock 192.0.2.1 door=lamp
         +11 mend lamp
         +11 close knock 192.0.2.1 door=lamp
         +13 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
            +0.0   -> journal lamp 10s 192.0.2.1
            +0.0 knock lamp 192.0.2.1: opened 10s
            +10.0   -> lamp close 192.0.2.1
            +10.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(1s)
            +10.5   -> record lamp 10s 192.0.2.1
            +11.0   -> lamp close 192.0.2.1
            +11.0 knock lamp 192.0.2.1: closed Asked
            +12.5   -> journal struck out 192.0.2.1
            +13.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_is_being_recorded_has_its_place_in_the_ledger() {
    check(
        "+0 records 2
         +0 open knock 192.0.2.1 door=lamp
         +0 open knock 192.0.2.2 door=lamp
         +0 open knock 192.0.2.3 door=lamp
         +0 open knock 192.0.2.4 door=lamp
         +0 open knock 192.0.2.5 door=lamp
         +0 open knock 192.0.2.5
         +3 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +0.0   -> record lamp 10s 192.0.2.2
            +0.0   -> record lamp 10s 192.0.2.3
            +0.0   -> record lamp 10s 192.0.2.4
            +0.0 knock lamp 192.0.2.5: refused openings-full
            +0.0 knock ssh 192.0.2.5: refused openings-full
            +2.0   -> lamp open 10s 192.0.2.1
            +2.0   -> lamp open 10s 192.0.2.2
            +2.0   -> lamp open 10s 192.0.2.3
            +2.0   -> lamp open 10s 192.0.2.4
            +2.0   -> journal lamp 10s 192.0.2.1
            +2.0 knock lamp 192.0.2.1: opened 10s
            +2.0   -> journal lamp 10s 192.0.2.2
            +2.0 knock lamp 192.0.2.2: opened 10s
            +2.0   -> journal lamp 10s 192.0.2.3
            +2.0 knock lamp 192.0.2.3: opened 10s
            +2.0   -> journal lamp 10s 192.0.2.4
            +2.0 knock lamp 192.0.2.4: opened 10s
            +3.0 end: 4 openings, settled true
        "#]],
    );
}

#[test]
fn records_nobody_answers_are_bounded_and_keep_no_other_door_from_opening() {
    check(
        "+0 records never
         +0 open knock 192.0.2.1 door=lamp
         +0 open knock 192.0.2.2 door=lamp
         +0 open knock 192.0.2.3 door=lamp
         +0 open knock 192.0.2.4 door=lamp
         +11 open knock 192.0.2.5 door=lamp
         +11 open knock 192.0.2.5
         +12 end",
        expect![[r#"
            +0.0   -> record lamp 10s 192.0.2.1
            +0.0   -> record lamp 10s 192.0.2.2
            +0.0   -> record lamp 10s 192.0.2.3
            +0.0   -> record lamp 10s 192.0.2.4
            +10.0 knock lamp 192.0.2.1: refused not-recorded nothing was run, since how to close it was not recorded in time
            +10.0 knock lamp 192.0.2.2: refused not-recorded nothing was run, since how to close it was not recorded in time
            +10.0 knock lamp 192.0.2.3: refused not-recorded nothing was run, since how to close it was not recorded in time
            +10.0 knock lamp 192.0.2.4: refused not-recorded nothing was run, since how to close it was not recorded in time
            +11.0 knock lamp 192.0.2.5: refused openings-full
            +11.0   -> ssh open 10s 192.0.2.5
            +11.0 knock ssh 192.0.2.5: opened 10s
            +12.0 end: 1 openings, settled false
        "#]],
    );
}
