//! The engine as its shell drives it: events and times in, what people would be told out.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use postern_core::{
    Act, Action, Again, CloseRequest, DoorId, DoorPolicy, Engine, Event, Grant, Moment, Notice, Once,
    OpenRequest, Policy, Receipt, Request, RuleId, State, TenantId,
};

const SSH: DoorId = DoorId(1);
const LAMP: DoorId = DoorId(2);
const BELL: DoorId = DoorId(4);

/// An engine, a clock, and doors that answer after `delay` and fail when told to.
struct World {
    engine: Engine,
    now: Moment,
    delay: Duration,
    failing: HashSet<DoorId>,
    answers: Vec<(Moment, Receipt)>,
    out: String,
}

/// Runs a script, a step a line, and compares all that happened.
///
/// `+SECONDS open|close RULE CLIENT [door=NAME] [lasts=SECONDS] [for=PREFIX] [token=TEXT] [counter=N]`,
/// `+SECONDS delay SECONDS`, `+SECONDS fail|mend DOOR`, `+SECONDS found|lost DOOR CLIENT [SECONDS]`,
/// `+SECONDS inherited CLIENT SECONDS`, `+SECONDS drop|change DOOR`, `+SECONDS stop`, `+SECONDS end`.
fn check(script: &str, expected: Expect) {
    let mut world = World::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (time, step) = line.split_once(' ').unwrap();
        world.run_until(Moment(seconds(time.trim_start_matches('+'))));
        world.step(step);
    }
    expected.assert_eq(&world.out);
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().unwrap())
}

fn policy() -> Policy {
    let rule = |name: &str| RuleId { tenant: TenantId::host(), name: name.into() };
    let door =
        |name: &str, lasts, keeps_time, again| DoorPolicy { name: name.into(), lasts, keeps_time, again };
    Policy {
        grants: HashMap::from([
            (rule("knock"), Grant { doors: vec![SSH, LAMP, BELL], lasts: None }),
            (rule("brief"), Grant { doors: vec![SSH], lasts: Some(Duration::from_secs(3)) }),
        ]),
        doors: HashMap::from([
            (SSH, door("ssh", Duration::from_secs(10), true, Again::Extend)),
            (LAMP, door("lamp", Duration::from_secs(10), false, Again::Extend)),
            (BELL, door("bell", Duration::from_secs(10), false, Again::Run)),
        ]),
        longest: Duration::from_secs(3600),
        max_openings: 4,
    }
}

impl World {
    fn new() -> Self {
        Self {
            engine: Engine::new(Arc::new(policy())),
            now: Moment::default(),
            delay: Duration::ZERO,
            failing: HashSet::new(),
            answers: Vec::new(),
            out: String::new(),
        }
    }

    /// Answers and deadlines in the order of their times, up to `end`.
    fn run_until(&mut self, end: Moment) {
        loop {
            let answer = self.answers.iter().map(|(at, _)| *at).min().filter(|at| *at <= end);
            let deadline = self.engine.next_deadline().filter(|at| *at <= end);
            match (answer, deadline) {
                (Some(at), deadline) if deadline.is_none_or(|deadline| at <= deadline) => {
                    self.now = self.now.max(at);
                    let place = self.answers.iter().position(|(time, _)| *time == at).unwrap();
                    let (_, receipt) = self.answers.remove(place);
                    self.feed(Event::Answered(receipt));
                }
                (_, Some(at)) => {
                    self.now = self.now.max(at);
                    let actions = self.engine.handle_deadline(self.now);
                    self.act(actions);
                }
                _ => break,
            }
            self.check_invariants();
        }
        self.now = end;
    }

    fn step(&mut self, step: &str) {
        let mut words = step.split(' ');
        let verb = words.next().unwrap();
        let words: Vec<_> = words.collect();
        match verb {
            "open" | "close" => self.judge(verb, &words),
            "delay" => self.delay = seconds(words[0]),
            "fail" => drop(self.failing.insert(door(words[0]))),
            "mend" => drop(self.failing.remove(&door(words[0]))),
            "found" => {
                let remaining = seconds(words[2]);
                self.feed(Event::Found {
                    door: door(words[0]),
                    client: words[1].parse().unwrap(),
                    remaining,
                });
            }
            "inherited" => {
                let policy = DoorPolicy {
                    name: "old".into(),
                    lasts: Duration::ZERO,
                    keeps_time: false,
                    again: Again::Extend,
                };
                let (client, remaining) = (words[0].parse().unwrap(), seconds(words[1]));
                self.feed(Event::Inherited { door: DoorId(9), policy, client, remaining });
            }
            "lost" => self.feed(Event::Lost { door: door(words[0]), client: words[1].parse().unwrap() }),
            "drop" => {
                let mut policy = policy();
                policy.doors.remove(&door(words[0]));
                self.feed(Event::PolicyChanged(Arc::new(policy)));
            }
            // The same name, another number.
            "change" => {
                let mut policy = policy();
                let changed = policy.doors.remove(&door(words[0])).unwrap();
                policy.doors.insert(DoorId(3), changed);
                policy.grants.values_mut().for_each(|grant| grant.doors[0] = DoorId(3));
                self.feed(Event::PolicyChanged(Arc::new(policy)));
            }
            "stop" => self.feed(Event::Stopping),
            "end" => {
                let open = self.engine.openings().count();
                let settled = self.engine.is_settled();
                writeln!(self.out, "{} end: {open} openings, settled {settled}", self.at()).unwrap();
            }
            other => panic!("no such step: {other}"),
        }
        self.run_until(self.now);
        self.check_invariants();
    }

