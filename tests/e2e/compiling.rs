//! Modules that are made to hurt their compiler, and what was compiled before: neither keeps the other rules from working.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use postern_core::show_digest;
use postern_tests::{CLIENT4, CLIENT6, Entry, Lab, PATIENCE, STRANGER4, Setup, eventually};
use rustix::process::{Signal, kill_process};
use sha2::{Digest as _, Sha256};

use crate::module::BY_HAND;
use crate::wasm_bytes::{leb, with_code};
use crate::{KNOCK, SOON, SSH_2S, STEPS, STORY, posternd};

/// A tenant, whose mistakes are its own.
const WITH_TENANT: &str = r#"
    interfaces = ["eth0"]
    [doors.ssh]
    guard = "tcp/22"
    for = "2s"
    [tenants.guest]
    rules = "guest"
    grant.doors = ["ssh"]
    grant.any_port = true
    grant.interfaces = ["any"]
"#;
const RULE: &str = "module = \"mine.wasm\"\ndoor = \"ssh\"\n";

/// The rule by hand, which in `judge` does this first, with these locals.
fn judging(locals: &str, code: &str) -> Vec<u8> {
    let at = "    (local $watch i32)\n";
    assert_eq!(BY_HAND.matches(at).count(), 1);
    wat::parse_str(BY_HAND.replace(at, &format!("{at}{locals}\n{code}"))).expect("a module in good order")
}

/// A component of 60 KB with types within types, 20,000 deep: some 100 are all that anybody needs.
pub(crate) fn nested_types() -> Vec<u8> {
    // A list of bytes, in an instance type that declares one type, in another, and so on.
    let of = [&[0x01][..], &[0x42, 0x01, 0x01].repeat(20_000), &[0x70, 0x7d]].concat();
    // The type is exported under the names that every rule must export, or nobody would look at it.
    let export = |name: &str| [&[0, leb(name.len())[0]], name.as_bytes(), &[3, 0, 0]].concat();
    let exports = [&[2][..], &export("configure"), &export("judge")].concat();
    [&b"\0asm\x0d\0\x01\0\x07"[..], &leb(of.len()), &of, &[0x0b], &leb(exports.len()), &exports].concat()
}

/// Very many values that are alive at very many places: the compiler's tables are their product.
pub(crate) fn eats_memory() -> Vec<u8> {
    let locals: String = (0..49_000).map(|n| format!("(local $v{n} i32)")).collect();
    let mut code = String::new();
    for n in 0..100_000 {
        let _ = writeln!(code, "(if (local.get 0) (then (local.set $v{} (i32.const {n}))))", n % 49_000);
    }
    judging(&locals, &code)
}

/// Functions of loops within loops. Each takes a compiler seconds and little memory, so that their number alone says how long it works:
/// minutes, on any machine.
pub(crate) fn endless() -> Vec<u8> {
    let (functions, depth) = (60, 10_000);
    let whole = BY_HAND.trim_end().strip_suffix(')').expect("a module");
    let functions = "(func (loop (nop)))".repeat(functions);
    let module = wat::parse_str(format!("{whole}{functions})")).expect("a module in good order");
    // The text format would be parsed recursively.
    let nested = [[0x03, 0x40].repeat(depth), [0x0b].repeat(depth)].concat();
    with_code(&module, &[0x03, 0x40, 0x01, 0x0b], &nested)
}

/// A tenant's module is refused with these words, while the host's rule opens; `check` says the same, and a start survives it.
#[track_caller]
fn refused(lab: &Lab, module: &[u8], words: &str) {
    let setup = posternd(lab).own_code().config(WITH_TENANT).rule("knock", KNOCK);
    let setup = setup.file("guest/mine.toml", RULE).file("guest/mine.wasm", module);
    let checked = setup.check();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.contains("guest/mine.toml") && said.contains(words), "{said}");
    let daemon = setup.launch();
    // As long as the compiler may work on it.
    let is_ready = |entries: &[Entry]| entries.iter().any(|entry| entry.event() == "ready").then_some(());
    daemon.log().wait(PATIENCE * 9, is_ready).unwrap_or_else(|why| panic!("it is not ready {why}"));
    let mistake = daemon.wait_for("mistake", |_| true);
    assert!(mistake.text("detail").contains(words), "{mistake}");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    // It ended its compiler once; what else changes need not wait for that again.
    let began = Instant::now();
    daemon.change_rule("other", &KNOCK.replace("7000", "7001"));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    daemon.stop();
}

