//! The control socket of a running daemon, asked by the real client: as root, as a tenant and as a stranger.

mod owners;
mod packets;
mod restarts;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use postern_tests::{CLIENT4, Daemon, Entry, Log, PATIENCE, SERVER4, STRANGER4, eventually, frame};
use rustix::process::Signal;
use serde_json::Value;

use crate::client::postern;
use crate::tenant_user::{lab as lab_with_users, setup as setup_with_tenants};
use crate::{A_WHILE, KNOCK, SOON, STORY, posternd};

mod next_start;
mod scene;

/// The steps of [`KNOCK`].
const FIRST: &str = "7000/udp";
const SECOND: &str = "8000/tcp";
const REST: &str = "8000/tcp 9000/udp";

const CONFIG: &str = r#"
    interfaces = ["eth0"]
    user = "nobody"
    [doors.ssh]
    guard = "tcp/22"
    for = "60s"
"#;

/// `postern` with these arguments, for this daemon.
fn command(daemon: &Daemon<'_>, arguments: &[&str]) -> Command {
    let mut command = Command::new(postern());
    command
        .args(arguments)
        .env("POSTERN_SOCKET", daemon.control_socket())
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    command
}

fn ask(daemon: &Daemon<'_>, arguments: &[&str]) -> Output {
    command(daemon, arguments).output().expect("postern runs")
}

/// What it said, and how it ended.
#[track_caller]
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
    (output.status.code().expect("it ended"), text(&output.stdout), text(&output.stderr))
}

/// What it says on standard output, if it ends like this and says nothing on standard error.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let (ended, out, err) = told(output);
    assert_eq!((ended, &*err), (code, ""), "{out}");
    out
}

