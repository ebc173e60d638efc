use std::fs;

use postern_config::{PosternToml, Trust};
use postern_core::RuleId;
use postern_sandbox::{Artifact, LoadError, Runtime};
use postern_tests::Signer;
use postern_tests::guest::guest;

use super::*;
use crate::compile::{Compile, CompileAsker, ModuleBytes};
use crate::module_code::{CodeProvider, Modules};
use crate::origin::LocalOrigin;

const CONFIG: &str = "interfaces = [\"lo\"]\n[doors.ssh]\nguard = \"tcp/22\"\n[tenants.a]\nrules = \"a\"\ngrant.doors = [\"ssh\"]\ngrant.any_port = true\ngrant.interfaces = [\"any\"]\n[tenants.b]\nrules = \"b\"\ngrant.doors = [\"ssh\"]\ngrant.any_port = true\ngrant.interfaces = [\"any\"]\n";
const RULE: &str = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"1/udp\"]\n";

struct World {
    dir: tempfile::TempDir,
    loader: Loader,
    code: Arc<dyn CodeProvider>,
    running: Option<RunningRules>,
    patience: Patience,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("postern.toml"), CONFIG).unwrap();
        let runtime = Runtime::start().unwrap();
        let loader = Loader::new(runtime.clone(), Arc::new(())).unwrap();
        let Modules { loader, code } = Modules::in_process(&runtime, loader);
        let world = Self { dir, loader, code, running: None, patience: Patience::OfReload };
        for file in ["rules/h.toml", "a/x.toml", "a/y.toml", "b/x.toml"] {
            world.write(file, RULE);
        }
        world
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// A rule of the file `m.wasm`, by the same path whosever it is.
    fn of_file(&self) -> String {
        format!("module = {:?}\ndoor = \"ssh\"\n", self.dir.path().join("m.wasm"))
    }

    fn assemble(&self) -> Assembled {
        let source = PosternToml::new(self.dir.path().join("postern.toml"), Trust::Anybody);
        let preparation =
            LocalOrigin::unwatched(Arc::new(source), Arc::clone(&self.code), Arc::new(())).begin(false);
        assemble(preparation.read_files(), self.running.as_ref(), &self.loader, &*preparation, self.patience)
    }

    /// The rules that run then, of the generation and of the configuration, and which tenants were refused with how many rules left.
    #[track_caller]
    fn reload(&mut self, rules: &str, refused: &str) {
        let Assembled { config, generation, refused: found } = self.assemble();
        let (config, generation) = (config.unwrap(), generation.unwrap());
        let names = |ids: &mut dyn Iterator<Item = &RuleId>| {
            let mut ids: Vec<_> = ids.map(RuleId::to_string).collect();
            ids.sort();
            ids.join(" ")
        };
        assert_eq!(names(&mut generation.rules.iter().map(|rule| &rule.id)), rules);
        assert_eq!(names(&mut config.rules.iter().map(|rule| &rule.id)), rules);
        let found: Vec<_> = found.iter().map(|of| format!("{} {}", of.tenant, of.kept)).collect();
        assert_eq!(found.join(" "), refused);
        self.running = Some(RunningRules { rules: config.rules, generation: Arc::new(generation) });
    }
}

#[test]
fn a_mistake_keeps_back_its_tenants_change_alone() {
    let mut world = World::new();
    world.reload("a/x a/y b/x h", "");
    for (file, text) in [
        ("a/y.toml", "garbage"),
        ("a/y.toml", "module = \"./y.wasm\"\ndoor = \"ssh\"\n"),
        ("a/y.toml", "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = []\n"),
    ] {
        world.write(file, text);
        world.reload("a/x a/y b/x h", "a 2");
    }
    // Others go on, and so it is as often as may be.
    world.write("b/z.toml", RULE);
    world.write("rules/h2.toml", RULE);
    world.reload("a/x a/y b/x b/z h h2", "a 2");
    fs::remove_dir_all(world.dir.path().join("a")).unwrap();
    world.reload("a/x a/y b/x b/z h h2", "a 2");
    world.write("a/other.toml", RULE);
    world.reload("a/other b/x b/z h h2", "");
    let (without_a, _) = CONFIG.split_once("[tenants.a]").unwrap();
    world.write("postern.toml", without_a);
    world.reload("h h2", "");
}

