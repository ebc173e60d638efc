//! World: an engine, a clock, and doors that do as they are told.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use expect_test::Expect;
use postern_core::{
    Act, Action, Again, Claim, ClaimError, ClaimKind, Client, CloseRequest, DoorId, DoorPolicy, Durability,
    Engine, Event, Grant, ListedOpening, Listing, Moment, Once, OpenRequest, Opening, OpeningKey,
    OpeningNote, OpeningState, Order, OwnerMarks, Policy, Receipt, RecordError, Request, RuleId, TenantId,
    UsedOnce, What,
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
    disk_is_full: bool,
    /// How long a record takes, if it is shown; none: it is never answered.
    record_delay: Option<Duration>,
    shows_records: bool,
    tokens: Tokens,
    /// What is in the packet filter, until when, and what is noted there.
    filter: BTreeMap<(DoorId, Client), Kept>,
    /// What is in the journal.
    journal: BTreeMap<OpeningKey, Kept>,
    /// Answers of doors and to claims that are on their way.
    answers: Vec<(Moment, Event)>,
    out: String,
}

/// What outlives an engine: the door's name, until when it is open, and whose that is.
type Kept = (Arc<str>, Moment, OpeningNote);

/// Who answers claims, after `delay`.
#[derive(Default)]
struct Tokens {
    used: UsedOnce,
    /// Rules whose sequence was used, and in which generation.
    sequences: HashSet<(RuleId, u64)>,
    delay: Duration,
    mood: Mood,
}

/// How claims are answered.
#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    Never,
    Full,
    Busy,
    Broken,
}