    fn judge(&mut self, verb: &str, words: &[&str]) {
        let rule = RuleId { tenant: TenantId::host(), name: words[0].into() };
        let source: IpAddr = words[1].parse().unwrap();
        let options: HashMap<_, _> = words[2..].iter().map(|word| word.split_once('=').unwrap()).collect();
        let door = options.get("door").map(|name| Box::from(*name));
        let client = options.get("for").map(|prefix| prefix.parse().unwrap());
        let lasts = options.get("lasts").map(|text| seconds(text));
        let token = options.get("token").map(|text| Once::Token(text.as_bytes().into()));
        let counter =
            options.get("counter").map(|n| Once::Counter { key: b"k"[..].into(), value: n.parse().unwrap() });
        let request = match verb {
            "open" => Request::Open(vec![OpenRequest { door, client, lasts, once: token.or(counter) }]),
            _ => Request::Close(vec![CloseRequest { door, client }]),
        };
        self.feed(Event::Judged { rule, source, request });
    }

    fn feed(&mut self, event: Event) {
        let actions = self.engine.handle(event, self.now);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Order { order, .. } => {
                    let fails = self.failing.contains(&order.door);
                    let outcome = if fails { Err("broken".to_owned()) } else { Ok(()) };
                    let act = match order.act {
                        Act::Open(lasts) => format!("open {lasts:?}"),
                        Act::Extend(lasts) => format!("extend {lasts:?}"),
                        Act::Close => "close".to_owned(),
                    };
                    let door = self.engine.door_name(order.door);
                    writeln!(self.out, "{}   -> {door} {act} {}", self.at(), order.client).unwrap();
                    let receipt = Receipt { serial: order.serial, outcome };
                    self.answers.push((self.now.plus(self.delay), receipt));
                }
                Action::Tell(notice) => {
                    let (subject, what) = match notice {
                        Notice::Opened { subject, lasts } => (subject, format!("opened {lasts:?}")),
                        Notice::Extended { subject, lasts } => (subject, format!("extended {lasts:?}")),
                        Notice::Closed { subject, why } => (subject, format!("closed {why:?}")),
                        Notice::Refused { subject, reason, detail } => {
                            (subject, format!("refused {reason} {detail}"))
                        }
                        Notice::Shortened { subject, asked, lasts } => {
                            (subject, format!("shortened {asked:?} to {lasts:?}"))
                        }
                        Notice::StuckOpen { subject, detail, again_in } => {
                            (subject, format!("stuck open: {detail}, again in {again_in:?}"))
                        }
                    };
                    let rule = subject.rule.map_or_else(|| "-".to_owned(), |rule| rule.name.to_string());
                    writeln!(
                        self.out,
                        "{} {rule} {} {}: {}",
                        self.at(),
                        subject.door,
                        subject.client,
                        what.trim_end()
                    )
                    .unwrap();
                }
            }
        }
    }

    fn at(&self) -> String {
        format!("+{:.1}", self.now.0.as_secs_f64())
    }

    /// What must hold after every step.
    fn check_invariants(&self) {
        assert!(self.engine.openings().count() <= 4, "the ledger is bounded");
        for (key, opening) in self.engine.openings() {
            assert!(opening.due > self.now || opening.state == State::Opening, "{key:?} is overdue");
        }
        assert_eq!(self.engine.is_settled(), self.answers.is_empty(), "every order waits for its answer");
    }
}