#[test]
fn types_within_types_end_their_compiler_alone() {
    let Some(lab) = Lab::if_possible() else { return };
    refused(&lab, &nested_types(), "the module makes the compiler overflow its stack; nest its types");
}

#[test]
fn a_module_that_eats_memory_gets_no_more_than_there_is_for_one() {
    let Some(lab) = Lab::if_possible() else { return };
    refused(&lab, &eats_memory(), " MiB of memory to be compiled; make it smaller");
}

#[test]
fn a_module_that_takes_too_long_is_told_so() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).own_code().config(SSH_2S).rule("mine", RULE);
    let checked = setup.file("rules/mine.wasm", endless()).check();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.contains(" s of CPU time to be compiled; make it smaller or simpler"), "{said}");
}

#[test]
fn a_module_that_compiles_for_ever_holds_up_nothing_once_it_is_gone() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    daemon.write("rules/mine.wasm", endless());
    daemon.write("rules/mine.toml", RULE);
    eventually("the compiler", || (!daemon.compilers().is_empty()).then_some(()));
    daemon.remove("rules/mine.toml");
    let began = Instant::now();
    daemon.change_rule("knock", &KNOCK.replace("7000/udp", "7001/udp"));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    lab.knock(CLIENT4, STEPS);
    lab.knock(CLIENT4, &STEPS.replace("7000", "7001"));
    daemon.expect_story(CLIENT4, &STORY);
    // Nobody waits for it any more.
    eventually("the end of the compiler", || daemon.compilers().is_empty().then_some(()));
    // A stop waits for no compiler, and takes it along.
    daemon.write("rules/mine.toml", RULE);
    let compilers = eventually("the compiler", || Some(daemon.compilers()).filter(|found| !found.is_empty()));
    let began = Instant::now();
    daemon.stop();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let is_gone =
        || compilers.iter().all(|pid| rustix::process::test_kill_process(*pid).is_err()).then_some(());
    eventually("the end of the compiler", is_gone);
}

#[test]
fn a_compiler_that_is_killed_is_its_modules_mistake() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let mark = daemon.log().mark();
    daemon.write("rules/mine.wasm", endless());
    daemon.write("rules/mine.toml", RULE);
    let compilers = eventually("the compiler", || Some(daemon.compilers()).filter(|found| !found.is_empty()));
    compilers.iter().for_each(|pid| kill_process(*pid, Signal::KILL).unwrap());
    daemon.wait_for_refusal(mark);
    let mistake = daemon.wait_since(mark, "mistake", |_| true);
    assert!(mistake.text("detail").contains("the compiler's process was killed"), "{mistake}");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    // It is tried again: that it was killed says nothing about it.
    daemon.change_rule("mine", &KNOCK.replace("7000", "7001"));
    daemon.stop();
}

/// The files of code.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "code")).collect()
}

#[test]
fn what_was_compiled_is_not_compiled_again_unless_it_is_damaged() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).own_code().config(SSH_2S).rule("knock", KNOCK);
    let (setup, _) = setup.start().stop();
    let [entry] = &entries(&setup.code())[..] else { panic!("{:?}", entries(&setup.code())) };
    assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600);
    let inode = || entry.metadata().unwrap().ino();
    let first = inode();
    let (setup, _) = setup.start().stop();
    assert_eq!(inode(), first, "it was compiled again");
    // Also by those who only check.
    assert!(setup.check().status.success());
    assert_eq!(inode(), first, "it was compiled again");
    let good = fs::read(entry).unwrap();
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 1;
    let mut setup = setup;
    for (what, bytes, client) in [
        ("damaged", &damaged[..], CLIENT4),
        ("cut", &good[..good.len() / 2], CLIENT6),
        ("foreign", b"code", STRANGER4),
    ] {
        fs::write(entry, bytes).unwrap();
        let daemon = setup.start();
        lab.knock(client, STEPS);
        daemon.expect_story(client, &STORY);
        daemon.expect_none("code-not-kept", |_| true);
        (setup, _) = daemon.stop();
        assert_eq!(fs::read(entry).unwrap().len(), good.len(), "{what}");
    }
}

