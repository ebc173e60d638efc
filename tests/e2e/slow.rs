//! What takes long, a compiler, a rule, a file that is never answered, holds up nothing else.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, CLIENT6, Lab, Signal, eventually, skip, skip_everywhere};
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::module::BY_HAND;
use crate::{A_WHILE, KNOCK, LATENESS, SOON, SSH_2S, STEPS, STORY, posternd};

const SLOW_RULE: &str = "module = \"slow.wasm\"\ndoor = \"ssh\"\n";
/// Whatever is stopped while something hangs is stopped by then.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A rule with so many functions that compiling takes longer than any of these tests.
fn slow_module() -> Vec<u8> {
    module_of(40_000)
}

fn module_of(functions: usize) -> Vec<u8> {
    let rule = wat::parse_str(BY_HAND).expect("a module in good order");
    let step =
        b"\x20\x00\x41\x07\x6a\x20\x01\x6c\x21\x01\x20\x01\x45\x04\x40\x20\x00\x41\x01\x72\x21\x00\x0b";
    // No locals; the type is that of the first function, which takes and gives numbers.
    let body = [b"\0".as_slice(), &step.repeat(40), b"\x20\x00\x0b"].concat();
    let code = [leb(body.len()), body].concat();
    let (mut module, mut rest) = (rule[..8].to_vec(), &rule[8..]);
    while let Some((id, after)) = rest.split_first() {
        let (size, after) = read_leb(after);
        let (section, after) = after.split_at(size);
        let more = match id {
            3 => vec![0; functions],
            10 => code.repeat(functions),
            _ => Vec::new(),
        };
        let section = if more.is_empty() {
            section.to_vec()
        } else {
            let (count, items) = read_leb(section);
            [&leb(count + functions), items, &more].concat()
        };
        module.push(*id);
        module.extend(leb(section.len()));
        module.extend(section);
        rest = after;
    }
    module
}

/// A number as WebAssembly writes it, LEB128.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
    bytes
}

fn read_leb(bytes: &[u8]) -> (usize, &[u8]) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).expect("a number ends") + 1;
    let (number, rest) = bytes.split_at(length);
    (number.iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f)), rest)
}

#[test]
fn while_a_module_is_compiled_other_changes_count_and_a_deleted_rule_opens_nothing() {
    let Some(lab) = Lab::if_possible() else { return };
    let other = KNOCK.replace("000/", "001/");
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).rule("other", &other).start();
    daemon.write("slow.wasm", slow_module());
    daemon.write("rules/slow.toml", SLOW_RULE.replace("slow.wasm", "../slow.wasm"));
    let slow = daemon.wait_for("slow", |_| true);
    assert!(slow.text("detail").contains("compiling") && slow.text("detail").contains("slow.wasm"), "{slow}");

    daemon.remove("rules/knock.toml");
    let removed = Instant::now();
    let withdrawn = daemon.wait_for("withdrawn", |_| true);
    assert_eq!(withdrawn.text("rule"), "knock");
    let took = withdrawn.since(removed);
    assert!(took < AT_ONCE, "{took:?}");
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &["stage 1", "stage 2", "refuse ssh withdrawn"]);
    // The others work as ever.
    lab.knock(CLIENT6, "7001/udp 8001/tcp 9001/udp");
    daemon.expect_story(CLIENT6, &STORY);

    // A change that does not want that module does not wait for it.
    let mark = daemon.log().mark();
    daemon.remove("rules/slow.toml");
    let reload = daemon.wait_since(mark, "reload", |_| true);
    assert_eq!(reload.number("generation"), Some(2.0), "{reload}");
    daemon.expect_none("open", |entry| entry.text("src") == CLIENT4.to_string());
    let stopping = Instant::now();
    daemon.stop();
    assert!(stopping.elapsed() < AT_ONCE, "{:?}", stopping.elapsed());
}

#[test]
fn a_start_that_takes_long_hears_signals_and_changes() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).rule("slow", SLOW_RULE);
    let setup = setup.file("rules/slow.wasm", slow_module());
    let daemon = setup.launch();
    daemon.wait_for("doors", |_| true);
    let stopping = Instant::now();
    let (setup, log) = daemon.stop();
    assert!(stopping.elapsed() < AT_ONCE, "{:?}", stopping.elapsed());
    assert!(log.entries().iter().all(|entry| entry.event() != "ready"));

    let daemon = setup.launch();
    daemon.wait_for("slow", |_| true);
    fs::remove_file(daemon.dir().join("rules/slow.toml")).expect("it is there");
    daemon.signal(Signal::HUP);
    daemon.wait_for("ready", |_| true);
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

