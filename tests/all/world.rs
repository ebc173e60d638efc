//! World: real modules in a shard and a real engine, with knocks as text and time as an argument.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_config::{Activity, Config, Mistakes};
use postern_core::{
    Action, Claim, ClaimKind, Client, Direction, DropReason, Engine, Event, Knock, Moment, Observer, Receipt,
    Report, Request, RuleId, TcpFlags, TenantId, Timestamp, Transport, UsedOnce, What,
};
use postern_sandbox::{Generation, Loader, Runtime, Shard};
use posternd::load_rules;
use posternd::module_code::Modules;
use posternd::plan::DoorNumbers;
use tempfile::TempDir;

/// When every scenario begins: some time in 2026, in microseconds since 1970.
const BEGIN: u64 = 1_795_000_000_000_000;

pub(crate) const POSTERN_TOML: &str =
    "interfaces = [\"lo\"]\n[doors.ssh]\nguard = \"tcp/22\"\nfor = \"10s\"\nprefixes = [\"ipv6/64\"]\n";

pub(crate) struct World {
    pub(crate) dir: TempDir,
    runtime: Runtime,
    modules: Modules,
    shard: Shard,
    engine: Engine,
    numbers: DoorNumbers,
    used: UsedOnce,
    now: Moment,
    /// Everything that was reported, a line each.
    pub(crate) out: String,
}

/// The outcome of a rule's judging a knock; an ignored knock has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stage(u32),
    /// Of a client, which may be another than the knock's.
    TimedOut {
        client: Client,
        stage: u32,
    },
    Forgot(String),
    Asks(Request),
    Fault(String, Duration),
    /// Of no rule in particular, as that its tenant is over its share from now on.
    Dropped(DropReason),
    OverShare,
}

/// Keeps what was reported of judging, in its order.
#[derive(Default)]
struct Recorder(Mutex<Vec<(RuleId, Outcome)>>);

impl Recorder {
    fn note(&self, rule: &RuleId, outcome: Outcome) {
        self.0.lock().unwrap().push((rule.clone(), outcome));
    }
}

impl Observer for Recorder {
    fn report(&self, report: &Report<'_>) {
        let outcome = match &report.what {
            What::Stage { stage, .. } => Outcome::Stage(*stage),
            What::TimedOut { stage } => Outcome::TimedOut { client: report.client.unwrap(), stage: *stage },
            What::Forgot { reason, .. } => Outcome::Forgot(reason.to_string()),
            What::Fault { detail, pause, .. } => Outcome::Fault(detail.to_string(), *pause),
            // What is asked for comes by itself.
            What::Solved { .. } => return,
            What::OverShare { .. } => {
                return self.note(&nobody_of(report.tenant().unwrap()), Outcome::OverShare);
            }
            other => panic!("not of judging: {other:?}"),
        };
        self.note(report.rule().unwrap(), outcome);
    }

    fn count_drops(&self, tenant: Option<&TenantId>, reason: DropReason, count: u64) {
        let nobody = nobody_of(tenant.unwrap());
        (0..count).for_each(|_| self.note(&nobody, Outcome::Dropped(reason)));
    }
}

/// In the place of a rule.
fn nobody_of(tenant: &TenantId) -> RuleId {
    RuleId { tenant: tenant.clone(), name: "-".into() }
}

