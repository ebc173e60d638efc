//! Which verdicts count: those of the generation in force and, of the one before, what the rule may still do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use postern_core::{
    Act, Action, Again, Client, DoorId, DoorPolicy, Durability, Engine, Event, Grant, ModuleDigest, Moment,
    OpenRequest, Order, Policy, Receipt, Request, RuleId, TenantId, What,
};

use crate::world::check;

/// What an auditor reads is what opened the door, and not what has taken its place meanwhile.
#[test]
fn an_opening_names_the_module_that_its_rule_ran_when_it_was_ordered() {
    const DOOR: DoorId = DoorId(1);
    let rule = RuleId { tenant: TenantId::host(), name: "knock".into() };
    let door = DoorPolicy {
        name: "ssh".into(),
        lasts: Duration::from_secs(10),
        keeps_time: true,
        durability: Durability::None,
        again: Again::Extend,
        prefixes: Vec::new(),
        takes_links: false,
    };
    let policy = |module: Option<ModuleDigest>| {
        Arc::new(Policy {
            grants: HashMap::from([(rule.clone(), Grant { doors: vec![DOOR], ..Grant::default() })]),
            doors: HashMap::from([(DOOR, door.clone())]),
            longest: Duration::from_secs(60),
            max_openings: 10,
            modules: module.map(|module| (rule.clone(), module)).into_iter().collect(),
            ..Policy::default()
        })
    };
    let now = Moment::default();
    let mut engine = Engine::new(policy(Some([1; 32])));
    let mut opens = |client: &str, generation, changed: Option<Arc<Policy>>| {
        let source: Client = client.parse().unwrap();
        let request = Request::Open(vec![OpenRequest::default()]);
        let actions = engine.handle(Event::Judged { rule: rule.clone(), generation, source, request }, now);
        let [Action::Order { order: Order { serial, act: Act::Open(_), .. }, .. }] = actions[..] else {
            panic!("{actions:?}")
        };
        changed.map(|policy| engine.handle(Event::PolicyChanged(policy), now));
        let receipt = Event::Answered(Receipt { serial, outcome: Ok(()) });
        let told = engine.handle(receipt, now).into_iter().find_map(|action| match action {
            Action::Tell(report) => Some(report.what),
            _ => None,
        });
        let Some(What::Opened { module, .. }) = told else { panic!("{told:?}") };
        module
    };
    assert_eq!(opens("192.0.2.1", 1, Some(policy(Some([2; 32])))), Some([1; 32]));
    assert_eq!(opens("192.0.2.2", 2, Some(policy(None))), Some([2; 32]));
    assert_eq!(opens("192.0.2.3", 3, None), None);
}

#[test]
fn a_verdict_of_the_generation_before_counts_for_what_the_rule_may_do_in_both() {
    check(
        "+0 open knock 192.0.2.1 generation=1
         +1 reload
         +1 open knock 192.0.2.2 generation=1
         +1 open knock 192.0.2.3 generation=2
         +2 close knock 192.0.2.1 generation=1
         +3 end",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +1.0   -> ssh open 10s 192.0.2.2
            +1.0 knock ssh 192.0.2.2: opened 10s
            +1.0   -> ssh open 10s 192.0.2.3
            +1.0 knock ssh 192.0.2.3: opened 10s
            +2.0   -> ssh close 192.0.2.1
            +2.0 knock ssh 192.0.2.1: closed Asked
            +3.0 end: 2 openings, settled true
        "#]],
    );
}

