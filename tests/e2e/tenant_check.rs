//! A tenant that checks its own files, as a user without any right: it hears what the daemon would say, and nothing of anybody else.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Output;

use postern_tests::{Daemon, Lab, Setup, eventually, skip};

use crate::command_user::has_users;
use crate::posternd;

/// A user who has no account here.
const SOMEBODY: u32 = 64_996;
/// The account `daemon`, which every machine has.
const DAEMON: u32 = 1;
/// What the tenant must not hear of begins with `x`.
const CONFIG: &str = r#"
    interfaces = ["eth0"]
    rules = "xrules"
    [doors.web]
    guard = ["tcp/80", "tcp/48080"]
    always = ["10.99.99.0/24"]
    for = "60s"
    [doors.xdoor]
    open = ["/bin/sh", "-c", "xcommand"]
    [tenants.web]
    rules = "web"
    grant.doors = ["web"]
    grant.watch = ["udp/7000-7999"]
    grant.interfaces = ["any"]
    grant.for = "1m"
    grant.prefixes = ["ipv4/24"]
    limits.rules = 2
    [tenants.xtenant]
    rules = "xfolder"
    grant.doors = ["xdoor"]
    grant.interfaces = ["any"]
    grant.any_port = true
"#;
const NOT_ITS_OWN: [&str; 7] = ["xrules", "48080", "10.99.99", "xdoor", "xcommand", "xtenant", "xfolder"];

/// A grant as a person would write it.
const GRANT: &str = r#"
    [doors.web]
    [tenants.web]
    rules = "web"
    grant.doors = "web"
    grant.watch = "udp/7000-7001"
    grant.interfaces = "eth0"
"#;

fn rule(keys: &str, first: &str) -> String {
    format!("module = \"sequence\"\n{keys}\n[settings]\nsequence = [\"{first}/udp\", \"7001/udp\"]\n")
}

fn lab() -> Option<Lab> {
    let lab = Lab::if_possible()?;
    if has_users() {
        return Some(lab);
    }
    skip("only one user here");
    None
}

/// A configuration that the tenant cannot read, with rules that it can.
fn setup(lab: &Lab) -> Setup<'_> {
    let setup = posternd(lab)
        .config(CONFIG)
        .file("web/knock.toml", rule("door = \"web\"", "7000"))
        .file("xfolder/x.toml", rule("door = \"xdoor\"", "7000"));
    let open = |name: &str, mode| {
        fs::set_permissions(setup.dir().join(name), Permissions::from_mode(mode)).expect("it is ours");
    };
    fs::remove_dir_all(setup.dir().join("rules")).expect("it is ours");
    fs::create_dir(setup.dir().join("xrules")).expect("the folder is ours");
    for (name, mode) in [(".", 0o755), ("postern.toml", 0o600), ("xrules", 0o700), ("xfolder", 0o700)] {
        open(name, mode);
    }
    setup
}

#[track_caller]
fn check(daemon: &Daemon<'_>, arguments: &[&str]) -> (Option<i32>, String, String) {
    check_as(SOMEBODY, daemon, arguments)
}

/// Runs the check of a tenant, and asserts that nothing of anybody else is in what it says.
#[track_caller]
fn check_as(user: u32, daemon: &Daemon<'_>, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = daemon.check_tenant(user, arguments);
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("it writes UTF-8"));
    for word in NOT_ITS_OWN {
        assert!(!out.contains(word) && !err.contains(word), "{word} in {out}{err}");
    }
    (status.code(), out, err)
}

/// Waits until the daemon refuses the tenant with this many mistakes, and says them.
#[track_caller]
fn refused(daemon: &Daemon<'_>, mark: usize, mistakes: usize) -> Vec<String> {
    let is_web = |entry: &postern_tests::Entry| entry.text("tenant") == "web";
    let number = mistakes as f64;
    daemon.wait_since(mark, "tenant-refused", |entry| {
        is_web(entry) && entry.number("mistakes") == Some(number)
    });
    let entries = daemon.log().entries();
    let refused = |entry: &postern_tests::Entry| entry.event() == "tenant-refused" && is_web(entry);
    let last = entries.iter().rposition(refused).expect("it was waited for");
    let told = entries[..last].iter().filter(|entry| entry.event() == "mistake" && is_web(entry));
    let told: Vec<_> = told.map(|entry| entry.text("detail").to_owned()).collect();
    told[told.len() - mistakes..].to_vec()
}

#[test]
fn it_says_what_the_log_says_of_the_same_files() {
    let Some(lab) = lab() else { return };
    same_as_the_log(&setup(&lab).start(), SOMEBODY);
}

