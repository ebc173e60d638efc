//! Which modules are known to be in force, whoever says so.

use std::sync::OnceLock;

use postern_text::panic::PastPanic;

use super::*;

/// Compiles in this process, and keeps what is in force.
#[derive(Default)]
struct Records(OnceLock<Compiler>, Mutex<Vec<(String, ModuleDigest)>>);

impl Records {
    /// Whose modules are in force, of those with this digest.
    fn of(&self, digest: ModuleDigest) -> Vec<String> {
        let of = self.1.lock().past_panic();
        let mut owners: Vec<_> =
            of.iter().filter(|(_, other)| *other == digest).map(|(owner, _)| owner.clone()).collect();
        owners.sort();
        owners
    }
}

impl Compile for Records {
    fn compile(&self, module: &ModuleBytes<'_>, _asker: &CompileAsker<'_>) -> Result<Artifact, LoadError> {
        self.0.get_or_init(|| Compiler::new().unwrap()).compile(module.bytes)
    }

    fn in_force(&self, modules: &[(TenantId, ModuleDigest)]) {
        *self.1.lock().past_panic() =
            modules.iter().map(|(owner, digest)| (owner.to_string(), *digest)).collect();
    }
}

/// The stock rule's bytes, with a custom section that makes them another module.
fn module(n: u8) -> (Vec<u8>, ModuleDigest) {
    use sha2::{Digest as _, Sha256};
    let bytes = [postern_sandbox::stock::bytes("sequence"), &[0, 3, 1, b'n', n]].concat();
    let digest = Sha256::digest(&bytes).into();
    (bytes, digest)
}

#[test]
fn modules_in_force_are_those_that_run_and_not_those_that_were_refused() {
    let world = World::new();
    let records = Arc::new(Records::default());
    let code: Arc<dyn CodeProvider> = Arc::<Records>::clone(&records);
    let source = Arc::new(PosternToml::new(world.dir.path().join("postern.toml"), Trust::Anybody));
    let origin = Arc::new(LocalOrigin::new(source, code, Arc::new(())));
    let holders: Arc<dyn TableHolders> = Arc::<Kept>::clone(&world.kept);
    let service = ReadingService::start(origin, Some(true), holders, Box::new(Vec::new));
    let (first_engine, loader) = (engine(&service), loader());
    let in_force = |engine: &RemoteOrigin, ticket, before: Option<&Arc<RunningRules>>| {
        let prepared = prepared(engine, ticket, &loader, before.map(Arc::clone));
        let config = prepared.config.unwrap();
        let is_kept = |rule: &&RuleFile| prepared.refused.iter().any(|of| of.tenant == rule.id.tenant);
        let kept: Vec<_> = config.rules.iter().filter(is_kept).map(|rule| rule.number).collect();
        engine.in_force(&config, &[], prepared.numbers.unwrap().table, &kept);
        // An answer behind it, so that it was taken.
        engine.gone(&config.rules).unwrap();
        Arc::new(RunningRules { rules: config.rules, generation: Arc::new(prepared.generation.unwrap()) })
    };
    let own = RULE.replace("\"sequence\"\ndoor", "\"./own.wasm\"\ndoor");
    let (one, two, three) = (module(1), module(2), module(3));
    // Two rules of the tenant's run the same, and one of the host's.
    world.write("a/x.toml", &own);
    world.write("a/y.toml", &own);
    world.write("rules/h.toml", &own);
    let write = |name: &str, bytes: &[u8]| fs::write(world.dir.path().join(name), bytes).unwrap();
    write("a/own.wasm", &one.0);
    write("rules/own.wasm", &one.0);
    let running = in_force(&first_engine, 1, None);
    assert_eq!(running.rules.len(), 3);
    assert_eq!(records.of(one.1), ["a", "host"]);
    // What is refused does not run, however often it comes, and what ran goes on.
    write("rules/own.wasm", &two.0);
    write("a/own.wasm", &three.0);
    world.write("a/y.toml", "garbage");
    let mut kept = Arc::clone(&running);
    for ticket in 2..5 {
        kept = in_force(&first_engine, ticket, Some(&kept));
        assert_eq!((records.of(one.1), records.of(two.1)), (vec!["a".to_owned()], vec!["host".to_owned()]));
        assert!(records.of(three.1).is_empty());
    }
    // Mended, the new one runs.
    world.write("a/y.toml", &own);
    in_force(&first_engine, 5, Some(&kept));
    assert_eq!((records.of(one.1).len(), records.of(three.1).len()), (0, 1));
    // Another engine has nothing from before.
    write("a/own.wasm", b"garbage");
    in_force(&engine(&service), 1, None);
    assert_eq!((records.of(two.1), records.of(three.1)), (vec!["host".to_owned()], Vec::new()));
}
