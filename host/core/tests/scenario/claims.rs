//! One-time tokens and counters: an opening waits until they are used up for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use postern_core::{
    Action, Again, Claim, ClaimError, Client, DoorId, DoorPolicy, DropReason, Durability, Engine, Event,
    Grant, Moment, Once, OpenRequest, Policy, Report, Request, RuleId, TenantId, What,
};

use crate::world::check;

#[test]
fn a_token_opens_once_and_a_counter_must_grow() {
    check(
        "+0 open knock 192.0.2.1 token=a
         +1 open knock 192.0.2.2 token=a
         +2 open knock 192.0.2.2 counter=5
         +3 open knock 192.0.2.2 counter=5",
        expect![[r#"
            +0.0   -> claim knock token a
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +1.0   -> claim knock token a
            +1.0 knock ssh 192.0.2.2: refused already-used
            +2.0   -> claim knock counter 5
            +2.0   -> ssh open 10s 192.0.2.2
            +2.0 knock ssh 192.0.2.2: opened 10s
            +3.0   -> claim knock counter 5
            +3.0 knock ssh 192.0.2.2: refused already-used
        "#]],
    );
}

#[test]
fn nothing_is_used_up_for_what_is_refused_anyway() {
    check(
        "+0 open knock 192.0.2.9 door=cellar token=a
         +0 open knock 192.0.2.9 lasts=0 token=a
         +0 open knock 192.0.2.9 prefix=24 token=a
         +1 open knock 192.0.2.3 token=a",
        expect![[r#"
            +0.0 knock cellar 192.0.2.9: refused door-not-granted the rule's file names ssh, lamp, bell
            +0.0 knock ssh 192.0.2.9: refused fault
            +0.0 knock ssh 192.0.2.9: refused client-not-granted a prefix around the source that door and rule do not both allow; to allow it, name its width as prefixes of both
            +1.0   -> claim knock token a
            +1.0   -> ssh open 10s 192.0.2.3
            +1.0 knock ssh 192.0.2.3: opened 10s
        "#]],
    );
}

#[test]
fn what_waits_for_a_claim_has_its_place_in_the_ledger() {
    check(
        "+0 tokens well 2
         +0 open knock 192.0.2.1 token=a
         +0 open knock 192.0.2.2 token=b
         +0 open knock 192.0.2.3 token=c
         +1 open knock 192.0.2.4
         +1 open knock 192.0.2.5
         +1 open knock 192.0.2.6 token=d
         +3 end",
        expect![[r#"
            +0.0   -> claim knock token a
            +0.0   -> claim knock token b
            +0.0   -> claim knock token c
            +1.0   -> ssh open 10s 192.0.2.4
            +1.0 knock ssh 192.0.2.4: opened 10s
            +1.0 knock ssh 192.0.2.5: refused openings-full
            +1.0 knock ssh 192.0.2.6: refused openings-full
            +2.0   -> ssh open 10s 192.0.2.1
            +2.0   -> ssh open 10s 192.0.2.2
            +2.0   -> ssh open 10s 192.0.2.3
            +2.0 knock ssh 192.0.2.1: opened 10s
            +2.0 knock ssh 192.0.2.2: opened 10s
            +2.0 knock ssh 192.0.2.3: opened 10s
            +3.0 end: 4 openings, settled true
        "#]],
    );
}

#[test]
fn its_time_begins_when_the_claim_is_answered() {
    check(
        "+0 tokens well 3
         +0 open knock 192.0.2.1 token=a
         +1 end
         +12.9 end
         +20 end",
        expect![[r#"
            +0.0   -> claim knock token a
            +1.0 end: 0 openings, settled true
            +3.0   -> ssh open 10s 192.0.2.1
            +3.0 knock ssh 192.0.2.1: opened 10s
            +12.9 end: 1 openings, settled true
            +13.0   -> ssh expire 192.0.2.1
            +13.0 knock ssh 192.0.2.1: closed Expired
            +20.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_token_that_is_being_claimed_is_used_already() {
    check(
        "+0 tokens well 3
         +0 open knock 192.0.2.1 token=a
         +1 open knock 192.0.2.2 token=a
         +1 open brief 192.0.2.3 token=a
         +1 open knock 192.0.2.2 counter=1
         +1 open knock 192.0.2.2 counter=1
         +1 open knock 192.0.2.2 counter=2
         +5 end",
        expect![[r#"
            +0.0   -> claim knock token a
            +1.0 knock ssh 192.0.2.2: refused already-used
            +1.0   -> claim brief token a
            +1.0   -> claim knock counter 1
            +1.0 knock ssh 192.0.2.2: refused already-used
            +1.0   -> claim knock counter 2
            +3.0   -> ssh open 10s 192.0.2.1
            +3.0 knock ssh 192.0.2.1: opened 10s
            +4.0   -> ssh open 3s 192.0.2.3
            +4.0   -> ssh open 10s 192.0.2.2
            +4.0   -> ssh extend 10s 192.0.2.2
            +4.0 brief ssh 192.0.2.3: opened 3s
            +4.0 knock ssh 192.0.2.2: opened 10s
            +4.0 knock ssh 192.0.2.2: extended 10s
            +5.0 end: 3 openings, settled true
        "#]],
    );
}

#[test]
fn nothing_opens_on_any_error() {
    check(
        "+0 tokens full
         +0 open knock 192.0.2.1 token=a
         +1 tokens busy
         +1 open knock 192.0.2.1 token=a
         +2 tokens broken
         +2 open knock 192.0.2.1 token=a
         +3 tokens well
         +3 open knock 192.0.2.1 token=a",
        expect![[r#"
            +0.0   -> claim knock token a
            +0.0 knock ssh 192.0.2.1: refused tokens-full no more one-time tokens can be kept; have the rule say until when it accepts a token, so that old ones can be forgotten
            +1.0   -> claim knock token a
            +1.0 knock ssh 192.0.2.1: refused ledger-busy too many openings wait for their one-time token to be recorded; knock again
            +2.0   -> claim knock token a
            +2.0 knock ssh 192.0.2.1: refused not-recorded broken
            +3.0   -> claim knock token a
            +3.0   -> ssh open 10s 192.0.2.1
            +3.0 knock ssh 192.0.2.1: opened 10s
        "#]],
    );
}

#[test]
fn a_claim_that_is_answered_too_late_or_never_opens_nothing() {
    check(
        "+0 tokens well 10
         +0 open knock 192.0.2.1 token=a
         +0 tokens never
         +1 open knock 192.0.2.1 token=b
         +20 end",
        expect![[r#"
            +0.0   -> claim knock token a
            +1.0   -> claim knock token b
            +10.0 knock ssh 192.0.2.1: refused ledger-busy its one-time token was not recorded within 10 s
            +11.0 knock ssh 192.0.2.1: refused ledger-busy its one-time token was not recorded within 10 s
            +20.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn what_may_be_opened_is_looked_at_anew_when_the_claim_is_answered() {
    check(
        "+0 tokens well 2
         +0 open knock 192.0.2.1 door=ssh token=a
         +1 drop ssh
         +3 end",
        expect![[r#"
            +0.0   -> claim knock token a
            +2.0 knock ssh 192.0.2.1: refused outdated
            +3.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn reloads_that_change_nothing_for_the_rule_keep_what_waits_and_others_do_not() {
    check(
        "+0 tokens well 2
         +0 open knock 192.0.2.1 token=a
         +1 reload
         +3 end
         +3 open knock 192.0.2.2 token=b
         +4 change ssh
         +5 open knock 192.0.2.3 token=c
         +5.5 revoke knock
         +6 end
         +10 reload
         +10.2 open knock 192.0.2.4 token=d
         +10.5 reload
         +11 reload
         +14 open knock 192.0.2.5 token=e
         +14.2 reload
         +14.5 change ssh
         +15 reload
         +17 end",
        expect![[r#"
            +0.0   -> claim knock token a
            +2.0   -> ssh open 10s 192.0.2.1
            +2.0 knock ssh 192.0.2.1: opened 10s
            +3.0 end: 1 openings, settled true
            +3.0   -> claim knock token b
            +5.0 knock ssh 192.0.2.2: refused outdated
            +5.0   -> claim knock token c
            +6.0 end: 1 openings, settled true
            +7.0 knock - 192.0.2.3: refused outdated
            +10.2   -> claim knock token d
            +12.0   -> ssh expire 192.0.2.1
            +12.0 knock ssh 192.0.2.1: closed Expired
            +12.2   -> ssh open 10s 192.0.2.4
            +12.2 knock ssh 192.0.2.4: opened 10s
            +14.0   -> claim knock token e
            +16.0 knock ssh 192.0.2.5: refused outdated
            +17.0 end: 1 openings, settled true
        "#]],
    );
}

#[test]
fn what_waits_for_a_rule_that_is_suspended_meanwhile_opens_nothing() {
    check(
        "+0 tokens well 2
         +0 open knock 192.0.2.1 token=a
         +1 gone knock
         +3 end",
        expect![[r#"
            +0.0   -> claim knock token a
            +1.0 knock: withdrawn
            +2.0 knock ssh 192.0.2.1: refused withdrawn
            +3.0 end: 0 openings, settled true
        "#]],
    );
}

/// knockd's one-time files: a line for each generation, used once.
#[test]
fn a_one_time_sequence_opens_once_in_its_generation() {
    check(
        "+0 open once 192.0.2.1
         +1 open once 192.0.2.2
         +2 reload
         +2 open once 192.0.2.3 generation=1
         +3 open once 192.0.2.3
         +4 close once 192.0.2.3
         +5 reload
         +5 open once 192.0.2.4 door=lamp
         +5 open once 192.0.2.4 token=a
         +5 end",
        expect![[r#"
            +0.0   -> claim once sequence of generation 1
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 once ssh 192.0.2.1: opened 10s
            +1.0   -> claim once sequence of generation 1
            +1.0 once ssh 192.0.2.2: refused already-used
            +2.0 once ssh 192.0.2.3: refused outdated
            +3.0   -> claim once sequence of generation 2
            +3.0   -> ssh open 10s 192.0.2.3
            +3.0 once ssh 192.0.2.3: opened 10s
            +4.0   -> ssh close 192.0.2.3
            +4.0 once ssh 192.0.2.3: closed Asked
            +5.0 once lamp 192.0.2.4: refused door-not-granted the rule's file names ssh
            +5.0   -> claim once sequence of generation 3
            +5.0   -> claim once token a
            +5.0   -> ssh open 10s 192.0.2.4
            +5.0 once ssh 192.0.2.4: opened 10s
            +5.0 end: 2 openings, settled true
        "#]],
    );
}

#[test]
fn a_one_time_sequence_that_is_being_used_up_opens_after_a_reload_and_for_one_client_only() {
    check(
        "+0 tokens well 2
         +0 open once 192.0.2.1
         +1 open once 192.0.2.2
         +1 reload
         +1 open once 192.0.2.2
         +5 end",
        expect![[r#"
            +0.0   -> claim once sequence of generation 1
            +1.0 once ssh 192.0.2.2: refused already-used
            +1.0 once ssh 192.0.2.2: refused already-used
            +2.0   -> ssh open 10s 192.0.2.1
            +2.0 once ssh 192.0.2.1: opened 10s
            +5.0 end: 1 openings, settled true
        "#]],
    );
}

#[test]
fn a_one_time_sequence_that_cannot_be_crossed_out_opens_nothing() {
    check(
        "+0 tokens broken
         +0 open once 192.0.2.1
         +1 end",
        expect![[r#"
            +0.0   -> claim once sequence of generation 1
            +0.0 once: sequence not crossed out: broken
            +1.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_stop_waits_for_no_claim() {
    check(
        "+0 tokens well 2
         +0 open knock 192.0.2.1 token=a
         +1 stop
         +1 open knock 192.0.2.1 token=b
         +3 end",
        expect![[r#"
            +0.0   -> claim knock token a
            +1.0 knock ssh 192.0.2.1: refused stopping
            +1.0 knock ssh 192.0.2.1: refused stopping
            +3.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_close_takes_back_what_waits_to_be_opened() {
    check(
        "+0 tokens well 2
         +0 open knock 192.0.2.1 token=a
         +0 open knock 192.0.2.2 token=b
         +1 close brief 192.0.2.1
         +3 end",
        expect![[r#"
            +0.0   -> claim knock token a
            +0.0   -> claim knock token b
            +1.0 knock ssh 192.0.2.1: closed Asked
            +2.0   -> ssh open 10s 192.0.2.2
            +2.0 knock ssh 192.0.2.2: opened 10s
            +3.0 end: 1 openings, settled true
        "#]],
    );
}

/// 1,024 wait at most; one that was refused for it does not count as used.
#[test]
fn only_so_many_wait() {
    const MOST: u64 = 1024;
    let door = DoorPolicy {
        name: "ssh".into(),
        lasts: Duration::from_secs(10),
        keeps_time: true,
        durability: Durability::None,
        again: Again::Extend,
        prefixes: Vec::new(),
        takes_links: false,
    };
    let rule = RuleId { tenant: TenantId::host(), name: "knock".into() };
    let grant = Grant { doors: vec![DoorId(1)], ..Grant::default() };
    let mut engine = Engine::new(Arc::new(Policy {
        grants: HashMap::from([(rule.clone(), grant)]),
        doors: HashMap::from([(DoorId(1), door)]),
        longest: Duration::from_secs(60),
        max_openings: 10_000,
        ..Policy::default()
    }));
    let judged = |n: u64| {
        let token = Some(Once::Token { bytes: n.to_be_bytes().into(), until: None });
        let request = Request::Open(vec![OpenRequest { once: token, ..OpenRequest::default() }]);
        let source = Client::alone([192, 0, 2, 1].into());
        Event::Judged { rule: rule.clone(), generation: 1, source, request }
    };
    let now = Moment::default();
    let mut claims: Vec<_> = (0..MOST).flat_map(|n| engine.handle(judged(n), now)).collect();
    assert!(claims.iter().all(|action| matches!(action, Action::Claim(_))), "{claims:?}");
    let refused = |actions: &[Action]| match actions {
        [Action::Tell(Report { what: What::Refused { reason, .. }, .. })] => Some(*reason),
        _ => None,
    };
    assert_eq!(refused(&engine.handle(judged(MOST), now)), Some(DropReason::LedgerBusy));
    let Some(Action::Claim(Claim { serial, .. })) = claims.pop() else { panic!("no claim") };
    let result = Err(ClaimError::AlreadyUsed);
    assert_eq!(
        refused(&engine.handle(Event::Claimed { serial, result }, now)),
        Some(DropReason::AlreadyUsed)
    );
    assert!(matches!(engine.handle(judged(MOST), now)[..], [Action::Claim(_)]));
    // One answer more for the same claim opens nothing.
    assert_eq!(engine.handle(Event::Claimed { serial, result: Ok(()) }, now), []);
}