#[test]
fn it_says_what_the_log_says_of_files_that_are_read_as_their_tenants_user() {
    let Some(lab) = lab() else { return };
    let setup = setup(&lab);
    let config = CONFIG.replace("rules = \"web\"", "rules = \"web\"\nuser = \"daemon\"");
    let folder = setup.dir().join("web");
    chown(&folder, Some(DAEMON), None).expect("this is root");
    fs::set_permissions(folder, Permissions::from_mode(0o700)).expect("this is root");
    let daemon = setup.config(&config).start();
    same_as_the_log(&daemon, DAEMON);
    let (status, _, err) = check_as(SOMEBODY, &daemon, &["web"]);
    assert!(err.contains("cannot become another; run it as `daemon`, or"), "{err}");
    assert_eq!(status, Some(1), "{err}");
    // The administrator may, and hears the same.
    let (status, _, err) = check_as(0, &daemon, &["web"]);
    assert!(status == Some(1) && err.contains("has more than 2 rules"), "{err}");
}

#[track_caller]
fn same_as_the_log(daemon: &Daemon<'_>, user: u32) {
    let granted = daemon.grants().join("web.toml");
    eventually("what is granted", || granted.exists().then_some(()));
    let long = File::create(daemon.dir().join("web/long.wasm")).expect("the folder is ours");
    long.set_len((4 << 20) + 1).expect("a file with a hole");
    daemon.write("web/garbage.wasm", b"no module");
    let good = rule("door = \"web\"", "7000");
    for (number, knock, more) in [
        (1, "module = sequence".to_owned(), None),
        (4, "modul = 1\ndoors = \"web\"\nfor = \"0s\"\n[limits]\ncpu = \"3ms\"\n".to_owned(), None),
        (1, rule("door = \"ssh\"", "7000"), None),
        (1, rule("door = \"web\"", "6999"), None),
        (1, rule("door = \"web\"\nfor = \"2m\"", "7000"), None),
        (1, rule("door = \"web\"\nprefixes = \"ipv6/64\"", "7000"), None),
        // Granted, but nothing that the door allows.
        (1, rule("door = \"web\"\nprefixes = \"ipv4/24\"", "7000"), None),
        (1, good.replace("\"sequence\"", "\"./long.wasm\""), None),
        (1, good.replace("\"sequence\"", "\"./garbage.wasm\""), None),
        (1, good.replace("\"sequence\"", "\"./none.wasm\""), None),
        (1, rule("door = \"web\"", "0"), None),
        (
            4,
            rule("door = \"web\"", "6999"),
            Some(("web/more.toml", rule("doors = [\"ssh\", \"ftp\"]", "6999"))),
        ),
        (1, good.clone(), Some(("web/third.toml", good.clone()))),
    ] {
        let mark = daemon.log().mark();
        if let Some((name, text)) = &more {
            daemon.write(name, text);
        }
        daemon.write("web/knock.toml", &knock);
        let (status, out, err) = check_as(user, daemon, &["web"]);
        let told: Vec<_> = err.lines().collect();
        let Some((last, told)) = told.split_last() else { panic!("nothing is said of {knock}") };
        assert_eq!(told.len(), number, "{knock}: {err}");
        let counted = if number == 1 { "1 mistake".to_owned() } else { format!("{number} mistakes") };
        assert_eq!(*last, format!("posternd: {counted}; nothing was started"));
        assert_eq!((status, &*out), (Some(1), ""));
        assert_eq!(refused(daemon, mark, number), told, "{knock}");
    }
}

#[test]
fn it_shows_what_is_granted_now_and_nothing_else() {
    let Some(lab) = lab() else { return };
    let daemon = setup(&lab).start();
    let granted = || fs::read_to_string(daemon.grants().join("web.toml"));
    let now = eventually("what is granted", || granted().ok());
    for word in NOT_ITS_OWN {
        assert!(!now.contains(word), "{word} in {now}");
    }
    let mode = |name| fs::metadata(daemon.grants().join(name)).expect("it is there").permissions().mode();
    assert_eq!((mode(".") & 0o777, mode("web.toml") & 0o777), (0o755, 0o644));
    let good = (
        Some(0),
        "web: no mistakes\n  rule web/knock opens web, and watches udp/7000, udp/7001\n".to_owned(),
        String::new(),
    );
    assert_eq!(check(&daemon, &["web"]), good);

    // Another grant is another answer, as soon as it is in force.
    let mark = daemon.log().mark();
    daemon.write("postern.toml", CONFIG.replace("udp/7000-7999", "udp/7001"));
    let said = refused(&daemon, mark, 1);
    eventually("the new grant", || granted().is_ok_and(|text| text.contains("[\"udp/7001\"]")).then_some(()));
    let (status, _, err) = check(&daemon, &["web"]);
    assert_eq!((status, err.lines().next()), (Some(1), Some(&*said[0])));

    // What might be granted is tried without it.
    let draft = daemon.dir().join("draft.toml");
    let text = now.replace("\"udp/7000-7999\"", "\"udp/7000\", \"udp/7001\"");
    fs::write(&draft, text.replace("doors = [\"web\"]", "doors = [\"web\", \"ftp\"]"))
        .expect("the folder is ours");
    let path = draft.to_str().expect("it is text");
    let (status, _, err) = check(&daemon, &["web", "--grant", path]);
    let what = "there is no door `ftp`; there are web";
    assert!(err.contains(&format!("{path}:")) && err.contains(what), "{err}");
    assert_eq!((status, err.lines().count()), (Some(1), 2), "{err}");
    fs::write(&draft, text).expect("the folder is ours");
    assert_eq!(check(&daemon, &["web", "--grant", path]), good);

    // A tenant that is gone has none.
    let mark = daemon.log().mark();
    let (without, rest) = CONFIG.split_once("[tenants.web]").expect("it has one");
    let (_, other) = rest.split_once("[tenants.xtenant]").expect("it has another");
    daemon.write("postern.toml", format!("{without}[tenants.xtenant]{other}"));
    daemon.wait_since(mark, "reload", |_| true);
    eventually("its file to be gone", || granted().is_err().then_some(()));
    let (status, _, err) = check(&daemon, &["web"]);
    assert!(err.starts_with("posternd: the daemon has no tenant web: there is no "), "{err}");
    assert!(err.contains("--grant"), "{err}");
    assert_eq!((status, err.lines().count()), (Some(3), 1), "{err}");
    daemon.stop();
}