/// Each line as an object.
#[track_caller]
fn objects(output: &Output) -> Vec<Value> {
    said(output, 0).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// A `postern` that goes on telling; ended when dropped.
struct Telling {
    child: Child,
    log: Log,
    /// How many lines were waited for.
    seen: usize,
}

impl Telling {
    /// Starts one, and waits until it listens.
    #[track_caller]
    fn start(daemon: &Daemon<'_>, arguments: &[&str]) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let also = writer.try_clone().expect("a pipe's end can be had twice");
        let child = command(daemon, arguments).stdout(writer).stderr(also).spawn().expect("postern runs");
        let mut telling = Self { child, log: Log::tail(reader).0, seen: 0 };
        telling.wait_for("postern: waiting for what ");
        telling
    }

    /// The next line that has this in it.
    #[track_caller]
    fn wait_for(&mut self, part: &str) -> String {
        let seen = self.seen;
        let look = |entries: &[Entry]| {
            let lines = entries.iter().enumerate().skip(seen);
            lines.map(|(n, entry)| (n, entry.to_string())).find(|(_, line)| line.contains(part))
        };
        match self.log.wait(PATIENCE, look) {
            Ok((n, line)) => {
                self.seen = n + 1;
                line
            }
            Err(why) => panic!("no {part:?} {why}: {:#?}", self.log.entries()),
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_open_and_who_is_half_way_is_told_to_root() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    let status = said(&ask(&daemon, &["status"]), 0);
    assert!(status.starts_with("ok\nposternd "), "{status}");
    assert!(status.contains("generation 1, 1 rule, 0 doors open"), "{status}");
    for part in [
        "  eth0  incoming  listening\n",
        "  engine   running\n",
        "  doorman  running\n",
        "  runner   running\n",
        "\nbarriers that hold\n  engine",
    ] {
        assert!(status.contains(part), "no {part:?} in {status}");
    }
    assert_eq!(said(&ask(&daemon, &["doors"]), 0), "nothing is open\n");

    lab.knock(CLIENT4, FIRST);
    daemon.expect_story(CLIENT4, &["stage 1"]);
    let clients = objects(&ask(&daemon, &["clients", "--json"]));
    assert_eq!(clients[0]["client"], CLIENT4.to_string());
    assert_eq!((&clients[0]["rule"], &clients[0]["stage"]), (&"knock".into(), &1.into()), "{clients:?}");
    assert!(clients[0]["left_ms"].as_u64().unwrap() > 0, "{clients:?}");
    assert_eq!(ask(&daemon, &["clients", &STRANGER4.to_string()]).status.code(), Some(1));

    lab.knock(CLIENT4, REST);
    daemon.expect_story(CLIENT4, &STORY);
    let doors = objects(&ask(&daemon, &["doors", "--json"]));
    assert_eq!(doors.len(), 1);
    assert_eq!(
        (&doors[0]["door"], &doors[0]["kind"], &doors[0]["state"]),
        (&"ssh".into(), &"guard".into(), &"open".into())
    );
    let left = doors[0]["left_ms"].as_u64().unwrap();
    assert!((30_000..=60_000).contains(&left), "{doors:?}");
    assert_eq!(doors[0]["module"].as_str().unwrap().len(), 64);
    let table = said(&ask(&daemon, &["doors"]), 0);
    assert!(table.starts_with("DOOR  CLIENT"), "{table}");
    assert!(table.lines().nth(1).unwrap().starts_with("ssh   "), "{table}");
    assert_eq!(said(&ask(&daemon, &["clients"]), 0), "no knock is half finished\n");
    let rules = said(&ask(&daemon, &["rules"]), 0);
    assert!(rules.contains("knock  running  ssh    "), "{rules}");
    daemon.stop();
}

#[test]
fn a_failed_knock_is_explained_afterwards_and_as_it_happens() {
    let Some(lab) = lab_with_users() else { return };
    let rule = KNOCK.replace("10s", "300ms");
    let daemon = posternd(&lab).config(CONFIG).rule("knock", &rule).start();
    let client = CLIENT4.to_string();
    let nothing = said(&ask(&daemon, &["explain", &client]), 1);
    assert!(nothing.starts_with(&format!("nothing is known of {client}")), "{nothing}");

    let mut followed = Telling::start(&daemon, &["explain", &client, "--follow"]);
    lab.knock(CLIENT4, "4444/udp");
    followed.wait_for("udp/4444 arrived; no rule watches it");
    lab.knock(STRANGER4, "4445/udp");
    lab.knock(CLIENT4, FIRST);
    let step = followed.wait_for("step 1 was right");
    assert!(step.contains("rule knock waits for "), "{step}");
    std::thread::sleep(Duration::from_millis(400));
    lab.knock(CLIENT4, SECOND);
    let late = followed.wait_for("did not come in time after step 1");
    assert!(late.contains("`within` is 300ms"), "{late}");
    drop(followed);

    let afterwards = said(&ask(&daemon, &["explain", &client]), 0);
    let kinds: Vec<_> = afterwards.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(kinds[..2], ["stage", "timeout"], "{afterwards}");
    assert_eq!(ask(&daemon, &["explain", &STRANGER4.to_string()]).status.code(), Some(1));
    daemon.stop();
}

#[test]
fn doors_are_opened_and_closed_by_hand_and_that_is_told() {
    let Some(lab) = lab_with_users() else { return };
    let _ssh = lab.tcp_service(22);
    let config = CONFIG.replace("for = ", "prefixes = [\"ipv4/24\"]\n    for = ");
    let daemon = posternd(&lab).config(&config).rule("knock", KNOCK).start();
    let client = CLIENT4.to_string();
    let mut tail =
        Telling::start(&daemon, &["tail", "--kind", "by-hand", "--kind", "open", "--kind", "close"]);
    assert!(objects(&ask(&daemon, &["doors", "--json"])).is_empty());
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());
    let opened = said(&ask(&daemon, &["open", "ssh", &client, "--for", "30s"]), 0);
    assert!(opened.starts_with(&format!("ssh is open for {client} for ")), "{opened}");
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    assert!(lab.tcp(STRANGER4, 22, A_WHILE).is_silence());
    assert!(tail.wait_for("by-hand").contains("user 0 wants ssh opened"));
    tail.wait_for(&format!("ssh is open for {client}"));
    let closed = said(&ask(&daemon, &["close", "ssh", &client]), 0);
    assert_eq!(closed, format!("ssh is closed for {client}\n"));
    assert!(tail.wait_for("by-hand").contains("user 0 wants ssh closed"));
    assert!(lab.tcp(CLIENT4, 22, A_WHILE).is_silence());

    let (code, _, err) = told(&ask(&daemon, &["close", "ssh", &client]));
    assert_eq!(code, 1);
    assert!(err.contains("there is no opening"), "{err}");
    let (code, _, err) = told(&ask(&daemon, &["open", "shh", &client]));
    assert_eq!(code, 1);
    assert!(err.contains("there is no door \"shh\"; there are ssh"), "{err}");
    for (asked, expected) in [
        (&["doors", "--tenant", "nobody"][..], "there is no tenant \"nobody\"; there are host"),
        (&["tail", "--kind", "opne"], "there is no kind \"opne\""),
        (&["tail", "--rule", "knok"], "there is no rule \"knok\""),
    ] {
        let (code, _, err) = told(&ask(&daemon, asked));
        assert_eq!(code, 1, "{asked:?}");
        assert!(err.contains(expected), "{err}");
    }
    let (code, _, err) = told(&ask(&daemon, &["open", "ssh", "home"]));
    assert_eq!(code, 2, "{err}");
    let net = format!("{}/24", client.rsplit_once('.').unwrap().0.to_owned() + ".0");
    said(&ask(&daemon, &["open", "ssh", &net]), 0);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    let (code, _, err) = told(&ask(&daemon, &["open", "ssh", "192.0.2.0/25"]));
    assert_eq!(code, 1);
    assert!(err.contains("ssh is not opened"), "{err}");
    daemon.stop();
}

#[test]
fn a_reload_answers_with_the_new_generation_or_with_every_mistake() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    daemon.write("rules/other.toml", KNOCK);
    let reloaded = said(&ask(&daemon, &["reload", "--wait"]), 0);
    assert!(reloaded.ends_with("is in force, with 2 rules\n"), "{reloaded}");
    daemon.write("rules/other.toml", "module = \"sequence\"\ndoor = \"shh\"\n[settings]\nsequence = []\n");
    let (code, _, err) = told(&ask(&daemon, &["reload", "--wait"]));
    assert_eq!(code, 1);
    assert!(err.contains("rules/other.toml:2: door"), "{err}");
    assert!(err.contains("goes on"), "{err}");
    let status = ask(&daemon, &["status"]);
    assert_eq!(status.status.code(), Some(1));
    let (_, out, _) = told(&status);
    assert!(out.starts_with("degraded\n  the newest configuration has "), "{out}");
    assert!(out.contains("rules/other.toml:2"), "{out}");
    daemon.write("rules/other.toml", KNOCK);
    said(&ask(&daemon, &["reload", "--wait"]), 0);
    said(&ask(&daemon, &["status"]), 0);
    daemon.stop();
}

#[test]
fn what_becomes_of_the_other_processes_is_told_and_a_new_engine_answers_at_the_same_place() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    let process = |name: &str| {
        let status = ask(&daemon, &["status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).ok()?;
        let of = |process: &Value| process["name"] == name && process["state"] == "running";
        status["processes"].as_array()?.iter().find(|process| of(process)).cloned()
    };
    let mut tail = Telling::start(&daemon, &["tail", "--kind", "role-ended"]);
    let killed = daemon.signal_role("doorman", Signal::KILL);
    daemon.wait_for_next("doorman", killed);
    tail.wait_for("doorman");
    eventually("the next doorman", || process("doorman")?["restarts"].as_u64().filter(|n| *n > 0));
    let killed = daemon.signal_role("engine", Signal::KILL);
    daemon.wait_for_next("engine", killed);
    eventually("the next engine", || process("engine")?["restarts"].as_u64().filter(|n| *n > 0));
    daemon.stop();
}

/// Lets every user get to the socket of a daemon, as they do in `/run`.
fn open_to_all(daemon: &Daemon<'_>) {
    for folder in [daemon.dir().to_owned(), daemon.dir().join("run")] {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("it is ours");
    }
}

fn as_user(daemon: &Daemon<'_>, user: &str, arguments: &[&str]) -> Output {
    let mut program = Command::new("setpriv");
    // By a descriptor: another user may have no way to where it was built.
    let file = fs::File::open(postern()).expect("it is built");
    program.args([&format!("--reuid={user}"), "--regid=nogroup", "--clear-groups", "/proc/self/fd/0"]);
    program.args(arguments).env("POSTERN_SOCKET", daemon.control_socket()).stdin(file);
    program.output().expect("setpriv is there")
}

#[test]
fn the_account_that_the_daemons_processes_become_is_a_stranger() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    open_to_all(&daemon);
    for what in [&["status"][..], &["open", "ssh", "192.0.2.7"], &["reload", "--wait"]] {
        let (code, out, err) = told(&as_user(&daemon, "nobody", what));
        assert_eq!((code, &*out), (4, ""), "{what:?}");
        assert!(err.contains("may not ask for"), "{err}");
    }
    daemon.stop();
}

#[test]
fn a_flood_ends_the_following_of_its_source_and_nobody_who_asks_too_much_shuts_out_others() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    let client = CLIENT4.to_string();
    let mut followed = Telling::start(&daemon, &["explain", &client, "--follow"]);
    lab.knock(CLIENT4, "4444/udp");
    followed.wait_for("udp/4444");
    let mut wire = lab.injector();
    let frame = frame::udp(SocketAddr::new(CLIENT4, 9), SocketAddr::new(SERVER4, 4445), &[]);
    eventually("its end", || {
        (0..2000).for_each(|_| wire.send(&frame));
        followed.child.try_wait().expect("it is ours").map(|status| assert_eq!(status.code(), Some(1)))
    });
    // One who asks without end, and one who listens to all of that.
    let mut deaf = command(&daemon, &["tail"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("postern runs");
    let greedy: Vec<_> = (0..6)
        .map(|_| {
            let mut stream = UnixStream::connect(daemon.control_socket()).expect("it listens");
            stream.set_nonblocking(true).expect("a socket");
            let asked = b"{\"method\":\"org.postern.control.Status\"}\0".repeat(2000);
            let _ = stream.write(&asked);
            stream
        })
        .collect();
    let begin = Instant::now();
    said(&ask(&daemon, &["status"]), 0);
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    drop(greedy);
    deaf.kill().and_then(|()| deaf.wait()).expect("it is ours");
    daemon.stop();
}

#[test]
fn a_tenant_sees_its_own_and_a_stranger_nothing() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = setup_with_tenants(&lab).start();
    open_to_all(&daemon);
    let as_user = |user: &str, arguments: &[&str]| as_user(&daemon, user, arguments);
    for (first, user) in [(7000, "daemon"), (7100, "bin")] {
        lab.knock(CLIENT4, &format!("{first}/udp 8000/tcp 9000/udp"));
        eventually("the door", || (!objects(&as_user(user, &["doors", "--json"])).is_empty()).then_some(()));
    }
    assert_eq!(objects(&ask(&daemon, &["doors", "--json"])).len(), 2, "root sees both");
    for (user, own, others) in [("daemon", "a", "b"), ("bin", "b", "a")] {
        for what in ["doors", "rules"] {
            let seen = objects(&as_user(user, &[what, "--json"]));
            assert_eq!(seen.iter().map(|it| &it["tenant"]).collect::<Vec<_>>(), [own], "{what}");
        }
        let explained = objects(&as_user(user, &["explain", &CLIENT4.to_string(), "--json"]));
        assert!(
            !explained.is_empty() && explained.iter().all(|event| event["tenant"] == own),
            "{explained:?}"
        );
        let status = objects(&as_user(user, &["status", "--json"])).remove(0);
        assert_eq!(
            (&status["rules"], &status["processes"]),
            (&1.into(), &Value::Array(Vec::new())),
            "{status}"
        );
        assert_eq!(status["open"], 1, "{status}");
        for refused in [
            &["doors", "--tenant", others][..],
            &["open", "ssh", "192.0.2.7"],
            &["close", "ssh", &CLIENT4.to_string()],
            &["reload", "--wait"],
            &["reload"],
        ] {
            let (code, out, err) = told(&as_user(user, refused));
            assert_eq!((code, &*out), (4, ""), "{refused:?}");
            assert!(err.contains("may not ask for"), "{err}");
        }
        assert_eq!(as_user(user, &["doors", "shop"]).status.code(), Some(1));
    }
    for what in [&["status"][..], &["doors"], &["tail"], &["explain", "192.0.2.7"]] {
        let (code, out, err) = told(&as_user("nobody", what));
        assert_eq!((code, &*out), (4, ""), "{what:?}");
        assert!(err.contains("may not ask for anything; root may"), "{err}");
    }
    daemon.stop();
}

#[test]
fn without_a_daemon_that_is_said_and_a_killed_one_leaves_nothing_in_the_way() {
    let Some(lab) = lab_with_users() else { return };
    let nobody =
        Command::new(postern()).args(["status", "--socket", "/nowhere/control.sock"]).output().unwrap();
    let (code, out, err) = told(&nobody);
    assert_eq!((code, &*out), (3, ""));
    assert!(err.contains("nobody answers at /nowhere/control.sock"), "{err}");

    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    let path = daemon.control_socket();
    let (setup, _) = daemon.kill();
    assert!(path.exists());
    let killed = Command::new(postern()).args(["status", "--socket"]).arg(&path).output().unwrap();
    assert_eq!(killed.status.code(), Some(3));
    let daemon = setup.start();
    said(&ask(&daemon, &["status"]), 0);
    let (_setup, _) = daemon.stop();
    assert!(!path.exists(), "it is removed");
}

#[test]
fn a_second_daemon_runs_without_and_says_so() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    let path = daemon.control_socket();
    let other = posternd(&lab)
        .config(&format!("interfaces = [\"eth0\"]\n[control]\nsocket = \"{}\"\n", path.display()))
        .start();
    let missing = other.wait_for("control-missing", |_| true);
    assert!(missing.to_string().contains("another daemon's"), "{missing}");
    other.stop();
    said(&ask(&daemon, &["status"]), 0);
    daemon.stop();
}