impl World {
    /// A world whose rules are these files in its folder `rules`.
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        Self::observed(files, Arc::new(()))
    }

    /// The same, with an observer that gets what rules write into the log.
    pub(crate) fn observed(files: &[(&str, &[u8])], observer: Arc<dyn Observer>) -> Self {
        Self::configured(POSTERN_TOML, files, observer)
    }

    /// The same, with this `postern.toml`. A file of another folder is named with `../` before it.
    pub(crate) fn configured(config: &str, files: &[(&str, &[u8])], observer: Arc<dyn Observer>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("postern.toml"), config).unwrap();
        fs::create_dir(dir.path().join("rules")).unwrap();
        write(dir.path(), files);
        let runtime = Runtime::start().unwrap();
        let loader = Loader::new(runtime.clone(), observer).unwrap();
        let modules = Modules::in_process(&runtime, loader);
        let (config, generation) = prepare(dir.path(), 1, &modules).unwrap();
        let mut numbers = DoorNumbers::default();
        let engine = Engine::new(numbers.plan(&config).policy);
        let shard = Shard::new(Arc::new(generation), 1);
        Self {
            dir,
            runtime,
            modules,
            shard,
            engine,
            numbers,
            used: UsedOnce::default(),
            now: Moment::default(),
            out: String::new(),
        }
    }

    /// Writes files into the folder `rules` and goes on with what they say, if they are right.
    pub(crate) fn reload(&mut self, files: &[(&str, &[u8])]) -> Result<(), Mistakes> {
        write(self.dir.path(), files);
        let (config, generation) = prepare(self.dir.path(), self.engine.generation() + 1, &self.modules)?;
        self.shard.replace(Arc::new(generation), self.now, &());
        let actions = self.engine.handle(Event::PolicyChanged(self.numbers.plan(&config).policy), self.now);
        self.act(actions);
        Ok(())
    }

    /// Deletes a rule's file and goes on without it.
    pub(crate) fn withdraw(&mut self, file: &str) {
        fs::remove_file(self.dir.path().join("rules").join(file)).unwrap();
        self.reload(&[]).unwrap();
    }

    /// Plays knocks, a line each: `+SECONDS SOURCE TRANSPORT/PORT [FLAGS]`, flags as letters of FSRPAUEC; and lets
    /// the last deadline before `+SECONDS end` come.
    pub(crate) fn play(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<_> = line.split(' ').collect();
            self.wait_until(words[0].trim_start_matches('+').parse().unwrap());
            if words[1] != "end" {
                let knock = knock(self.now, words[1], words[2], words.get(3).copied().unwrap_or(""));
                self.judge(&knock);
            }
        }
    }

    /// Has all rules judge a knock; what came of it, by rule.
    pub(crate) fn judge(&mut self, knock: &Knock) -> Vec<(String, Outcome)> {
        let now = self.now;
        let recorder = Recorder::default();
        let running = self.runtime.running();
        // Why no rule was asked is nothing that a world tells.
        let _ = self.shard.judge(
            &running,
            knock,
            now,
            |_| true,
            &recorder,
            |rule, request| recorder.note(rule, Outcome::Asks(request)),
        );
        drop(running);
        let outcomes = recorder.0.into_inner().unwrap();
        for (rule, outcome) in &outcomes {
            match outcome {
                Outcome::TimedOut { client, stage } => {
                    self.tell(&format!("{rule} {client} timeout at stage {stage}"));
                }
                Outcome::Stage(stage) => self.tell(&format!("{rule} {} stage {stage}", knock.source)),
                Outcome::Forgot(reason) => self.tell(&format!("{rule} {} forgot: {reason}", knock.source)),
                Outcome::Fault(what, pause) => self.tell(&format!("{rule} fault: {what}, rests {pause:?}")),
                Outcome::Dropped(reason) => self.tell(&format!("{rule} dropped: {reason}")),
                Outcome::OverShare => self.tell(&format!("{} is over its share", rule.tenant)),
                Outcome::Asks(request) => {
                    let request = request.clone();
                    let event = Event::Judged {
                        rule: rule.clone(),
                        generation: self.engine.generation(),
                        source: Client::on_link(knock.source, knock.link),
                        request,
                    };
                    let actions = self.engine.handle(event, now);
                    self.act(actions);
                }
            }
        }
        outcomes.into_iter().map(|(rule, outcome)| (rule.name.to_string(), outcome)).collect()
    }

    pub(crate) fn instances(&self) -> usize {
        self.shard.instances()
    }

    pub(crate) fn remembered(&self) -> usize {
        self.shard.remembered()
    }

    fn wait_until(&mut self, seconds: f64) {
        let end = Moment(Duration::from_secs_f64(seconds));
        while let Some(deadline) = self.engine.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            let actions = self.engine.handle_deadline(self.now);
            self.act(actions);
        }
        self.now = end;
    }

    /// Doors carry out orders at once.
    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Order { order, .. } => {
                    let receipt = Receipt { serial: order.serial, outcome: Ok(()) };
                    let actions = self.engine.handle(Event::Answered(receipt), self.now);
                    self.act(actions);
                }
                Action::Claim(Claim { serial, rule, what, .. }) => {
                    let ClaimKind::Once(once) = what else { panic!("no rule here is one-time: {rule}") };
                    let result = self.used.claim(&rule, &once);
                    let actions = self.engine.handle(Event::Claimed { serial, result }, self.now);
                    self.act(actions);
                }
                Action::Record { serial, .. } => {
                    let actions = self.engine.handle(Event::Recorded { serial, result: Ok(()) }, self.now);
                    self.act(actions);
                }
                Action::StrikeOut { .. } | Action::Note { .. } | Action::Abandon { .. } => {}
                Action::Tell(report) => {
                    let (door, client) = (report.door.as_deref().unwrap(), report.client.unwrap());
                    let rule = report.rule().map_or_else(|| "-".to_owned(), RuleId::to_string);
                    match &report.what {
                        What::Opened { lasts, .. } => self.tell(&format!("open {door} {client} {lasts:?}")),
                        What::Closed { why } => self.tell(&format!("close {door} {client} {why:?}")),
                        other => self.tell(&format!("{rule} {door} {client} {other:?}")),
                    }
                }
            }
        }
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.out, "+{:.1} {what}", self.now.0.as_secs_f64()).unwrap();
    }
}

fn write(dir: &Path, files: &[(&str, &[u8])]) {
    for (name, contents) in files {
        let file = dir.join("rules").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, contents).unwrap();
    }
}

/// Loads modules, and compiles them in this process.
pub(crate) fn modules() -> Modules {
    let runtime = Runtime::start().unwrap();
    let loader = Loader::new(runtime.clone(), Arc::new(())).unwrap();
    Modules::in_process(&runtime, loader)
}

fn prepare(dir: &Path, number: u64, modules: &Modules) -> Result<(Config, Generation), Mistakes> {
    let config = Config::load(&dir.join("postern.toml"))?;
    let generation = load_rules(number, &config, modules, &Activity::default())?;
    Ok((config, generation))
}

/// A knock at this machine; a source may have the index of its link behind it, `fe80::1%2`.
pub(crate) fn knock(now: Moment, source: &str, port: &str, flags: &str) -> Knock {
    let (transport, port) = port.split_once('/').unwrap();
    let (source, link) = source.split_once('%').map_or((source, 0), |(it, link)| (it, link.parse().unwrap()));
    let bit = |letter| 1 << "FSRPAUEC".find(letter).unwrap();
    Knock {
        time: Timestamp(BEGIN).plus(now.0),
        source: source.parse::<IpAddr>().unwrap(),
        source_port: 40_000,
        destination: [198, 51, 100, 1].into(),
        destination_port: port.parse().unwrap(),
        transport: match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            other => panic!("no such transport: {other}"),
        },
        tcp_flags: TcpFlags(flags.chars().map(bit).sum()),
        hop_limit: 64,
        packet_length: 28,
        tcp_header: None,
        interface: "lo".into(),
        interface_index: 1,
        link,
        direction: Direction::Incoming,
        sighting: None,
        payload: Box::default(),
    }
}