#[test]
fn a_name_that_no_tenant_has_is_refused_with_what_to_do() {
    let Some(lab) = lab() else { return };
    let setup = setup(&lab);
    for (name, status, what) in [
        ("host", 2, "is the owner of the host's own rules, which `posternd check` without --tenant checks"),
        ("../web", 2, "a name is 1 to 64 letters, digits, `-` and `_`"),
        ("web", 3, "so no daemon with tenants runs; ask this machine's administrator"),
    ] {
        let output = setup.check_tenant(SOMEBODY, &[name]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(err.contains(what), "{name}: {err}");
        assert_eq!(output.status.code(), Some(status), "{err}");
    }
}

#[test]
fn what_belongs_to_the_tenant_is_its_own_and_what_others_could_write_is_not() {
    let Some(lab) = lab() else { return };
    let setup = setup(&lab).file("grant.toml", GRANT);
    let grant = setup.dir().join("grant.toml");
    let grant = grant.to_str().expect("it is text");
    let give = |name: &str, mode| {
        let path = setup.dir().join(name);
        chown(&path, Some(SOMEBODY), Some(SOMEBODY)).expect("this is root");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("this is root");
    };
    give("web", 0o700);
    give("web/knock.toml", 0o600);
    let check = || setup.check_tenant(SOMEBODY, &["web", "--grant", grant]);
    let good = check();
    assert!(good.status.success() && good.stdout.starts_with(b"web: no mistakes\n"), "{good:?}");
    give("web/knock.toml", 0o666);
    let bad = check();
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(said.contains("web/knock.toml: ") && said.contains("chmod "), "{said}");
    assert_eq!(bad.status.code(), Some(1), "{said}");
    // As the administrator's postern.toml may say of all.
    fs::write(grant, format!("strict_modes = false\n{GRANT}")).expect("the folder is ours");
    assert!(check().status.success(), "{:?}", check());
    // Who may not read the folder hears that, and nothing of what is in it.
    let other = setup.check_tenant(SOMEBODY + 1, &["web", "--grant", grant]);
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(said.contains("/web: cannot be read: Permission denied") && said.lines().count() == 2, "{said}");
}

#[test]
fn that_nothing_can_be_written_down_is_one_warning_and_nothing_else() {
    let Some(lab) = lab() else { return };
    let setup = setup(&lab);
    let file = setup.dir().join("postern.toml");
    let daemon = setup.env("RUNTIME_DIRECTORY", file).start();
    let said = daemon.wait_for("grants-not-written", |_| true);
    assert!(said.text("detail").contains("postern.toml/tenants cannot be written"), "{said}");
    for first in ["7100", "7200"] {
        let mark = daemon.log().mark();
        daemon.write("web/knock.toml", rule("door = \"web\"", first));
        daemon.wait_since(mark, "reload", |_| true);
    }
    let (_, log) = daemon.stop();
    let told = log.entries().iter().filter(|entry| entry.event() == "grants-not-written").count();
    assert_eq!(told, 1);
}

#[test]
fn a_daemon_of_one_process_writes_it_as_well() {
    let Some(lab) = lab() else { return };
    let daemon = setup(&lab).one_process().start();
    let file = daemon.grants().join("web.toml");
    eventually("what is granted", || file.exists().then_some(()));
    let (status, out, err) = check(&daemon, &["web"]);
    assert_eq!((status, &*err), (Some(0), ""), "{out}");
    daemon.stop();
}
