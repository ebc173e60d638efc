//! Both ends in one process: what an engine makes of what the supervisor reads, beside what it would make of the files itself.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Condvar;
use std::time::Instant;

use crate::compile::{Compile, CompileAsker, ModuleBytes};
use crate::module_code::{CodeProvider, Modules};
use crate::signals::Signals;
use crate::systemd::ServiceManager;
use postern_config::{
    Activity, Advice, ConfigReading, ConfigSource, OpenError, PosternToml, RuleFile, TenantFiles, Trust,
};
use postern_core::{DoorId, Likeness, Observer, RuleId, TenantId};
use postern_sandbox::{Artifact, Compiler, Loader, Patience, Runtime};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::assemble::RunningRules;
use crate::main_loop_event::{MainLoopEvent, Prepared, channel};
use crate::origin::{Origin, Preparation};
use crate::reload::{Reloads, prepare};
use crate::roles::remote_origin::RemoteOrigin;
use crate::state;

mod hanging;
mod running;

const A_WHILE: Duration = Duration::from_secs(30);

const CONFIG: &str = r#"interfaces = ["lo"]
[doors.ssh]
guard = "tcp/22"
prefixes = ["ipv6/64"]
[doors.web]
set = "inet filter web"
[doors.lamp]
open = ["/bin/sh", "{ip}"]
close = ["/bin/sh"]
[tenants.a]
rules = "a"
grant.doors = ["ssh"]
grant.any_port = true
grant.interfaces = ["any"]
"#;
const RULE: &str = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"1/udp\"]\n";

/// Keeps the tables that it was given.
#[derive(Default)]
struct Kept {
    tables: Mutex<Vec<ConfigTable>>,
    journal: Mutex<Option<String>>,
}

impl Kept {
    fn numbers(&self) -> Vec<u32> {
        self.tables.lock().unwrap().iter().map(|table| table.number).collect()
    }

    fn newest(&self) -> ConfigTable {
        self.tables.lock().unwrap().last().unwrap().clone()
    }
}

impl TableHolders for Kept {
    fn give(&self, table: &ConfigTable) {
        self.tables.lock().unwrap().push(table.clone());
    }

    fn open_journal(&self, table: &ConfigTable) -> Result<bool, String> {
        match &*self.journal.lock().unwrap() {
            Some(error) => Err(error.clone()),
            None => Ok(table.command_doors().next().is_some()),
        }
    }
}

struct World {
    dir: TempDir,
    kept: Arc<Kept>,
    service: Arc<ReadingService>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kept = Arc::new(Kept::default());
        let source = Arc::new(PosternToml::new(dir.path().join("postern.toml"), Trust::Anybody));
        let holders: Arc<dyn TableHolders> = Arc::<Kept>::clone(&kept);
        let origin = Arc::new(LocalOrigin::new(source, code(), Arc::new(())));
        let service = ReadingService::start(origin, Some(true), holders, Box::new(Vec::new));
        let world = Self { dir, kept, service };
        world.write("postern.toml", CONFIG);
        for file in ["rules/h.toml", "a/x.toml", "a/y.toml"] {
            world.write(file, RULE);
        }
        world
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// An engine's end.
    fn engine(&self) -> RemoteOrigin {
        engine(&self.service)
    }

    fn local(&self) -> LocalOrigin {
        let source = PosternToml::new(self.dir.path().join("postern.toml"), Trust::Anybody);
        LocalOrigin::unwatched(Arc::new(source), code(), Arc::new(()))
    }
}

fn engine(service: &Arc<ReadingService>) -> RemoteOrigin {
    let (one, other) = Talk::pair().unwrap();
    service.attach(other).unwrap();
    RemoteOrigin::start(one, || {}).unwrap()
}

fn code() -> Arc<dyn CodeProvider> {
    let runtime = Runtime::start().unwrap();
    let loader = Loader::new(runtime.clone(), Arc::new(())).unwrap();
    Modules::in_process(&runtime, loader).code
}

fn loader() -> Loader {
    Loader::new(Runtime::start().unwrap(), Arc::new(())).unwrap()
}

fn prepared(
    origin: &dyn Origin,
    ticket: u64,
    loader: &Loader,
    before: Option<Arc<RunningRules>>,
) -> Prepared {
    prepare(origin, &*origin.prepare(ticket, false), ticket, loader, before, Patience::OfReload)
}

/// Everything that is the same whoever read it.
fn shown(prepared: &Prepared) -> String {
    let Prepared { config, generation, refused, .. } = prepared;
    let mut config = config.clone();
    config.iter_mut().flat_map(|config| &mut config.rules).for_each(|rule| rule.number = 0);
    let rules = |generation: &postern_sandbox::Generation| {
        generation.rules.iter().map(|rule| rule.id.to_string()).collect::<Vec<_>>()
    };
    format!("{config:#?} {:#?} {refused:#?}", generation.as_ref().map(rules))
}