#[test]
fn a_verdict_of_a_rule_that_was_changed_or_taken_away_is_outdated() {
    check(
        "+0 change lamp
         +0 open knock 192.0.2.1 generation=1
         +0 close knock 192.0.2.1 generation=1
         +0 open brief 192.0.2.2 generation=1
         +1 revoke brief
         +1 open brief 192.0.2.3 generation=2
         +1 open brief 192.0.2.3 generation=3",
        expect![[r#"
            +0.0 knock ssh 192.0.2.1: refused outdated
            +0.0 knock ssh 192.0.2.1: refused outdated
            +0.0   -> ssh open 3s 192.0.2.2
            +0.0 brief ssh 192.0.2.2: opened 3s
            +1.0 brief - 192.0.2.3: refused outdated
            +1.0 brief - 192.0.2.3: refused door-not-granted none was named, and the rule may open none
        "#]],
    );
}

#[test]
fn a_verdict_of_an_older_generation_is_outdated_whatever_became_of_the_rule() {
    check(
        "+0 reload
         +0 reload
         +1 open knock 192.0.2.1 generation=1
         +1 open knock 192.0.2.1 door=lamp generation=1
         +1 open knock 192.0.2.1 generation=2",
        expect![[r#"
            +1.0 knock ssh 192.0.2.1: refused outdated
            +1.0 knock lamp 192.0.2.1: refused outdated
            +1.0   -> ssh open 10s 192.0.2.1
            +1.0 knock ssh 192.0.2.1: opened 10s
        "#]],
    );
}

#[test]
fn a_rule_whose_file_is_gone_opens_and_closes_nothing_while_that_is_looked_into() {
    check(
        "+0 open knock 192.0.2.1
         +1 gone knock
         +1 open knock 192.0.2.2
         +1 close knock 192.0.2.1
         +1 open brief 192.0.2.3
         +2 gone knock brief stranger
         +2 open brief 192.0.2.3
         +3 gone brief
         +3 open knock 192.0.2.2",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +1.0 knock: withdrawn
            +1.0 knock ssh 192.0.2.2: refused withdrawn
            +1.0 knock ssh 192.0.2.1: refused withdrawn
            +1.0   -> ssh open 3s 192.0.2.3
            +1.0 brief ssh 192.0.2.3: opened 3s
            +2.0 brief: withdrawn
            +2.0 brief ssh 192.0.2.3: refused withdrawn
            +3.0 knock: back
            +3.0   -> ssh open 10s 192.0.2.2
            +3.0 knock ssh 192.0.2.2: opened 10s
        "#]],
    );
}

/// The reload that takes it away was refused: then what was in force goes on, but for what was said to open nothing.
#[test]
fn a_rule_that_nothing_takes_away_stays_and_one_that_was_suspended_does_not() {
    check(
        "+0 still-gone knock
         +0 open knock 192.0.2.1
         +1 gone knock
         +2 still-gone knock brief
         +2 open knock 192.0.2.2
         +2 open brief 192.0.2.3
         +3 still-gone
         +3 open knock 192.0.2.2",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +1.0 knock: withdrawn
            +2.0 knock ssh 192.0.2.2: refused withdrawn
            +2.0   -> ssh open 3s 192.0.2.3
            +2.0 brief ssh 192.0.2.3: opened 3s
            +3.0 knock: back
            +3.0   -> ssh open 10s 192.0.2.2
            +3.0 knock ssh 192.0.2.2: opened 10s
        "#]],
    );
}

#[test]
fn a_rule_stays_suspended_over_a_reload_that_still_has_it() {
    check(
        "+0 gone knock brief
         +1 revoke brief
         +1 open knock 192.0.2.1
         +2 reload
         +2 open brief 192.0.2.1
         +3 still-gone
         +3 open knock 192.0.2.2",
        expect![[r#"
            +0.0 brief: withdrawn
            +0.0 knock: withdrawn
            +1.0 knock ssh 192.0.2.1: refused withdrawn
            +2.0   -> ssh open 3s 192.0.2.1
            +2.0 brief ssh 192.0.2.1: opened 3s
            +3.0 knock: back
            +3.0   -> ssh open 10s 192.0.2.2
            +3.0 knock ssh 192.0.2.2: opened 10s
        "#]],
    );
}