#[test]
fn what_goes_on_sees_and_uses_no_more_than_is_granted_now() {
    let mut world = World::new();
    world.reload("a/x a/y b/x h", "");
    world.write("a/x.toml", &RULE.replace("1/udp", "1/udp:2/udp"));
    for (from, to, watched) in [
        ("", "", 1),
        ("grant.any_port = true\n", "", 0),
        ("grant.any_port = true\n", "grant.watch = [\"udp/1\"]\n", 1),
        ("[\"any\"]", "[\"lo\"]", 1),
    ] {
        world.write("postern.toml", &CONFIG.replacen(from, to, 1));
        world.write("a/y.toml", "garbage");
        let Assembled { generation, refused, .. } = world.assemble();
        assert_eq!(refused.len(), 1);
        let generation = generation.unwrap();
        let of_a = |rule: &usize| generation.rules[*rule].id.tenant == TenantId::new("a");
        for rule in (0..generation.rules.len()).filter(of_a) {
            let subscription = generation.dispatch.subscription(rule);
            assert_eq!(subscription.interest.watches.len(), watched, "{to}");
            let interfaces: &[Arc<str>] = if to.contains("lo") { &["lo".into()] } else { &[] };
            assert_eq!((&*subscription.interfaces, subscription.is_local_only), (interfaces, true));
        }
    }
}

#[test]
fn a_module_that_asks_to_see_more_than_is_granted_is_its_tenants_mistake() {
    let mut world = World::new();
    world.write("postern.toml", &CONFIG.replacen("grant.any_port = true", "grant.watch = [\"udp/2-9\"]", 1));
    let Assembled { refused, .. } = world.assemble();
    let told: Vec<_> = refused.iter().flat_map(|of| of.mistakes.iter().map(ToString::to_string)).collect();
    assert_eq!(told.len(), 2);
    let what = "x.toml:1: module: with these settings it asks for udp/1; it may watch udp/2-9, as [tenants.a.grant] in postern.toml says";
    assert!(told.iter().any(|told| told.ends_with(what)), "{told:?}");
    world.reload("b/x h", "a 0");
}

#[test]
fn what_one_tenant_may_not_load_another_may() {
    let mut world = World::new();
    fs::write(world.dir.path().join("m.wasm"), postern_sandbox::stock::bytes("sequence")).unwrap();
    for file in ["a/x.toml", "b/x.toml"] {
        world.write(file, &RULE.replace("sequence\"\ndoor", "../m.wasm\"\ndoor"));
    }
    world.write(
        "postern.toml",
        &CONFIG.replacen("rules = \"a\"\n", "rules = \"a\"\nlimits.module = \"1KiB\"\n", 1),
    );
    world.reload("b/x h", "a 0");
    world.write("postern.toml", CONFIG);
    world.reload("a/x a/y b/x h", "");
}