/// Compiles in this process, and keeps the code of the module that came last.
struct KeepsLast(Compiler, Mutex<Option<(ModuleDigest, Artifact)>>);

impl Compile for KeepsLast {
    fn compile(&self, module: &ModuleBytes<'_>, _asker: &CompileAsker<'_>) -> Result<Artifact, LoadError> {
        let artifact = self.0.compile(module.bytes)?;
        *self.1.lock().unwrap() = Some((module.digest, artifact.try_clone().map_err(LoadError::Read)?));
        Ok(artifact)
    }

    fn kept(&self, digest: ModuleDigest, _owner: &TenantId) -> Option<Artifact> {
        let kept = self.1.lock().unwrap();
        kept.as_ref().filter(|(of, _)| *of == digest).and_then(|(_, artifact)| artifact.try_clone().ok())
    }
}

#[test]
fn a_module_whose_code_is_kept_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("mine.wasm");
    let restore = || fs::write(&module, postern_sandbox::stock::bytes("sequence")).unwrap();
    let remove = || fs::remove_file(&module).unwrap();
    fs::create_dir(dir.path().join("rules")).unwrap();
    fs::write(dir.path().join("postern.toml"), CONFIG.split("[tenants").next().unwrap()).unwrap();
    fs::write(dir.path().join("rules/h.toml"), RULE.replace("\"sequence\"", &format!("{module:?}"))).unwrap();
    restore();
    let source = Arc::new(PosternToml::new(dir.path().join("postern.toml"), Trust::Anybody));
    let code = Arc::new(KeepsLast(Compiler::new().unwrap(), Mutex::default()));
    let origin = Arc::new(LocalOrigin::new(source, code, Arc::new(())));
    let service = ReadingService::start(origin, Some(true), Arc::new(Kept::default()), Box::new(Vec::new));
    let origin = engine(&service);
    let preparation = origin.prepare(1, false);
    let config = preparation.read().reading.config.unwrap();
    let code = preparation.code(&config);
    let found = code.find(0, &config.rules[0].module).unwrap();
    remove();
    assert!(found.code(false).is_err(), "nothing is kept yet");
    restore();
    assert!(found.code(false).is_ok());
    remove();
    assert!(found.code(false).is_ok(), "it need not be read for that");
    assert!(found.code(true).is_err(), "what was kept is no good");
}

#[test]
fn an_engine_makes_of_it_what_it_would_make_of_the_files() {
    let world = World::new();
    let (remote, local, loader) = (world.engine(), world.local(), loader());
    assert_eq!(remote.facts().file, world.dir.path().join("postern.toml"));
    assert_eq!((remote.facts().guarded, remote.facts().needs_journal), (Some(true), true));
    let module =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/sequence.wat")).unwrap();
    let module = wat::parse_str(module).unwrap();
    fs::write(world.dir.path().join("a/good.wasm"), module).unwrap();
    let own = "module = \"./good.wasm\"\ndoor = \"ssh\"\n";
    world.write("a/own.toml", own);
    let mut ticket = 0;
    let mut same = || {
        ticket += 1;
        let (far, near) = (prepared(&remote, ticket, &loader, None), prepared(&local, ticket, &loader, None));
        assert_eq!(shown(&far), shown(&near));
        (far, near)
    };
    let (good, _) = same();
    assert_eq!(good.generation.as_ref().unwrap().rules.len(), 4);
    assert!(good.refused.is_empty() && good.numbers.is_some());
    // A module that is none, one that is not there, one that is a folder, one that is too long to be asked for by name.
    world.write("a/bad.wasm", "garbage");
    fs::create_dir(world.dir.path().join("a/folder.wasm")).unwrap();
    for module in ["./bad.wasm", "./missing.wasm", "./folder.wasm"] {
        world.write("a/own.toml", &own.replace("./good.wasm", module));
        let (far, _) = same();
        assert_eq!((far.refused.len(), far.generation.as_ref().unwrap().rules.len()), (1, 1), "{module}");
    }
    world.write("rules/h.toml", "garbage");
    assert!(same().0.numbers.is_none());
    world.write("postern.toml", "garbage");
    assert!(same().0.config.is_none());
}

