//! A tenant with a user of its own: its files are read as that user, and whatever they are is that tenant's own trouble.

use std::fs::{self, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use postern_tests::{
    CLIENT4, CLIENT6, Daemon, Entry, Lab, PATIENCE, STRANGER4, Setup, eventually, eventually_within, skip,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::command_user::has_users;
use crate::slow::{HungDisk, Waiter};
use crate::{A_WHILE, SOON, STEPS, posternd};

/// Accounts that every machine has, one for each tenant.
const USERS: [(&str, &str); 2] = [("a", "daemon"), ("b", "bin")];
const GARBAGE: &str = "module = sequence";
/// How long one that reads for a tenant may take, and the one after it; with what a busy machine adds.
const TOO_LONG: Duration = Duration::from_secs(5);
const TOO_LONG_AGAIN: Duration = Duration::from_secs(3);

/// Two tenants with a door and a user each; the folder of `a` is this one.
pub(crate) fn config(dir_of_a: &str) -> String {
    format!(
        r#"
    interfaces = ["eth0"]
    [doors.ssh]
    guard = "tcp/22"
    for = "60s"
    [doors.web]
    guard = "tcp/80"
    for = "60s"
    [tenants.a]
    rules = "{dir_of_a}"
    user = "daemon"
    grant.doors = ["ssh"]
    grant.any_port = true
    grant.interfaces = ["any"]
    [tenants.b]
    rules = "b"
    user = "bin"
    grant.doors = ["web"]
    grant.any_port = true
    grant.interfaces = ["any"]
"#
    )
}

pub(crate) fn rule(door: &str, first: u16) -> String {
    format!(
        "module = \"sequence\"\ndoor = \"{door}\"\n[settings]\nsequence = [\"{first}/udp\", \"8000/tcp\", \"9000/udp\"]\nwithin = \"60s\"\n"
    )
}

pub(crate) fn lab() -> Option<Lab> {
    let lab = Lab::if_possible()?;
    if has_users() {
        return Some(lab);
    }
    skip("only one user here");
    None
}

/// Both tenants with a rule each, in folders that are theirs.
pub(crate) fn setup(lab: &Lab) -> Setup<'_> {
    let setup = posternd(lab).config(&config("a"));
    let setup = setup.file("a/knock.toml", rule("ssh", 7000)).file("b/knock.toml", rule("web", 7100));
    for (tenant, user) in USERS {
        give(&setup.dir().join(tenant), user);
        give(&setup.dir().join(tenant).join("knock.toml"), user);
    }
    setup
}

/// The number of an account.
pub(crate) fn number(user: &str) -> u32 {
    let output = Command::new("id").args(["-u", user]).output().expect("there is an id");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// Makes it this user's.
pub(crate) fn give(path: &Path, user: &str) {
    let uid = number(user);
    chown(path, Some(uid), Some(uid)).expect("this is root");
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is there");
}

fn is_of(tenant: &'static str) -> impl Fn(&Entry) -> bool {
    move |entry| entry.text("tenant") == tenant
}

/// Knocks until the door of a tenant is open for the client.
#[track_caller]
fn expect_open(lab: &Lab, daemon: &Daemon<'_>, client: IpAddr, first: u16, tenant: &str) {
    expect_open_within(PATIENCE, lab, daemon, client, first, tenant);
}

/// The same within this time.
#[track_caller]
pub(crate) fn expect_open_within(
    within: Duration,
    lab: &Lab,
    daemon: &Daemon<'_>,
    client: IpAddr,
    first: u16,
    tenant: &str,
) {
    let mark = daemon.log().mark();
    let is_open = |entry: &Entry| {
        let is_of_both = (entry.text("tenant"), entry.text("src")) == (tenant, &client.to_string());
        is_of_both && ["open", "extend"].contains(&entry.event())
    };
    eventually_within(within, "an open door", || {
        lab.knock(client, &format!("{first}/udp 8000/tcp 9000/udp"));
        daemon.log().entries().split_off(mark).into_iter().find(is_open)
    });
}

/// Changes the rule of `b`; it must be in force within this time, and open.
#[track_caller]
pub(crate) fn change_b(lab: &Lab, daemon: &Daemon<'_>, first: u16, within: Duration) {
    daemon.write("b/knock.toml", rule("web", first));
    expect_open_within(within, lab, daemon, CLIENT6, first, "b");
}

/// What a tenant may do to its folder, and the words in which it is refused.
type Mischief = (&'static str, fn(&Path), &'static str);

const MISCHIEF: &[Mischief] = &[
    ("x.toml", |at| fs::write(at, GARBAGE).expect("ours"), "not TOML"),
    ("x.toml", |at| symlink("../b/knock.toml", at).expect("ours"), "is a link, and none is followed"),
    ("x.toml", |at| symlink("/etc/shadow", at).expect("ours"), "is a link, and none is followed"),
    ("x.toml", |at| theirs(at), "belongs to user"),
    ("x.toml", |at| node(at, FileType::Fifo, 0), "is not a regular file"),
    // What never ends, and what does something when it is opened.
    ("x.toml", |at| node(at, FileType::CharacterDevice, rustix::fs::makedev(1, 5)), "is not a regular file"),
    ("x.toml", |at| node(at, FileType::CharacterDevice, rustix::fs::makedev(5, 0)), "is not a regular file"),
    ("x.toml", |at| fs::create_dir(at).expect("ours"), "is not a regular file"),
    ("x.toml", |at| long(at, 4 << 30), "is longer than 1 MiB"),
    ("x.toml", |at| private(at), "cannot be read: Permission denied"),
    ("x.toml", |at| writable(at), "others than its owner may write it"),
    ("n\n{\"event\":\"ready\"}\x1b[31m.toml", |at| fs::write(at, GARBAGE).expect("ours"), "n\\n{"),
    ("x.toml", |at| module(at, "../b/knock.wasm"), "x.toml:1: module: is not in the folder of the rule"),
    ("x.toml", |at| module(at, "/etc/passwd"), "x.toml:1: module: is not in the folder of the rule"),
    ("x.toml", |at| module(at, "sub/rule.wasm"), "x.toml:1: module: is not in the folder of the rule"),
    (
        "x.toml",
        |at| with_module(at, |wasm| symlink("/etc/passwd", wasm).expect("ours")),
        "the module is a link",
    ),
    (
        "x.toml",
        |at| with_module(at, |wasm| node(wasm, FileType::Fifo, 0)),
        "the module is not a regular file",
    ),
    ("x.toml", |at| with_module(at, |wasm| long(wasm, 4 << 30)), "the module is longer than"),
    ("x.toml", |at| with_module(at, private), "the module cannot be read: Permission denied"),
    ("x.toml", |at| with_module(at, writable), "the module others than its owner may write it"),
];

fn node(at: &Path, kind: FileType, device: u64) {
    mknodat(CWD, at, kind, Mode::from_raw_mode(0o644), device).expect("root may");
}

fn long(at: &Path, length: u64) {
    File::create(at).and_then(|file| file.set_len(length)).expect("it takes no room");
}

/// Another tenant's file, by a link that only root could make.
fn theirs(at: &Path) {
    let file = at.with_file_name("../b/.theirs");
    fs::write(&file, rule("ssh", 7000)).expect("ours");
    give(&file, "bin");
    fs::hard_link(file, at).expect("root may");
}

/// Root's, and nobody else may read it.
fn private(at: &Path) {
    fs::write(at, rule("ssh", 7000)).expect("ours");
    mode(at, 0o600);
}

fn writable(at: &Path) {
    fs::write(at, rule("ssh", 7000)).expect("ours");
    mode(at, 0o646);
}

fn module(at: &Path, module: &str) {
    fs::write(at, format!("module = \"{module}\"\ndoor = \"ssh\"\n")).expect("ours");
}

fn with_module(at: &Path, make: impl FnOnce(&Path)) {
    make(&at.with_file_name("x.wasm"));
    module(at, "./x.wasm");
}

#[test]
fn what_one_does_in_its_folder_is_its_own_mistake_and_the_others_change_goes_through() {
    let Some(lab) = lab() else { return };
    let daemon = setup(&lab).start();
    expect_open(&lab, &daemon, CLIENT4, 7000, "a");
    let dir_of_a = daemon.dir().join("a");
    for (n, (name, make, words)) in (0..).zip(MISCHIEF) {
        let mark = daemon.log().mark();
        make(&dir_of_a.join(name));
        change_b(&lab, &daemon, 7101 + n, SOON);
        let refused = daemon.wait_since(mark, "mistake", |entry| {
            entry.text("tenant") == "a" && entry.text("detail").contains(words)
        });
        assert!(!refused.text("detail").contains('\n'), "{refused}");
        let mark = daemon.log().mark();
        // The text first: without it the module is nobody's.
        for name in [name, "x.wasm"] {
            let at = dir_of_a.join(name);
            let _ = fs::remove_file(&at).or_else(|_| fs::remove_dir(&at));
        }
        daemon.wait_since(mark, "reload", |_| true);
    }
    daemon.expect_none("tenant-refused", is_of("b"));
    // All the while what `a` had goes on.
    expect_open(&lab, &daemon, STRANGER4, 7000, "a");
    daemon.stop();
}

#[test]
fn a_start_with_mischief_of_one_is_a_start_for_the_other_and_check_names_it_all() {
    let Some(lab) = lab() else { return };
    let setup = setup(&lab);
    node(&setup.dir().join("a/pipe.toml"), FileType::Fifo, 0);
    long(&setup.dir().join("a/long.toml"), 4 << 30);
    symlink("/etc/shadow", setup.dir().join("a/link.toml")).expect("ours");
    let checked = setup.check();
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    for words in ["pipe.toml: is not a regular file", "long.toml: is longer", "link.toml: is a link"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let daemon = setup.start();
    let refused = daemon.wait_for("tenant-refused", is_of("a"));
    assert_eq!(refused.number("rules"), Some(0.0), "{refused}");
    expect_open(&lab, &daemon, CLIENT4, 7100, "b");
    daemon.stop();
}

#[test]
fn a_folder_that_is_closed_or_gone_or_full_is_its_tenants_trouble_and_one_that_comes_is_read() {
    let Some(lab) = lab() else { return };
    let daemon = setup(&lab).start();
    let (dir_of_a, away) = (daemon.dir().join("a"), daemon.dir().join("away"));
    let refused = |mark, words: &str| {
        daemon.wait_since(mark, "mistake", |entry| {
            entry.text("tenant") == "a" && entry.text("detail").contains(words)
        });
    };
    // Root's alone: nobody reads it for the tenant.
    let mark = daemon.log().mark();
    give(&dir_of_a, "root");
    mode(&dir_of_a, 0o700);
    change_b(&lab, &daemon, 7101, SOON);
    refused(mark, "a: cannot be read: Permission denied");
    // Another tenant's, who could put rules there.
    let mark = daemon.log().mark();
    give(&dir_of_a, "bin");
    mode(&dir_of_a, 0o755);
    change_b(&lab, &daemon, 7102, SOON);
    refused(mark, "a: belongs to user");
    give(&dir_of_a, "daemon");

    let mark = daemon.log().mark();
    for n in 0..5000 {
        fs::write(dir_of_a.join(format!("r{n}.toml")), GARBAGE).expect("ours");
    }
    change_b(&lab, &daemon, 7103, SOON);
    refused(mark, "a: has more than 32 rules");

    // Gone, and made anew with something else in it.
    let mark = daemon.log().mark();
    fs::rename(&dir_of_a, &away).expect("one file system");
    change_b(&lab, &daemon, 7104, SOON);
    refused(mark, "a: there is no such folder");
    let mark = daemon.log().mark();
    fs::create_dir(&dir_of_a).expect("it is not there");
    fs::write(dir_of_a.join("knock.toml"), rule("ssh", 7001)).expect("ours");
    give(&dir_of_a, "daemon");
    daemon.wait_since(mark, "reload", |entry| entry.number("rules") == Some(2.0));
    eventually("what the new folder has", || {
        lab.knock(CLIENT4, "7001/udp 8000/tcp 9000/udp");
        daemon.log().entries().split_off(mark).into_iter().find(|entry| entry.event() == "open")
    });
    // And what changes in the new one is noticed.
    let mark = daemon.log().mark();
    daemon.write("a/knock.toml", rule("ssh", 7002));
    daemon.wait_since(mark, "reload", |_| true);
    expect_open(&lab, &daemon, CLIENT6, 7002, "a");
    fs::remove_dir_all(away).expect("ours");
    daemon.stop();
}

#[test]
fn a_file_that_is_written_all_the_time_keeps_nobody_waiting() {
    let Some(lab) = lab() else { return };
    let daemon = setup(&lab).start();
    let at = daemon.dir().join("a/knock.toml");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // In place: whoever reads it reads parts of several.
            while !is_over.load(Ordering::Relaxed) {
                for text in [GARBAGE.to_owned(), rule("ssh", 7003).repeat(9), rule("ssh", 7003)] {
                    fs::write(&at, text).expect("ours");
                }
            }
        });
        for n in 0..5 {
            let mark = daemon.log().mark();
            daemon.write("b/knock.toml", rule("web", 7101 + n));
            eventually("what b says now", || {
                lab.knock(CLIENT6, &format!("{}/udp 8000/tcp 9000/udp", 7101 + n));
                let mut entries = daemon.log().entries().split_off(mark).into_iter();
                entries
                    .find(|entry| ["open", "extend"].contains(&entry.event()) && entry.text("tenant") == "b")
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let mark = daemon.log().mark();
    daemon.write("a/knock.toml", rule("ssh", 7004));
    daemon.wait_since(mark, "reload", |_| true);
    expect_open(&lab, &daemon, CLIENT4, 7004, "a");
    daemon.stop();
}

#[test]
fn a_module_of_a_tenant_is_read_as_its_user_and_noticed_when_it_changes() {
    let Some(lab) = lab() else { return };
    let setup = setup(&lab).file("a/own.toml", "module = \"./own.wasm\"\ndoor = \"ssh\"\n");
    let wasm = wat::parse_str(crate::module::BY_HAND).expect("a module in good order");
    let setup = setup.file("a/own.wasm", &wasm);
    let daemon = setup.start();
    daemon.expect_none("tenant-refused", |_| true);
    let mark = daemon.log().mark();
    daemon.write("a/own.wasm", "garbage");
    daemon.wait_since(mark, "mistake", |entry| entry.text("detail").contains("a/own.toml:1: module"));
    let mark = daemon.log().mark();
    daemon.write("a/own.wasm", &wasm);
    daemon.wait_since(mark, "reload", |_| true);
    daemon.expect_none("tenant-refused", is_of("b"));
    // By no path does another tenant come to what it could not read: it is refused before the module that both name is loaded for one.
    mode(&daemon.dir().join("a"), 0o700);
    let mark = daemon.log().mark();
    let path = daemon.dir().join("a/own.wasm");
    daemon.write("b/theirs.toml", format!("module = {path:?}\ndoor = \"web\"\n"));
    let words = "b/theirs.toml:1: module: is not in the folder of the rule";
    daemon.wait_since(mark, "mistake", |entry| entry.text("detail").contains(words));
    daemon.stop();
}

/// The processes of an account that read for the daemon.
fn readers_of(daemon: &Daemon<'_>) -> usize {
    daemon.readers().len()
}

#[track_caller]
fn a_disk_hangs(waiter: Waiter) {
    let Some(lab) = lab() else { return };
    let Some(disk) = HungDisk::mount_for(&rule("ssh", 7003), waiter) else { return };
    let setup = setup(&lab).config(&config(&disk.dir().display().to_string()));
    let daemon = setup.start();
    let mistake = daemon.wait_for("mistake", is_of("a"));
    assert!(mistake.text("detail").contains("is not read: reading a.toml in it takes too long"), "{mistake}");
    change_b(&lab, &daemon, 7101, TOO_LONG);
    for n in 0..4 {
        change_b(&lab, &daemon, 7102 + n, TOO_LONG_AGAIN);
    }
    // The disk took up one request of all: who made that stays, and no more come to it.
    let stay = usize::from(waiter == Waiter::Stays);
    eventually("those that can be killed are gone", || (readers_of(&daemon) == stay).then_some(()));
    // When it answers, what is on it is taken with the next change, of whomever.
    disk.thaw();
    eventually("no reader is left", || (readers_of(&daemon) == 0).then_some(()));
    let mark = daemon.log().mark();
    eventually("what is on it", || {
        daemon.write("b/knock.toml", rule("web", 7110));
        thread::sleep(A_WHILE);
        lab.knock(CLIENT4, "7003/udp 8000/tcp 9000/udp");
        daemon.log().entries().split_off(mark).into_iter().find(|entry| entry.event() == "open")
    });
    daemon.stop();
}

#[test]
fn a_disk_that_hangs_is_its_tenants_trouble() {
    a_disk_hangs(Waiter::Ends);
}

#[test]
fn what_waits_for_a_disk_and_cannot_be_killed_is_left_behind() {
    a_disk_hangs(Waiter::Stays);
}

#[test]
fn one_process_reads_as_the_user_too() {
    let Some(lab) = lab() else { return };
    let setup = setup(&lab).one_process();
    private(&setup.dir().join("a/x.toml"));
    let daemon = setup.start();
    daemon.wait_for("mistake", |entry| {
        entry.text("detail").contains("x.toml: cannot be read: Permission denied")
    });
    lab.knock(CLIENT4, &STEPS.replace("7000", "7100"));
    daemon.wait_for("open", is_of("b"));
    daemon.stop();
}

#[test]
fn who_is_no_root_reads_as_itself_and_says_of_whom_else_it_cannot() {
    let Some(lab) = lab() else { return };
    let setup = setup(&lab).own_code().user(number("daemon"), &["net_raw", "net_admin"]);
    mode(setup.dir(), 0o755);
    for name in ["state", "code"] {
        fs::create_dir(setup.dir().join(name)).expect("the folder is ours");
        mode(&setup.dir().join(name), 0o700);
        give(&setup.dir().join(name), "daemon");
    }
    let daemon = setup.start();
    let refused = daemon.wait_for("mistake", |_| true);
    assert_eq!(refused.text("tenant"), "b", "{refused}");
    assert!(refused.text("detail").contains("b: is not read as `bin`: posternd is user"), "{refused}");
    expect_open(&lab, &daemon, CLIENT4, 7000, "a");
    // Also by what it reads with: no more than what the user could.
    let mark = daemon.log().mark();
    private(&daemon.dir().join("a/x.toml"));
    daemon.wait_since(mark, "mistake", |entry| {
        entry.text("detail").contains("x.toml: cannot be read: Permission")
    });
    daemon.stop();
}