/// A module with 1,024 watches of TCP with flags, in places that follow from its settings and look random.
fn scattered() -> Vec<u8> {
    let definitions = r#"(func $scatter (param $at i32) (param $length i32) (result i32) (local $random i32) (local $watch i32)
        (loop $each_byte
            (local.set $random (i32.mul (i32.add (local.get $random) (i32.load8_u (local.get $at))) (i32.const 1664525)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $each_byte (local.tee $length (i32.sub (local.get $length) (i32.const 1)))))
        (local.set $watch (i32.const 16384))
        (loop $each_watch
            (local.set $random (i32.add (i32.mul (local.get $random) (i32.const 1664525)) (i32.const 1013904223)))
            (i32.store8 (local.get $watch) (i32.const 0))
            (i32.store16 offset=2 (local.get $watch) (i32.rem_u (i32.shr_u (local.get $random) (i32.const 12)) (i32.const 64000)))
            (i32.store16 offset=4 (local.get $watch) (i32.add (i32.load16_u offset=2 (local.get $watch)) (i32.const 700)))
            (i32.store8 offset=6 (local.get $watch) (i32.shr_u (local.get $random) (i32.const 28)))
            (local.set $watch (i32.add (local.get $watch) (i32.const 8)))
            (br_if $each_watch (i32.lt_u (local.get $watch) (i32.const 24576))))
        (i32.store (i32.const 52) (i32.const 16384))
        (i32.store (i32.const 56) (i32.const 1024))
        (i32.const 48))"#;
    guest(definitions, "(call $scatter (local.get 0) (local.get 1))", "(i32.const 96)")
}

#[test]
fn what_one_tenant_watches_costs_no_other_its_change() {
    let mut world = World::new();
    fs::write(world.dir.path().join("m.wasm"), scattered()).unwrap();
    let write = |world: &World, owner: &str, seeds: std::ops::Range<u32>| {
        for seed in seeds {
            world.write(
                &format!("{owner}/z{seed}.toml"),
                &format!("{}[settings]\nseed = {seed}\n", world.of_file()),
            );
        }
    };
    // As much as a tenant may have, and as much as the host.
    write(&world, "a", 0..3);
    write(&world, "rules", 0..3);
    world.reload("a/x a/y a/z0 a/z1 a/z2 b/x h z0 z1 z2", "");
    // One that wants more is told what it may have; what the others change at the same moment is in force, however much that is.
    write(&world, "a", 3..8);
    write(&world, "b", 0..3);
    write(&world, "rules", 3..8);
    let [refused] = &world.assemble().refused[..] else { panic!("one is refused") };
    let told = refused.mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let folder = world.dir.path().join("a");
    assert!(
        told.starts_with(&format!("{}: the ranges of ports that the rules here watch", folder.display())),
        "{told}"
    );
    assert!(told.contains("may have 262144 entries in all"), "{told}");
    let host = "h z0 z1 z2 z3 z4 z5 z6 z7";
    world.reload(&format!("a/x a/y a/z0 a/z1 a/z2 b/x b/z0 b/z1 b/z2 {host}"), "a 5");
    // With less granted it still goes on.
    world.write(
        "postern.toml",
        &CONFIG.replacen(
            "grant.any_port = true",
            "grant.watch = [\"tcp/1-9\", \"tcp/100-200\", \"tcp/5000-50000\"]",
            1,
        ),
    );
    world.reload(&format!("a/x a/y a/z0 a/z1 a/z2 b/x b/z0 b/z1 b/z2 {host}"), "a 5");
    for seed in 3..8 {
        fs::remove_file(folder.join(format!("z{seed}.toml"))).unwrap();
    }
    world.write("postern.toml", CONFIG);
    world.reload(&format!("a/x a/y a/z0 a/z1 a/z2 b/x b/z0 b/z1 b/z2 {host}"), "");
}

/// A configuration whose tenant a may have many rules, which may take 100 ms to start.
fn slow_config() -> String {
    CONFIG.replacen("rules = \"a\"\n", "rules = \"a\"\nlimits.rules = 200\nlimits.cpu = \"10ms\"\n", 1)
}

/// Writes so many rules of tenant a that run the module.
fn write_many(world: &World, rules: usize) {
    for n in 0..rules {
        world.write(
            &format!("a/m{n}.toml"),
            &format!("{}limits.cpu = \"10ms\"\n[settings]\nn = {n}\n", world.of_file()),
        );
    }
}