fn door(name: &str) -> DoorId {
    match name {
        "ssh" => SSH,
        "lamp" => LAMP,
        "bell" => BELL,
        other => panic!("no such door: {other}"),
    }
}

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
            +10.0   -> ssh close 192.0.2.1
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
            +14.0   -> ssh close 192.0.2.1
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
            +0.0 knock lamp 192.0.2.1: opened 10s
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
         +0 open knock 192.0.2.1 for=192.0.2.9/32
         +0 open knock 192.0.2.1 for=192.0.2.0/24
         +0 close stranger 192.0.2.1
         +0 open knock 192.0.2.1 for=192.0.2.1/32",
        expect![[r#"
            +0.0 stranger  192.0.2.1: refused door-not-granted
            +0.0 brief lamp 192.0.2.1: refused door-not-granted
            +0.0 knock cellar 192.0.2.1: refused door-not-granted
            +0.0 knock  192.0.2.1: refused client-not-granted
            +0.0 knock  192.0.2.1: refused client-not-granted
            +0.0 stranger  192.0.2.1: refused door-not-granted
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
fn a_command_that_does_not_close_its_door_is_tried_again_for_ever() {
    check(
        "+0 open knock 192.0.2.1 door=lamp
         +5 fail lamp
         +200 mend lamp
         +300 end",
        expect![[r#"
            +0.0   -> lamp open 10s 192.0.2.1
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
            +41.0   -> lamp close 192.0.2.1
            +41.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(32s)
            +73.0   -> lamp close 192.0.2.1
            +73.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(60s)
            +133.0   -> lamp close 192.0.2.1
            +133.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(60s)
            +193.0   -> lamp close 192.0.2.1
            +193.0 knock lamp 192.0.2.1: stuck open: broken, again in Some(60s)
            +253.0   -> lamp close 192.0.2.1
            +253.0 knock lamp 192.0.2.1: closed Expired
            +300.0 end: 0 openings, settled true
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
            +10.0   -> ssh close 192.0.2.2
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
fn a_door_that_runs_again_has_an_opening_for_each_knock() {
    check(
        "+0 open knock 192.0.2.1 door=bell
         +4 open knock 192.0.2.1 door=bell
         +5 open knock 192.0.2.2 door=bell
         +11 open knock 192.0.2.1 door=bell
         +12 close knock 192.0.2.1 door=bell
         +30 end",
        expect![[r#"
            +0.0   -> bell open 10s 192.0.2.1
            +0.0 knock bell 192.0.2.1: opened 10s
            +4.0   -> bell open 10s 192.0.2.1
            +4.0 knock bell 192.0.2.1: opened 10s
            +5.0   -> bell open 10s 192.0.2.2
            +5.0 knock bell 192.0.2.2: opened 10s
            +10.0   -> bell close 192.0.2.1
            +10.0 knock bell 192.0.2.1: closed Expired
            +11.0   -> bell open 10s 192.0.2.1
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
            +2.0 knock lamp 192.0.2.1: extended 100s
            +15.0 knock lamp 192.0.2.1: opened 87s
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
            +10.0   -> ssh close 192.0.2.1
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
            +12.5   -> ssh close 192.0.2.1
            +15.5 knock ssh 192.0.2.1: closed Expired
            +30.0 end: 0 openings, settled true
        "#]],
    );
}

#[test]
fn a_token_opens_once_and_a_counter_must_grow() {
    check(
        "+0 open knock 192.0.2.1 token=a
         +1 open knock 192.0.2.2 token=a
         +2 open knock 192.0.2.2 counter=5
         +3 open knock 192.0.2.2 counter=5
         +4 open knock 192.0.2.9 door=cellar token=b
         +5 open knock 192.0.2.3 token=b",
        expect![[r#"
            +0.0   -> ssh open 10s 192.0.2.1
            +0.0 knock ssh 192.0.2.1: opened 10s
            +1.0 knock ssh 192.0.2.2: refused already-used
            +2.0   -> ssh open 10s 192.0.2.2
            +2.0 knock ssh 192.0.2.2: opened 10s
            +3.0 knock ssh 192.0.2.2: refused already-used
            +4.0 knock cellar 192.0.2.9: refused door-not-granted
            +5.0   -> ssh open 10s 192.0.2.3
            +5.0 knock ssh 192.0.2.3: opened 10s
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
            +1.0 knock ssh 192.0.2.5: refused ledger-full
            +1.0   -> ssh extend 10s 192.0.2.4
            +1.0 knock ssh 192.0.2.4: extended 10s
            +10.0   -> ssh close 192.0.2.1
            +10.0   -> ssh close 192.0.2.2
            +10.0   -> ssh close 192.0.2.3
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
            +0.0 knock lamp 192.0.2.1: opened 10s
            +2.0 knock lamp 192.0.2.2: refused door-not-granted
            +10.0   -> ssh close 192.0.2.1
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
            +7.0   -> ssh close 192.0.2.2
            +7.0 - ssh 192.0.2.2: closed Expired
            +11.0   -> ssh close 192.0.2.1
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
            +10.0   -> ssh close 192.0.2.1
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
            +10.0   -> ssh close 192.0.2.1
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
            +13.0   -> ssh close 192.0.2.2
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
            +0.0 knock lamp 192.0.2.1: opened 10s
            +1.0   -> lamp close 192.0.2.1
            +1.0 knock lamp 192.0.2.1: closed Stopping
            +1.0 knock ssh 192.0.2.2: refused stopping
            +1.0 end: 1 openings, settled true
        "#]],
    );
}