#[test]
fn what_is_in_force_is_known_by_owner_over_a_restart_and_without_that() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).own_code().config(WITH_TENANT).rule("knock", KNOCK);
    let (first, second) = (judging("", ""), judging("", "(drop (i32.const 1))"));
    let setup = setup.file("guest/mine.toml", RULE).file("guest/mine.wasm", &first);
    let file = setup.code().join("owners");
    let digest = |module: &[u8]| show_digest(&Sha256::digest(module).into());
    // Of each module of which a line says so, whether it is needed, and by whom.
    let said = |module: &[u8]| -> Vec<String> {
        let (text, digest) = (fs::read_to_string(&file).unwrap_or_default(), digest(module));
        let lines = text.lines().filter(|line| line.starts_with(&digest));
        lines.filter_map(|line| line.split_once(' ')).map(|(_, said)| said.to_owned()).collect()
    };
    let needs = |module: &[u8], who: &str| said(module).contains(&format!("needs {who}"));
    let stock = postern_sandbox::stock::bytes("sequence");
    let expect = |first_is_needed: bool| {
        eventually("what is in force", || {
            let is_known = needs(stock, "host") && needs(&first, "guest") == first_is_needed;
            (is_known && needs(&second, "guest") != first_is_needed).then_some(())
        });
    };
    let daemon = setup.start();
    expect(true);
    let mark = daemon.log().mark();
    daemon.write("guest/mine.wasm", &second);
    daemon.wait_since(mark, "reload", |_| true);
    expect(false);
    assert_eq!(said(&first), ["wanted guest"]);
    let inodes = |setup: &Setup<'_>| -> Vec<_> {
        let mut inodes: Vec<_> =
            entries(&setup.code()).iter().map(|entry| entry.metadata().unwrap().ino()).collect();
        inodes.sort_unstable();
        inodes
    };
    let (mut setup, _) = daemon.stop();
    let before = inodes(&setup);
    assert_eq!(before.len(), 3);
    for damage in [None, Some("garbage")] {
        match damage {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let daemon = setup.start();
        expect(false);
        (setup, _) = daemon.stop();
        assert_eq!(inodes(&setup), before, "something was compiled again");
    }
}

#[test]
fn daemons_at_the_same_cache_do_not_hurt_each_other() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).own_code().config(SSH_2S).rule("knock", KNOCK).rule("mine", RULE);
    let setup = setup.file("rules/mine.wasm", judging("", ""));
    thread::scope(|scope| {
        let checks: Vec<_> = (0..4).map(|_| scope.spawn(|| setup.check())).collect();
        for check in checks {
            let output = check.join().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    });
    assert_eq!(entries(&setup.code()).len(), 2);
    let daemon = setup.start();
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

#[test]
fn a_cache_that_others_could_write_is_not_used() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).own_code().config(SSH_2S).rule("knock", KNOCK);
    let folder = setup.code();
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    let daemon = setup.start();
    let entry = daemon.wait_for("code-not-kept", |_| true);
    assert!(entry.text("detail").contains("other users may write"), "{entry}");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    // Without a cache, too, nothing is compiled twice while the daemon runs.
    daemon.change_rule("knock", &KNOCK.replace("10s", "11s"));
    let (setup, _) = daemon.stop();
    assert!(entries(&folder).is_empty());
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    // In a user namespace there may be no other user.
    if chown(&folder, Some(12345), None).is_ok() {
        let daemon = setup.start();
        let entry = daemon.wait_for("code-not-kept", |_| true);
        assert!(entry.text("detail").contains("belongs to user 12345"), "{entry}");
        daemon.stop();
        assert!(entries(&folder).is_empty());
    }
}