#[test]
fn a_tenant_whose_rules_never_start_is_refused_after_its_budget() {
    let mut world = World::new();
    world.write("postern.toml", &slow_config());
    world.reload("a/x a/y b/x h", "");
    let spins = guest("", "(loop $forever (br $forever)) (i32.const 48)", "(i32.const 96)");
    fs::write(world.dir.path().join("m.wasm"), spins).unwrap();
    write_many(&world, 20);
    let changed = RULE.replace("1/udp", "2/udp");
    world.write("b/x.toml", &changed);
    world.write("rules/h.toml", &changed);
    let assembled = world.assemble();
    let [refused] = &assembled.refused[..] else { panic!("one is refused") };
    let told: Vec<_> = refused.mistakes.iter().map(ToString::to_string).collect();
    let (faults, others): (Vec<_>, Vec<_>) = told.iter().partition(|told| told.contains("past its CPU time"));
    // Each takes 100 ms, and there are 200 for all.
    assert!((1..=2).contains(&faults.len()), "{told:?}");
    let folder = world.dir.path().join("a");
    let left = 20 - faults.len();
    let expected = format!(
        "{}: {left} rules were not tried: trying others took 200ms, which is what each tenant has for it at a time; mend the mistakes first, or have modules do less when they start",
        folder.display()
    );
    assert_eq!(others, [&expected]);
    // What the others changed is in force.
    let generation = assembled.generation.unwrap();
    for (n, rule) in generation.rules.iter().enumerate() {
        let port = if rule.id.tenant == TenantId::new("a") { 1 } else { 2 };
        assert_eq!(generation.dispatch.subscription(n).interest.watches[0].first_port, port, "{}", rule.id);
    }
    // Who only looks at the files waits for all.
    world.patience = Patience::Endless;
    assert_eq!(world.assemble().refused[0].mistakes.iter().count(), 20);
}

#[test]
fn a_tenant_whose_rules_start_slowly_gets_them_by_and_by_and_keeps_nobody_waiting() {
    let mut world = World::new();
    world.write("postern.toml", &slow_config());
    world.reload("a/x a/y b/x h", "");
    let burns = "(i32.store (i32.const 200) (i32.const 15000000))
        (loop $more
            (i32.store (i32.const 200) (i32.sub (i32.load (i32.const 200)) (i32.const 1)))
            (br_if $more (i32.load (i32.const 200))))
        (i32.const 48)";
    fs::write(world.dir.path().join("m.wasm"), guest("", burns, "(i32.const 96)")).unwrap();
    write_many(&world, 60);
    let mut untried = 60;
    for round in 1.. {
        // Another's change goes in each time.
        world.write("b/x.toml", &RULE.replace("1/udp", &format!("{round}/udp")));
        let assembled = world.assemble();
        let generation = assembled.generation.unwrap();
        let of_b = generation.rules.iter().position(|rule| rule.id.tenant == TenantId::new("b")).unwrap();
        assert_eq!(generation.dispatch.subscription(of_b).interest.watches[0].first_port, round);
        let Some(refused) = assembled.refused.first() else {
            assert!(round > 2, "it takes some rounds: {round}");
            assert_eq!(generation.rules.len(), 62 + 2);
            break;
        };
        // What was tried is not tried again, and what it had goes on until all are tried.
        assert!(refused.untried < untried, "{} of {untried}", refused.untried);
        assert_eq!((refused.mistakes.iter().count(), refused.kept, generation.rules.len()), (0, 2, 4));
        untried = refused.untried;
    }
}

#[test]
fn who_has_mistakes_at_the_start_has_no_rules() {
    let mut world = World::new();
    world.write("a/y.toml", "garbage");
    world.reload("b/x h", "a 0");
    world.write("a/y.toml", RULE);
    world.reload("a/x a/y b/x h", "");
}

/// The module of a rule that is in a file.
const MODULE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/sequence.wat"));