/// Sends this to the socket and reads what comes until it is closed.
fn raw(daemon: &Daemon<'_>, bytes: &[u8]) -> Vec<Value> {
    let mut stream = UnixStream::connect(daemon.control_socket()).expect("it listens");
    stream.set_read_timeout(Some(3 * PATIENCE)).expect("not zero");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    answers
        .split(|byte| *byte == 0)
        .filter(|it| !it.is_empty())
        .map(|it| serde_json::from_slice(it).expect("JSON"))
        .collect()
}

#[test]
fn it_is_varlink_and_what_is_none_is_refused_without_harm() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    let info = raw(&daemon, b"{\"method\":\"org.varlink.service.GetInfo\"}\0");
    let interfaces = &info[0]["parameters"]["interfaces"];
    assert_eq!(*interfaces, serde_json::json!(["org.varlink.service", "org.postern.control"]));
    let describe = b"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"org.postern.control\"}}\0";
    let description = raw(&daemon, describe);
    assert!(
        description[0]["parameters"]["description"]
            .as_str()
            .unwrap()
            .contains("interface org.postern.control\n")
    );
    let both = raw(
        &daemon,
        b"{\"method\":\"org.postern.control.Nothing\"}\0{\"method\":\"org.postern.control.Doors\"}\0",
    );
    assert_eq!(both[0]["error"], "org.varlink.service.MethodNotFound");
    assert_eq!(both[1]["parameters"]["doors"], serde_json::json!([]), "it goes on after a mistake");
    let once = raw(&daemon, b"{\"method\":\"org.postern.control.Tail\"}\0");
    assert_eq!(once[0]["error"], "org.varlink.service.ExpectedMore");
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n\0"[..], &[b'x'; 100_000], b"\0", b"{}\0"] {
        let refused = raw(&daemon, nonsense);
        assert!(
            refused.iter().all(|answer| answer["error"] == "org.varlink.service.InvalidParameter"),
            "{refused:?}"
        );
    }
    said(&ask(&daemon, &["status"]), 0);
    daemon.stop();
}