#[test]
fn tables_are_given_before_the_engine_hears_of_them_and_numbers_are_never_given_twice() {
    let world = World::new();
    let number = |numbers: &Numbers, name: &str| numbers.doors[name];
    let read = |engine: &RemoteOrigin, ticket| engine.prepare(ticket, false).read();
    let first_engine = world.engine();
    let first = read(&first_engine, 1);
    let numbers = first.numbers.unwrap();
    // It has all that they are held to, and the engine's plan has the same numbers.
    let table = world.kept.newest();
    assert_eq!((table.number, table.doors.len(), table.net_doors().len()), (numbers.table, 3, 2));
    let config = first.reading.config.unwrap();
    let plan = DoorNumbers::default().plan_numbered(&config, Some(&numbers));
    assert_eq!(plan.table, table.number);
    let ids = |doors: &mut dyn Iterator<Item = DoorId>| doors.collect::<HashSet<_>>();
    assert_eq!(
        ids(&mut plan.doors.iter().map(|(id, _)| *id)),
        ids(&mut table.doors.iter().map(|(id, _)| *id))
    );
    for rule in &config.rules {
        assert_eq!((table.rules[&rule.number].clone(), plan.rules[&rule.id]), (rule.id.clone(), rule.number));
    }
    // A door that did not change keeps its number; one that changed is another one, and does not come back.
    world.write("postern.toml", &CONFIG.replace("tcp/22", "tcp/23"));
    let second = read(&first_engine, 2).numbers.unwrap();
    assert_eq!(number(&second, "web"), number(&numbers, "web"));
    assert_ne!(number(&second, "ssh"), number(&numbers, "ssh"));
    assert_eq!(world.kept.numbers(), [1, 2]);
    // The next engine begins with its tickets anew, and not with its numbers.
    let second_engine = world.engine();
    world.write("rules/other.toml", RULE);
    let third = read(&second_engine, 1);
    let rules = third.reading.config.unwrap().rules;
    let third = third.numbers.unwrap();
    assert_eq!(number(&third, "ssh"), number(&second, "ssh"));
    assert!(third.table > second.table && second.table > numbers.table);
    assert_eq!(world.kept.numbers(), [numbers.table, second.table, third.table]);
    let other = rules.iter().find(|rule| *rule.id.name == *"other").unwrap();
    assert!(config.rules.iter().all(|rule| rule.number < other.number));
    // The engine before is served no more.
    let late = read(&first_engine, 3);
    assert!(late.numbers.is_none() && late.reading.mistakes[0].to_string().contains("is not read"));
    assert_eq!(world.kept.numbers().len(), 3);
}

#[test]
fn rules_that_a_tenant_keeps_keep_their_numbers_and_are_missed_when_they_are_gone() {
    let world = World::new();
    let (engine, loader) = (world.engine(), loader());
    let in_force = |prepared: Prepared| {
        let config = prepared.config.unwrap();
        let kept =
            config.rules.iter().filter(|rule| prepared.refused.iter().any(|of| of.tenant == rule.id.tenant));
        let kept: Vec<_> = kept.map(|rule| rule.number).collect();
        engine.in_force(&config, &[], prepared.numbers.unwrap().table, &kept);
        Arc::new(RunningRules { rules: config.rules, generation: Arc::new(prepared.generation.unwrap()) })
    };
    let number = |running: &RunningRules, name: &str| {
        running.rules.iter().find(|rule| rule.id.to_string() == name).map(|rule| rule.number).unwrap()
    };
    let first = in_force(prepared(&engine, 1, &loader, None));
    let gone = |running: &RunningRules| {
        let mut gone: Vec<_> = engine.gone(&running.rules).unwrap().iter().map(RuleId::to_string).collect();
        gone.sort();
        gone.join(" ")
    };
    assert_eq!(gone(&first), "");
    // One rule of the tenant's is wrong and the other one is gone; what runs is what ran before.
    world.write("a/x.toml", "garbage");
    fs::remove_file(world.dir.path().join("a/y.toml")).unwrap();
    assert_eq!(gone(&first), "a/y");
    for ticket in 2..5 {
        let running = in_force(prepared(&engine, ticket, &loader, Some(Arc::clone(&first))));
        assert_eq!(running.rules.len(), 3);
        assert_eq!(number(&running, "a/y"), number(&first, "a/y"));
        assert_eq!(gone(&running), "a/y");
        assert!(world.kept.newest().rules.values().any(|rule| rule.to_string() == "a/y"));
    }
    // Once it does not run any more its number is forgotten.
    world.write("a/x.toml", RULE);
    let last = in_force(prepared(&engine, 5, &loader, Some(Arc::clone(&first))));
    assert_eq!(last.rules.len(), 2);
    world.write("a/y.toml", RULE);
    let again = in_force(prepared(&engine, 6, &loader, Some(last)));
    assert!(number(&again, "a/y") > number(&first, "a/y"));
    assert_eq!(number(&again, "a/x"), number(&first, "a/x"));
}