fn trusting(keys: &[&Signer]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("{:?}", key.public_key())).collect();
    CONFIG.replace("rules = \"a\"", &format!("rules = \"a\"\ntrust = [{}]", keys.join(", ")))
}

/// A world whose tenant a has a module in a file as x, beside the stock module as y.
fn world_of_file(config: &str) -> World {
    let world = World::new();
    fs::write(world.dir.path().join("m.wasm"), wat::parse_bytes(MODULE).unwrap()).unwrap();
    world.write("postern.toml", config);
    world.write("a/x.toml", &world.of_file());
    world
}

#[test]
fn a_file_needs_a_signature_of_a_trusted_key_for_the_rules_of_who_trusts_it_alone() {
    let (one, other) = (Signer::new(1), Signer::new(2));
    let mut world = world_of_file(&trusting(&[&one]));
    // The same file for those who need no signature.
    world.write("b/x.toml", &world.of_file());
    world.write("rules/h.toml", &world.of_file());
    let module = wat::parse_bytes(MODULE).unwrap();
    world.reload("b/x h", "a 0");
    for (signature, refused) in [
        (other.sign(&module), "a 0"),
        ("garbage".to_owned(), "a 0"),
        (one.sign(&module[1..]), "a 0"),
        (one.sign(&module), ""),
        (one.sign_as_before(&module), ""),
    ] {
        world.running = None;
        world.write("m.wasm.minisig", &signature);
        let all = if refused.is_empty() { "a/x a/y b/x h" } else { "b/x h" };
        world.reload(all, refused);
    }
    // What is in use already is looked at each time.
    world.write("m.wasm.minisig", &other.sign(&module));
    world.reload("a/x a/y b/x h", "a 2");
    world.write("postern.toml", &trusting(&[&one, &other]));
    world.reload("a/x a/y b/x h", "");
}

#[test]
fn what_goes_on_is_signed_by_a_key_that_is_trusted_now() {
    let (one, other) = (Signer::new(1), Signer::new(2));
    let module = wat::parse_bytes(MODULE).unwrap();
    for (before, now, left) in [
        (CONFIG.to_owned(), CONFIG.to_owned(), "a/x a/y b/x h"),
        (CONFIG.to_owned(), trusting(&[&one]), "a/y b/x h"),
        (trusting(&[&one]), trusting(&[&one, &other]), "a/x a/y b/x h"),
        (trusting(&[&one, &other]), trusting(&[&one]), "a/x a/y b/x h"),
        (trusting(&[&one, &other]), trusting(&[&other]), "a/y b/x h"),
        (trusting(&[&one]), CONFIG.to_owned(), "a/x a/y b/x h"),
    ] {
        let mut world = world_of_file(&before);
        world.write("m.wasm.minisig", &one.sign(&module));
        world.reload("a/x a/y b/x h", "");
        world.write("postern.toml", &now);
        world.write("a/z.toml", "garbage");
        let refused = world.assemble().refused;
        let untrusted: Vec<_> = refused[0].untrusted.iter().map(ToString::to_string).collect();
        let is_left = left.starts_with("a/x");
        assert_eq!(untrusted, if is_left { vec![] } else { vec!["a/x"] });
        world.reload(left, if is_left { "a 2" } else { "a 1" });
        // Whatever is trusted later, what does not run any more comes back by a signature alone.
        world.write("postern.toml", &before);
        world.reload(left, if is_left { "a 2" } else { "a 1" });
    }
}