#[test]
fn a_slow_rule_delays_neither_closing_nor_a_change_of_interfaces_nor_a_stop() {
    let Some(lab) = Lab::if_possible() else { return };
    // It takes its time and stays inside its limit: at most a fault for three of them in a row.
    let spin = BY_HAND.replace(
        "    (local $watch i32)\n",
        "    (local $watch i32) (local $n i32)\n    (loop $long (br_if $long (i32.ne (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20000000))))\n",
    );
    let lazy = "module = \"lazy.wasm\"\ndoor = \"ssh\"\n[limits]\ncpu = \"100ms\"\n";
    let daemon = posternd(&lab)
        .config(&SSH_2S.replace("\"eth0\"", "\"eth0\", \"lo\""))
        .rule("knock", KNOCK)
        .rule("lazy", lazy)
        .file("rules/lazy.wasm", wat::parse_str(&spin).expect("a module in good order"))
        .start();
    lab.knock(CLIENT4, STEPS);
    let open = daemon.wait_for("open", |_| true);
    // Some seconds of work for the worker that judges.
    lab.knock(CLIENT6, &vec!["1111/udp"; 200].join(" "));
    daemon.write("postern.toml", SSH_2S);
    let close = daemon.wait_for("close", |_| true);
    let lasted = close.since(open.read_at);
    assert!(lasted < Duration::from_secs(2) + LATENESS, "{lasted:?}");
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    lab.knock(CLIENT6, &vec!["1111/udp"; 200].join(" "));
    let stopping = Instant::now();
    daemon.stop();
    assert!(stopping.elapsed() < AT_ONCE + LATENESS, "{:?}", stopping.elapsed());
}

#[test]
fn a_link_on_the_way_that_is_turned_around_is_noticed() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S);
    let at = |name: &str| setup.dir().join(name);
    for (version, rule) in [("v1", KNOCK.to_owned()), ("v2", KNOCK.replace("000/", "001/"))] {
        fs::create_dir_all(at("versions").join(version)).expect("the folder is ours");
        fs::write(at("versions").join(version).join("knock.toml"), rule).expect("the folder is ours");
    }
    fs::remove_dir(at("rules")).expect("it is empty");
    symlink("versions/current", at("rules")).expect("the folder is ours");
    symlink("v1", at("versions/current")).expect("the folder is ours");
    let daemon = setup.start();
    symlink("v2", daemon.dir().join("versions/new")).expect("the folder is ours");
    let mark = daemon.log().mark();
    fs::rename(daemon.dir().join("versions/new"), daemon.dir().join("versions/current"))
        .expect("one file system");
    daemon.wait_since(mark, "reload", |_| true);
    lab.knock(CLIENT4, STEPS);
    lab.knock(CLIENT4, "7001/udp 8001/tcp 9001/udp");
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

#[test]
fn a_folder_that_is_replaced_is_noticed_and_so_is_what_changes_in_the_new_one() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    // The whole configuration, as a package or a version control system would.
    let (here, spare) = (daemon.dir().to_owned(), daemon.dir().with_extension("spare"));
    fs::create_dir_all(spare.join("rules")).expect("it can be made");
    fs::write(spare.join("postern.toml"), SSH_2S).expect("it is ours");
    fs::write(spare.join("rules/knock.toml"), KNOCK.replace("000/", "001/")).expect("it is ours");
    let old = here.with_extension("old");
    let mark = daemon.log().mark();
    fs::rename(&here, &old).expect("one file system");
    fs::rename(&spare, &here).expect("one file system");
    daemon.wait_since(mark, "reload", |entry| entry.number("generation").is_some());
    lab.knock(CLIENT4, STEPS);
    lab.knock(CLIENT4, "7001/udp 8001/tcp 9001/udp");
    daemon.expect_story(CLIENT4, &STORY);
    let reload = daemon.change_rule("knock", &KNOCK.replace("000/", "002/"));
    lab.knock(CLIENT6, "7002/udp 8002/tcp 9002/udp");
    daemon.expect_story(CLIENT6, &STORY);
    assert!(reload.number("generation").is_some_and(|number| number >= 3.0), "{reload}");
    daemon.stop();
    fs::remove_dir_all(old).expect("it is ours");
}

/// A disk that hangs; mounted as long as this lives.
pub(crate) struct HungDisk {
    server: Child,
    folder: TempDir,
}

/// What becomes of what is waiting for a disk that hangs, if it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// It ends: the disk never took its request.
    Ends,
    /// It stays until the disk answers.
    Stays,
}

impl HungDisk {
    /// None where no file system in user space can be mounted.
    fn mount(contents: &str) -> Option<Self> {
        Self::mount_for(contents, Waiter::Ends)
    }