#[test]
fn the_journal_is_anothers_and_what_is_wrong_with_it_is_known() {
    let world = World::new();
    let (engine, loader) = (world.engine(), loader());
    let preparation = engine.prepare(1, false);
    let config = prepare(&engine, &*preparation, 1, &loader, None, Patience::OfReload).config.unwrap();
    let opened = preparation.open_journal(&config);
    assert!(opened.is_there() && opened.journal.is_none() && opened.error.is_none());
    *world.kept.journal.lock().unwrap() = Some("no room".to_owned());
    let opened = preparation.open_journal(&config);
    assert!(!opened.is_there());
    let mistakes = state::without_journal(engine.facts(), &config, opened.error, &()).unwrap();
    assert!(
        mistakes.to_string().ends_with("doors.lamp: nobody would close it after a crash: no room"),
        "{mistakes}"
    );
}

#[tokio::test]
async fn a_change_of_a_file_makes_the_engine_prepare_again() {
    let world = World::new();
    let engine = Arc::new(world.engine());
    let (sender, mut events) = channel();
    let origin: Arc<dyn Origin> = Arc::<RemoteOrigin>::clone(&engine);
    let mut reloads =
        Reloads::new(origin, loader(), sender, Arc::new(()), Arc::new(ServiceManager::of_this_process()));
    let mut hangup = Signals::catch().unwrap().hangup;
    reloads.ask();
    for (generation, rules) in [(1_u64, 3), (2, 4), (3, 5)] {
        let next = async {
            loop {
                tokio::select! {
                    Some(event) = events.recv() => if let MainLoopEvent::Prepared(prepared) = event
                        && let Some((prepared, _)) = reloads.accept(*prepared)
                        && prepared.config.as_ref().is_some_and(|config| config.rules.len() == rules)
                    {
                        return prepared;
                    },
                    () = reloads.turn(&mut hangup, false) => {}
                }
            }
        };
        let prepared = timeout(A_WHILE, next).await.unwrap();
        let (config, made) = (prepared.config.unwrap(), Arc::new(prepared.generation.unwrap()));
        let table = prepared.numbers.unwrap().table;
        reloads.in_force(&config, &made, table, &prepared.refused);
        assert!(!reloads.is_pending());
        world.write(&format!("rules/n{generation}.toml"), RULE);
    }
    // A file that is not closed after a write is waited for, there as here.
    let mut file = File::create(world.dir.path().join("rules/open.toml")).unwrap();
    file.write_all(b"module").unwrap();
    let until = Instant::now() + A_WHILE;
    while !reloads.is_being_written() {
        assert!(Instant::now() < until, "nothing is being written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(file);
    while reloads.is_being_written() {
        assert!(Instant::now() < until, "it is still being written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn what_an_engine_may_not_ask_is_refused_and_the_service_goes_on() {
    let world = World::new();
    let (one, other) = Talk::pair().unwrap();
    world.service.attach(other).unwrap();
    let client: postern_link::RpcClient<ReadingRequest, ReadingAnswer> = postern_link::RpcClient::start(
        one.split(None).unwrap(),
        9,
        1 << 20,
        |_: super::super::reading_messages::FilesNotice| {},
        || {},
    )
    .unwrap();
    let ask = |request| client.call(&request).unwrap().0;
    assert!(matches!(ask(ReadingRequest::Read { ticket: 7, avoids: false }), ReadingAnswer::Reading(_)));
    let odd = [
        ReadingRequest::Read { ticket: 7, avoids: false },
        ReadingRequest::Read { ticket: 0, avoids: false },
        ReadingRequest::Code { ticket: 7, place: 99, anew: true },
        ReadingRequest::FindModule { ticket: 7, place: u32::MAX },
        ReadingRequest::Code { ticket: u64::MAX, place: 0, anew: false },
        ReadingRequest::Journal { ticket: 8 },
        ReadingRequest::Advice { ticket: 8 },
    ];
    for request in odd {
        assert!(matches!(ask(request.clone()), ReadingAnswer::Refused(_)), "{request:?}");
    }
    client.tell(&ReadingRequest::InForce { table: 99, kept: vec![(5, 1), (0, u32::MAX)] });
    assert!(matches!(ask(ReadingRequest::Gone), ReadingAnswer::Gone(gone) if gone.is_empty()));
    // All rules a thousand times: each is looked for once.
    let ranges = (0..1024).map(|n| (n % 7, u32::MAX - n)).chain([(9, 3)]).collect();
    assert_eq!(merged(ranges), [(0, u32::MAX)]);
    assert_eq!(merged(vec![(8, 9), (1, 2), (3, 4), (6, 6)]), [(1, 4), (6, 6), (8, 9)]);
    // What is too long ends the talk and nothing else.
    client.tell(&ReadingRequest::InForce { table: 1, kept: vec![(1, 1); MOST_REQUEST] });
    assert!(client.call(&ReadingRequest::Facts).is_err());
    assert!(world.engine().prepare(1, false).read().numbers.is_some());
}