#[test]
fn a_module_without_a_good_signature_is_not_compiled() {
    struct Never;

    impl Compile for Never {
        fn compile(&self, _: &ModuleBytes<'_>, _: &CompileAsker<'_>) -> Result<Artifact, LoadError> {
            Err(LoadError::Compile("it was given".to_owned()))
        }
    }

    let mut world = world_of_file(&trusting(&[&Signer::new(1)]));
    world.code = Arc::new(Never);
    let told = |world: &World| {
        let refused = &world.assemble().refused[0];
        refused.mistakes.iter().map(ToString::to_string).find(|told| told.contains("x.toml")).unwrap()
    };
    let module = wat::parse_bytes(MODULE).unwrap();
    let is = |told: String, what: &str| {
        assert!(told.ends_with(&format!("/a/x.toml:1: module: the module {what}")), "{told}");
    };
    let needs = |error: &str| {
        format!(
            "must be signed, as trust in [tenants.a] of postern.toml says, and its signature m.wasm.minisig {error}; sign it: minisign -Sm m.wasm"
        )
    };
    is(told(&world), &needs("cannot be read: No such file or directory (os error 2)"));
    world.write("m.wasm.minisig", &Signer::new(2).sign(&module));
    is(
        told(&world),
        "has a signature, m.wasm.minisig, that was made with the key 202020202020202, which is not trusted; sign it with a key that is: 101010101010101; or add this one to trust in [tenants.a] in postern.toml",
    );
    world.write("m.wasm.minisig", &Signer::new(1).sign(b""));
    is(
        told(&world),
        "has a signature, m.wasm.minisig, that is not that of this file by the key 101010101010101: one of them was changed; sign it: minisign -Sm m.wasm",
    );
    world.write("m.wasm.minisig", "garbage");
    is(
        told(&world),
        "has a signature, m.wasm.minisig, that is no signature of minisign; sign it: minisign -Sm m.wasm",
    );
    world.write("m.wasm.minisig", &"x".repeat(5000));
    is(told(&world), &needs("is longer than 4 KiB"));
    fs::remove_file(world.dir.path().join("m.wasm.minisig")).unwrap();
    fs::create_dir(world.dir.path().join("m.wasm.minisig")).unwrap();
    is(told(&world), &needs("is not a regular file"));
    fs::remove_dir(world.dir.path().join("m.wasm.minisig")).unwrap();
    world.write("m.wasm.minisig", &Signer::new(1).sign(&module));
    is(told(&world), "cannot be compiled: it was given; make it smaller or simpler");
}

#[test]
fn a_mistake_of_the_hosts_refuses_the_whole() {
    let world = World::new();
    world.write("rules/h.toml", "garbage");
    world.write("a/y.toml", "garbage");
    let assembled = world.assemble();
    let is_in = |folder: &str| {
        let folder = world.dir.path().join(folder);
        move |mistakes: &Mistakes| mistakes.iter().all(|mistake| mistake.file.parent() == Some(&folder))
    };
    let whole = assembled.generation.err().unwrap();
    assert!(is_in("rules")(&whole), "{whole}");
    let [refused] = &assembled.refused[..] else { panic!("{:?}", assembled.refused) };
    assert!(refused.tenant == TenantId::new("a") && is_in("a")(&refused.mistakes), "{refused:?}");
}

#[test]
fn what_goes_on_is_what_was_loaded() {
    let mut world = World::new();
    world.reload("a/x a/y b/x h", "");
    let of_a = |running: &RunningRules| {
        let rules = running.generation.rules_of(&TenantId::new("a"));
        assert!(rules.iter().all(|rule| *rule.tenant() == TenantId::new("a")));
        rules.len()
    };
    let before = of_a(world.running.as_ref().unwrap());
    world.write("a/x.toml", &RULE.replace("1/udp", "2/udp"));
    world.write("a/y.toml", "garbage");
    world.reload("a/x a/y b/x h", "a 2");
    let running = world.running.unwrap();
    assert_eq!(of_a(&running), before);
    // What x says now is not what runs.
    let x = running.rules.iter().find(|rule| rule.id.to_string() == "a/x").unwrap();
    assert!(x.settings.contains("1/udp") && !x.settings.contains("2/udp"), "{}", x.settings);
    let watched = running.generation.dispatch.watches(postern_core::Direction::Incoming);
    assert!(watched.into_iter().all(|watch| watch.first_port == 1));
}