    /// None where no file system in user space can be mounted.
    pub(crate) fn mount_for(contents: &str, waiter: Waiter) -> Option<Self> {
        let folder = TempDir::with_prefix("postern-hung-").expect("a temporary folder");
        let server = include_str!("slow/hung_disk.py");
        let mut command = Command::new("python3");
        command.args(["-c", server]).arg(folder.path()).arg(contents).stdout(Stdio::piped());
        command.args((waiter == Waiter::Stays).then_some("takes"));
        let mut disk = Self { server: command.spawn().expect("python3 is there"), folder };
        let mut line = String::new();
        let told = BufReader::new(disk.server.stdout.as_mut().expect("it is ours")).read_line(&mut line);
        if told.is_ok() && line == "mounted\n" {
            return Some(disk);
        }
        let why = "no file system in user space can be mounted";
        if Path::new("/dev/fuse").exists() {
            skip(why)
        } else {
            skip_everywhere(why)
        }
        None
    }
}

impl HungDisk {
    /// Where it is mounted.
    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file on it.
    fn file(&self) -> PathBuf {
        self.folder.path().join("a.toml")
    }

    /// It answers again.
    pub(crate) fn thaw(&self) {
        kill_process(Pid::from_child(&self.server), Signal::USR1).expect("it runs");
    }
}

impl Drop for HungDisk {
    fn drop(&mut self) {
        // Every waiting call gets an answer now: there is no such disk any more.
        drop(self.server.kill());
        drop(self.server.wait());
        drop(Command::new("umount").arg(self.folder.path()).status());
    }
}

#[test]
fn a_disk_that_hangs_holds_up_no_later_change() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let Some(disk) = HungDisk::mount("") else { return };
    let link = daemon.dir().join("rules/unheard.toml");
    symlink(disk.file(), &link).expect("the folder is ours");
    let slow = daemon.wait_for("slow", |_| true);
    assert!(
        slow.text("detail").contains("reading") && slow.text("detail").contains("unheard.toml"),
        "{slow}"
    );
    // It stays, so each change waits for it as well, until four do: then it is a mistake that is reported at once.
    let mark = daemon.log().mark();
    eventually("it is named and skipped", || {
        daemon.write("rules/other.toml", KNOCK.replace("000/", "001/"));
        thread::sleep(A_WHILE);
        let mut mistakes =
            daemon.log().entries().split_off(mark).into_iter().filter(|e| e.event() == "mistake");
        mistakes.find(|mistake| mistake.text("detail").contains("unheard.toml: is not read"))
    });
    let (mark, begin) = (daemon.log().mark(), Instant::now());
    fs::remove_file(link).expect("it is there");
    daemon.wait_since(mark, "reload", |entry| entry.number("generation") == Some(2.0));
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    lab.knock(CLIENT4, "7001/udp 8001/tcp 9001/udp");
    daemon.expect_story(CLIENT4, &STORY);
    let stopping = Instant::now();
    daemon.stop();
    assert!(stopping.elapsed() < AT_ONCE, "{:?}", stopping.elapsed());
}

#[test]
fn a_start_from_a_disk_that_hangs_is_told_and_can_be_stopped() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S);
    let Some(disk) = HungDisk::mount("") else { return };
    fs::remove_file(setup.dir().join("postern.toml")).expect("it is there");
    symlink(disk.folder.path().join("postern.toml"), setup.dir().join("postern.toml"))
        .expect("the folder is ours");
    let daemon = setup.launch();
    // Before the guard could be put up: its ports are in the file that is not answered.
    let slow = daemon.wait_for("slow", |_| true);
    assert!(slow.text("detail").contains("postern.toml"), "{slow}");
    let stopping = Instant::now();
    daemon.stop();
    assert!(stopping.elapsed() < AT_ONCE, "{:?}", stopping.elapsed());
}

#[test]
fn what_hangs_before_the_guard_is_up_is_replaced_without_a_signal() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let setup = posternd(&lab).rule("knock", KNOCK);
    let Some(disk) = HungDisk::mount("") else { return };
    symlink(disk.file(), setup.dir().join("postern.toml")).expect("the folder is ours");
    let daemon = setup.launch();
    daemon.wait_for("slow", |_| true);
    daemon.write("postern.toml", SSH_2S);
    daemon.wait_for("ready", |_| true);
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    lab.knock(CLIENT4, STEPS);
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}