/// Runs a script, a step a line, and compares all that happened.
///
/// `+SECONDS open|close RULE CLIENT [door=NAME] [lasts=SECONDS] [prefix=LENGTH] [token=TEXT] [counter=N] [generation=N]`,
/// `+SECONDS delay SECONDS`, `+SECONDS fail|mend DOOR`, `+SECONDS full|empty` (the journal's disk),
/// `+SECONDS records SECONDS|never` (when records are answered; they are shown from now on),
/// `+SECONDS tokens well|never|full|busy|broken [SECONDS]` (how and when claims are answered from now on),
/// `+SECONDS found|lost|removed DOOR CLIENT [SECONDS]` (what differs in the packet filter),
/// `+SECONDS gone|still-gone [RULE...]` (rules whose files are gone, while a generation is being prepared or not),
/// `+SECONDS inherited CLIENT SECONDS`, `+SECONDS restart [RULE...]` (another engine goes on, without these rules), `+SECONDS reload`, `+SECONDS drop|change DOOR` and `+SECONDS revoke RULE` (a reload with that
/// difference to the first policy), `+SECONDS doors TENANT...` (what each sees), `+SECONDS stop`, `+SECONDS end`.
pub(crate) fn check(script: &str, expected: Expect) {
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

/// The host's, unless its tenant is named as in `a/knock`.
fn rule(name: &str) -> RuleId {
    let (tenant, name) = name.split_once('/').unwrap_or((TenantId::HOST, name));
    RuleId { tenant: TenantId::new(tenant), name: name.into() }
}

fn policy() -> Policy {
    let widths = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let lasts = Duration::from_secs(10);
    let by_command = |name: &str, again| DoorPolicy {
        name: name.into(),
        lasts,
        keeps_time: false,
        durability: Durability::Required,
        again,
        prefixes: Vec::new(),
        takes_links: false,
    };
    let ssh = DoorPolicy {
        keeps_time: true,
        durability: Durability::None,
        prefixes: widths(&["ipv6/64", "ipv6/48"]),
        takes_links: true,
        ..by_command("ssh", Again::Extend)
    };
    Policy {
        grants: HashMap::from([
            (
                rule("knock"),
                Grant {
                    doors: vec![SSH, LAMP, BELL],
                    prefixes: widths(&["ipv6/64", "ipv4/24"]),
                    ..Grant::default()
                },
            ),
            (
                rule("brief"),
                Grant { doors: vec![SSH], lasts: Some(Duration::from_secs(3)), ..Grant::default() },
            ),
            (rule("a/knock"), Grant { doors: vec![SSH, LAMP], ..Grant::default() }),
            (rule("b/knock"), Grant { doors: vec![SSH, LAMP], ..Grant::default() }),
            (rule("once"), Grant { doors: vec![SSH], is_one_time: true, ..Grant::default() }),
        ]),
        doors: HashMap::from([
            (SSH, ssh),
            (LAMP, by_command("lamp", Again::Extend)),
            (
                BELL,
                DoorPolicy { durability: Durability::BestEffort, ..by_command("bell", Again::OpenAnother) },
            ),
        ]),
        longest: Duration::from_secs(3600),
        max_openings: 4,
        ..Policy::default()
    }
}

/// A policy whose rules have marks.
fn marked(mut policy: Policy) -> Arc<Policy> {
    let digest = |name: &str| name.bytes().fold(7, |digest: u64, byte| digest * 31 + u64::from(byte));
    policy.marks = OwnerMarks::new(policy.grants.keys(), [], digest);
    Arc::new(policy)
}

impl World {
    fn new() -> Self {
        Self {
            engine: Engine::new(marked(policy())),
            now: Moment::default(),
            delay: Duration::ZERO,
            failing: HashSet::new(),
            disk_is_full: false,
            record_delay: Some(Duration::ZERO),
            shows_records: false,
            tokens: Tokens::default(),
            filter: BTreeMap::new(),
            journal: BTreeMap::new(),
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
                    let (_, answer) = self.answers.remove(place);
                    self.feed(answer);
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
            "full" | "empty" => self.disk_is_full = verb == "full",
            "records" => {
                self.shows_records = true;
                self.record_delay = (words[0] != "never").then(|| seconds(words[0]));
            }
            "tokens" => {
                self.tokens.mood = match words[0] {
                    "well" => Mood::Well,
                    "never" => Mood::Never,
                    "full" => Mood::Full,
                    "busy" => Mood::Busy,
                    "broken" => Mood::Broken,
                    other => panic!("no such mood: {other}"),
                };
                self.tokens.delay = words.get(1).map_or(Duration::ZERO, |delay| seconds(delay));
            }
            "found" | "lost" | "removed" => self.list(verb, &words),
            "gone" | "still-gone" => {
                let rules = words.iter().map(|name| rule(name)).collect();
                self.feed(Event::Withdrawn { rules, is_reloading: verb == "gone" });
            }
            "inherited" => {
                let policy = DoorPolicy {
                    name: "old".into(),
                    lasts: Duration::ZERO,
                    keeps_time: false,
                    durability: Durability::None,
                    again: Again::Extend,
                    prefixes: Vec::new(),
                    takes_links: true,
                };
                let (client, remaining) = (words[0].parse().unwrap(), seconds(words[1]));
                let note = OpeningNote::default();
                self.feed(Event::Inherited { door: DoorId(9), policy, client, remaining, note });
            }
            "restart" => self.restart(&words),
            "reload" => self.feed(Event::PolicyChanged(marked(policy()))),
            "revoke" => {
                let mut policy = policy();
                policy.grants.remove(&rule(words[0]));
                self.feed(Event::PolicyChanged(Arc::new(policy)));
            }
            "drop" => {
                let mut policy = policy();
                policy.doors.remove(&door(words[0]));
                policy.grants.values_mut().for_each(|grant| grant.doors.retain(|id| *id != door(words[0])));
                self.feed(Event::PolicyChanged(Arc::new(policy)));
            }
            // The same name, another number.
            "change" => {
                let mut policy = policy();
                let changed = policy.doors.remove(&door(words[0])).unwrap();
                policy.doors.insert(DoorId(3), changed);
                let doors = policy.grants.values_mut().flat_map(|grant| &mut grant.doors);
                doors.filter(|id| **id == door(words[0])).for_each(|id| *id = DoorId(3));
                self.feed(Event::PolicyChanged(Arc::new(policy)));
            }
            "doors" => words.iter().for_each(|tenant| self.show(tenant)),
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

    /// The engine ends, and another one finds what is open in the packet filter and in the journal.
    fn restart(&mut self, without: &[&str]) {
        let mut policy = policy();
        without.iter().for_each(|gone| drop(policy.grants.remove(&rule(gone))));
        self.engine = Engine::new(marked(policy));
        self.answers.clear();
        let now = self.now;
        self.filter.retain(|_, (_, until, _)| *until > now);
        let listed = |((door, client), (_, until, note)): (&(DoorId, Client), &Kept)| ListedOpening {
            door: *door,
            client: *client,
            remaining: until.since(now),
            note: note.clone(),
        };
        let openings = self.filter.iter().map(listed).collect();
        self.feed(Event::Listed(Listing { openings, lived_on: BTreeSet::new() }));
        let left: Vec<_> = std::mem::take(&mut self.journal).into_iter().collect();
        for (door, (key, kept)) in (100..).map(DoorId).zip(left) {
            let OpeningKey { client, .. } = key;
            let (name, until, note) = kept.clone();
            let policy = DoorPolicy {
                name,
                lasts: Duration::ZERO,
                keeps_time: false,
                durability: Durability::None,
                again: Again::Extend,
                prefixes: Vec::new(),
                takes_links: true,
            };
            self.journal.insert(OpeningKey { door, client, occurrence: 0 }, kept);
            self.feed(Event::Inherited { door, policy, client, remaining: until.since(now), note });
        }
    }

    /// What outlives the engine when this order has been carried out.
    fn keep(&mut self, order: &Order, note: OpeningNote) {
        let Order { door, client, occurrence, act, .. } = *order;
        let key = OpeningKey { door, client, occurrence };
        match act {
            Act::Open(lasts) | Act::Extend(lasts) if self.engine.keeps_time(door) => {
                let kept = (self.engine.door_name(door), self.now.plus(lasts), note);
                self.filter.insert((door, client), kept);
            }
            Act::Open(_) | Act::Extend(_) => {}
            Act::Close | Act::Expire => {
                self.filter.remove(&(door, client));
                self.journal.remove(&key);
            }
        }
    }

    fn judge(&mut self, verb: &str, words: &[&str]) {
        let source: Client = words[1].parse().unwrap();
        let options: HashMap<_, _> = words[2..].iter().map(|word| word.split_once('=').unwrap()).collect();
        let door = options.get("door").map(|name| Box::from(*name));
        let prefix_length = options.get("prefix").map(|length| length.parse().unwrap());
        let lasts = options.get("lasts").map(|text| seconds(text));
        let token =
            options.get("token").map(|text| Once::Token { bytes: text.as_bytes().into(), until: None });
        let counter =
            options.get("counter").map(|n| Once::Counter { key: b"k"[..].into(), value: n.parse().unwrap() });
        let request = match verb {
            "open" => {
                Request::Open(vec![OpenRequest { door, prefix_length, lasts, once: token.or(counter) }])
            }
            _ => Request::Close(vec![CloseRequest { door, prefix_length }]),
        };
        let generation = options.get("generation").map(|n| n.parse().unwrap());
        let generation = generation.unwrap_or_else(|| self.engine.generation());
        self.feed(Event::Judged { rule: rule(words[0]), generation, source, request });
    }

    /// Lists what is open, but for one client of one door: it is found there, was lost with all that was open there, or was removed.
    fn list(&mut self, what: &str, words: &[&str]) {
        let (door, client) = (door(words[0]), words[1].parse().unwrap());
        let open = self.engine.openings().filter(|(key, _)| self.engine.keeps_time(key.door));
        let listed = |(key, opening): (OpeningKey, &Opening)| ListedOpening {
            door: key.door,
            client: key.client,
            remaining: opening.until().since(self.now),
            note: OpeningNote::default(),
        };
        let mut openings: Vec<_> = open.map(listed).collect();
        openings.retain(|there| (there.door, there.client) != (door, client));
        if what == "found" {
            let note = OpeningNote::default();
            openings.push(ListedOpening { door, client, remaining: seconds(words[2]), note });
        }
        let lived_on = BTreeSet::from_iter((what != "lost").then_some(door));
        self.feed(Event::Listed(Listing { openings, lived_on }));
    }

    /// What a tenant sees of what is open.
    fn show(&mut self, tenant: &str) {
        let id = TenantId::new(tenant);
        for (key, opening) in self.engine.openings_of_tenant(&id, None) {
            let part = opening.part_of(&id).unwrap();
            let since = part.since.map(|since| self.now.since(since));
            let (door, left) = (self.engine.door_name(key.door), part.until.since(self.now));
            let (at, client, rule) = (self.at(), key.client, part.rule.as_ref().unwrap());
            writeln!(
                self.out,
                "{at} {tenant} sees {door} {client} by {rule}: since {since:?}, {left:?} left"
            )
            .unwrap();
        }
    }

    fn feed(&mut self, event: Event) {
        let actions = self.engine.handle(event, self.now);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Order { order, note, .. } => {
                    let fails = self.failing.contains(&order.door);
                    let outcome = if fails { Err("broken".to_owned().into()) } else { Ok(()) };
                    if !fails {
                        self.keep(&order, note);
                    }
                    let act = match order.act {
                        Act::Open(lasts) => format!("open {lasts:?}"),
                        Act::Extend(lasts) => format!("extend {lasts:?}"),
                        Act::Close => "close".to_owned(),
                        Act::Expire => "expire".to_owned(),
                    };
                    let door = self.engine.door_name(order.door);
                    writeln!(self.out, "{}   -> {door} {act} {}", self.at(), order.client).unwrap();
                    let receipt = Receipt { serial: order.serial, outcome };
                    self.answers.push((self.now.plus(self.delay), Event::Answered(receipt)));
                }
                Action::Claim(claim) => self.claim(claim),
                Action::Record { serial, key, rule: _, lasts, note } => {
                    if !self.disk_is_full {
                        let kept = (self.engine.door_name(key.door), self.now.plus(lasts), note);
                        self.journal.insert(key, kept);
                    }
                    if self.shows_records {
                        let door = self.engine.door_name(key.door);
                        writeln!(self.out, "{}   -> record {door} {lasts:?} {}", self.at(), key.client)
                            .unwrap();
                    }
                    let full = || RecordError::Failed("full".to_owned());
                    let result = if self.disk_is_full { Err(full()) } else { Ok(()) };
                    if let Some(delay) = self.record_delay {
                        self.answers.push((self.now.plus(delay), Event::Recorded { serial, result }));
                    }
                }
                Action::StrikeOut { key } => {
                    self.journal.remove(&key);
                    writeln!(self.out, "{}   -> journal struck out {}", self.at(), key.client).unwrap();
                }
                Action::Note { key, lasts, note } => {
                    let door = self.engine.door_name(key.door);
                    if let Some(kept) = self.journal.get_mut(&key) {
                        *kept = (Arc::clone(&door), self.now.plus(lasts), note);
                    }
                    writeln!(self.out, "{}   -> journal {door} {lasts:?} {}", self.at(), key.client).unwrap();
                }
                Action::Abandon { key } => {
                    let door = self.engine.door_name(key.door);
                    writeln!(self.out, "{}   -> journal {door} kept {}", self.at(), key.client).unwrap();
                }
                Action::Tell(report) => {
                    let what = match &report.what {
                        What::Opened { lasts, .. } => format!("opened {lasts:?}"),
                        What::Extended { lasts } => format!("extended {lasts:?}"),
                        What::Closed { why } => format!("closed {why:?}"),
                        What::Refused { reason, detail } => format!("refused {reason} {detail}"),
                        What::Shortened { asked, lasts } => format!("shortened {asked:?} to {lasts:?}"),
                        What::StuckOpen { detail, again_in } => {
                            format!("stuck open: {detail}, again in {again_in:?}")
                        }
                        What::Withdrawn => "withdrawn".to_owned(),
                        What::Back => "back".to_owned(),
                        What::NotRecorded { detail } => format!("not recorded: {detail}"),
                        What::OneTimeFailed { detail } => format!("sequence not crossed out: {detail}"),
                        other => panic!("not the engine's to say: {other:?}"),
                    };
                    let rule = report.rule().map_or_else(|| "-".to_owned(), ToString::to_string);
                    let at = match (report.door.as_deref(), report.client) {
                        (Some(door), Some(client)) => format!(" {door} {client}"),
                        (None, Some(client)) => format!(" - {client}"),
                        (None, None) => String::new(),
                        _ => panic!("neither of a rule nor of an opening: {report:?}"),
                    };
                    writeln!(self.out, "{} {rule}{at}: {}", self.at(), what.trim_end()).unwrap();
                }
            }
        }
    }

    fn claim(&mut self, Claim { serial, rule, what, .. }: Claim) {
        let words = match &what {
            ClaimKind::Once(Once::Token { bytes, .. }) => format!("token {}", String::from_utf8_lossy(bytes)),
            ClaimKind::Once(Once::Counter { value, .. }) => format!("counter {value}"),
            ClaimKind::Sequence { generation } => format!("sequence of generation {generation}"),
        };
        writeln!(self.out, "{}   -> claim {} {words}", self.at(), rule.name).unwrap();
        let result = match self.tokens.mood {
            Mood::Well => match what {
                ClaimKind::Once(once) => self.tokens.used.claim(&rule, &once),
                ClaimKind::Sequence { generation } => {
                    let is_new = self.tokens.sequences.insert((rule, generation));
                    is_new.then_some(()).ok_or(ClaimError::AlreadyUsed)
                }
            },
            Mood::Never => return,
            Mood::Full => Err(ClaimError::Full),
            Mood::Busy => Err(ClaimError::Busy),
            Mood::Broken => Err(ClaimError::NotRecorded("broken".to_owned())),
        };
        self.answers.push((self.now.plus(self.tokens.delay), Event::Claimed { serial, result }));
    }

    fn at(&self) -> String {
        format!("+{:.1}", self.now.0.as_secs_f64())
    }

    /// What must hold after every step.
    fn check_invariants(&self) {
        assert!(self.engine.openings().count() <= 4, "the ledger is bounded");
        let by_command = self.engine.openings().filter(|(_, opening)| !opening.keeps_time).count();
        assert_eq!(self.engine.left_to_close(), by_command, "what only a command closes is counted");
        for (key, opening) in self.engine.openings() {
            assert!(opening.due > self.now || opening.state == OpeningState::Opening, "{key:?} is overdue");
        }
        let is_awaited = |answer: &Event| matches!(answer, Event::Answered(_) | Event::Recorded { .. });
        let awaited = self.answers.iter().filter(|(_, answer)| is_awaited(answer)).count();
        if self.record_delay.is_some() {
            assert_eq!(self.engine.is_settled(), awaited == 0, "orders and records wait for their answers");
        }
    }
}

fn door(name: &str) -> DoorId {
    match name {
        "ssh" => SSH,
        "lamp" => LAMP,
        "bell" => BELL,
        "old" => DoorId(9),
        other => panic!("no such door: {other}"),
    }
}