#[test]
fn what_a_newer_change_may_guard_is_not_let_go_of() {
    let Some(lab) = Lab::if_possible() else { return };
    let _web = lab.tcp_service(80);
    let both = SSH_2S.replace("\"tcp/22\"", "[\"tcp/22\", \"tcp/80\"]");
    let daemon = posternd(&lab).config(&both).rule("knock", KNOCK).start();
    let Some(disk) = HungDisk::mount("") else { return };
    daemon.write("slow.wasm", module_of(25_000));
    daemon.write("rules/slow.toml", SLOW_RULE.replace("slow.wasm", "../slow.wasm"));
    daemon.write("postern.toml", SSH_2S);
    daemon.signal(Signal::HUP);
    daemon.wait_for("slow", |_| true);
    // It is being prepared; before it is in force the operator changes it again, and the new one hangs.
    symlink(disk.file(), daemon.dir().join("rules/unheard.toml")).expect("the folder is ours");
    daemon.write("postern.toml", &both);
    let mark = daemon.log().mark();
    let begin = Instant::now();
    while !daemon.log().entries().split_off(mark).iter().any(|entry| entry.event() == "reload") {
        assert!(begin.elapsed() < Duration::from_secs(60), "it is not in force");
        thread::sleep(A_WHILE);
    }
    for _ in 0..15 {
        assert!(lab.tcp(CLIENT4, 80, A_WHILE).is_silence());
    }
    daemon.stop();
}

#[test]
fn what_was_withdrawn_stays_so_until_its_file_is_back_or_a_reload_is_in_force() {
    let Some(lab) = Lab::if_possible() else { return };
    let daemon = posternd(&lab).config(SSH_2S).rule("knock", KNOCK).start();
    let Some(disk) = HungDisk::mount(&KNOCK.replace("000/", "003/")) else { return };
    symlink(disk.file(), daemon.dir().join("rules/unheard.toml")).expect("the folder is ours");
    daemon.wait_for("slow", |_| true);
    daemon.remove("rules/knock.toml");
    daemon.wait_for("withdrawn", |_| true);
    // Until enough wait for that file, and the next is refused.
    let mark = daemon.log().mark();
    eventually("a refusal", || {
        daemon.write("rules/other.toml", KNOCK.replace("000/", "001/"));
        thread::sleep(A_WHILE);
        daemon.log().entries().split_off(mark).into_iter().find(|entry| entry.event() == "reload-refused")
    });
    lab.knock(CLIENT4, STEPS);
    daemon.expect_none("open", |entry| entry.text("src") == CLIENT4.to_string());
    let mark = daemon.log().mark();
    daemon.write("rules/knock.toml", KNOCK);
    daemon.wait_since(mark, "back", |_| true);
    lab.knock(CLIENT6, STEPS);
    daemon.wait_for("open", |entry| entry.text("src") == CLIENT6.to_string());
    // When the disk answers, what is right is taken, though nothing changes any more.
    let mark = daemon.log().mark();
    disk.thaw();
    daemon.wait_since(mark, "reload", |_| true);
    eventually("the rule on it works", || {
        lab.knock(CLIENT4, "7003/udp 8003/tcp 9003/udp");
        daemon.log().entries().split_off(mark).into_iter().find(|entry| entry.event() == "open")
    });
    daemon.stop();
}

#[test]
fn what_hangs_the_start_is_taken_away_without_a_signal() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S).rule("knock", KNOCK);
    let Some(disk) = HungDisk::mount("") else { return };
    let link = setup.dir().join("rules/unheard.toml");
    symlink(disk.file(), &link).expect("the folder is ours");
    let daemon = setup.launch();
    daemon.wait_for("slow", |_| true);
    fs::remove_file(&link).expect("it is there");
    daemon.wait_for("ready", |_| true);
    daemon.stop();
}

#[test]
fn a_rule_that_a_link_leads_to_is_noticed_when_it_is_mended() {
    let Some(lab) = Lab::if_possible() else { return };
    let setup = posternd(&lab).config(SSH_2S);
    let (elsewhere, link) = (setup.dir().join("elsewhere"), setup.dir().join("rules/knock.toml"));
    fs::create_dir(&elsewhere).expect("the folder is ours");
    fs::write(elsewhere.join("knock.toml"), KNOCK).expect("the folder is ours");
    symlink("../elsewhere/knock.toml", &link).expect("the folder is ours");
    let daemon = setup.start();
    let mark = daemon.log().mark();
    daemon.write("elsewhere/knock.toml", "module = 7\n");
    daemon.wait_since(mark, "reload-refused", |_| true);
    let mark = daemon.log().mark();
    daemon.write("elsewhere/knock.toml", KNOCK.replace("000/", "001/"));
    daemon.wait_since(mark, "reload", |_| true);
    lab.knock(CLIENT4, "7001/udp 8001/tcp 9001/udp");
    daemon.expect_story(CLIENT4, &STORY);
    daemon.stop();
}
