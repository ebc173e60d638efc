//! The real `postern`, on loopback: what it prints, what arrives, and how it ends.

use std::ffi::OsStr;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use expect_test::{Expect, expect};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_knock_arrives_in_order() {
    let (udp, tcp) = (udp(), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let (u, t) = (port(&udp), tcp.local_addr().expect("bound").port());
    let home = Home::new("");
    let said = home.run(&[
        "knock",
        "-v",
        "127.0.0.1",
        &format!("{u}:udp"),
        &t.to_string(),
        "-d",
        "1",
        &format!("{u}:UDP"),
    ]);
    said.check(
        0,
        &format!("hitting udp 127.0.0.1:{u}\nhitting tcp 127.0.0.1:{t}\nhitting udp 127.0.0.1:{u}\n"),
        "",
    );
    assert_eq!([received(&udp), received(&udp)], [b"", b""]);
    let _ = tcp.accept().expect("a handshake");
}

#[test]
fn udp_overrides_what_steps_say() {
    let udp = udp();
    let step = format!("{}:tcp", port(&udp));
    Home::new("").run(&["knock", "-u", "127.0.0.1", &step]).check(0, "", "");
    assert_eq!(received(&udp), b"");
}

#[test]
fn a_dry_run_says_everything_and_sends_nothing() {
    let udp = udp();
    let step = format!("{}:udp", port(&udp));
    let home = Home::new("");
    let knock = [
        "knock",
        "--dry-run",
        "127.0.0.1",
        &step,
        "22",
        "-d",
        "200",
        "--wait",
        "tcp/22",
        "--payload",
        "open sesame",
    ];
    let said = format!(
        "after 0s: udp 127.0.0.1:{}, 11 bytes\nafter 200ms: tcp 127.0.0.1:22, a SYN\nthen: wait for tcp/22, 5s at most\nnothing was sent\n",
        port(&udp)
    );
    home.run(&knock).check(0, &said, "");
    udp.set_nonblocking(true).expect("a socket");
    assert!(udp.recv(&mut [0]).is_err(), "a datagram came");
}

#[test]
fn a_payload_arrives_and_is_never_shown() {
    let udp = udp();
    let home = Home::new("");
    let step = format!("{}:udp", port(&udp));
    let said = home.run(&["knock", "-v", "127.0.0.1", &step, "--payload", "open sesame"]);
    said.check(0, &format!("hitting udp 127.0.0.1:{}\n", port(&udp)), "");
    assert_eq!(received(&udp), b"open sesame");
    home.write("secret", "\0ali baba");
    let secret = home.path("secret");
    home.run(&["knock", "127.0.0.1", &step, "--payload-file", secret.to_str().expect("a path")])
        .check(0, "", "");
    assert_eq!(received(&udp), b"\0ali baba");
}

#[test]
fn the_pause_is_kept_after_the_last_hit_too_unless_a_door_is_waited_for() {
    let (udp, tcp) = (udp(), TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let (step, door) =
        (format!("{}:udp", port(&udp)), format!("tcp/{}", tcp.local_addr().expect("bound").port()));
    let home = Home::new("");
    let start = Instant::now();
    home.run(&["knock", "-d", "300", "127.0.0.1", &step]).check(0, "", "");
    assert!(start.elapsed() >= Duration::from_millis(300));
    let said = home.run(&["knock", "-d", "1h", "127.0.0.1", &step, "--wait", &door]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.stdout.replace(char::is_numeric, ""), "open after  ms\n", "{said:?}");
}

#[test]
fn a_door_that_stays_closed_is_a_failure() {
    let udp = udp();
    let (_closed, door) = closed();
    let arguments = [
        "knock",
        "127.0.0.1",
        &format!("{}:udp", port(&udp)),
        "--wait",
        &format!("tcp/{door}"),
        "--timeout",
        "50ms",
    ];
    let said = Home::new("").run(&arguments);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{said:?}");
    let begin = format!("postern: tcp/{door} did not open within 50ms: 127.0.0.1: ");
    assert!(said.stderr.starts_with(&begin) && said.stderr.lines().count() == 1, "{said:?}");
    assert_eq!(received(&udp), b"");
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let home = Home::new("");
    let said = home.run(&["knock", "no..host", "7000"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.starts_with("postern: cannot resolve no..host: "), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    home.run(&["knock", "-6", "127.0.0.1", "7000"]).check(
        1,
        "",
        "postern: 127.0.0.1 has no IPv6 address; it has 127.0.0.1\n",
    );
    // The last of the two counts, as in knockd's client.
    home.run(&["knock", "-4", "-6", "-4", "127.0.0.1", "7000"]).check(0, "", "");
    let said = home.run(&["knock", "--source", "192.0.2.1", "127.0.0.1", "7000:udp"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.starts_with("postern: cannot knock at 127.0.0.1: "), "{said:?}");
}

#[test]
fn what_makes_no_sense_is_said_and_nothing_is_sent() {
    let home = Home::new("");
    let udp = udp();
    let step = format!("{}:udp", port(&udp));
    home.run(&["knock", "two words", &step, "0", "7000:foo"]).check(
        2,
        "",
        "postern: `two words` is not a host; write a name or an address\n\
         postern: 0 is not a port; use 1 to 65535\n\
         postern: `7000:foo` is not a step; after the port comes :tcp, :udp or nothing\n",
    );
    let nonsense: [(&[&str], &str); 10] = [
        (&["-d", "-1"], "`-1`: a duration cannot be negative; write a number and a unit"),
        (&["--timeout", "500"], "`500` has no unit; write ms, s, m, h or d behind it"),
        (&["--wait", "22"], "`22` is not a door; write tcp/PORT, such as tcp/22"),
        (&["--timeout", "1s"], "postern: timeout: is for a door, and none is waited for; add wait"),
        (&["--source", "eth0"], "`eth0` is not an address of this machine"),
        (&["--source", "::1", "-4"], "postern: source: is not of the family that was asked for"),
        (&["--colour"], "unexpected argument '--colour'"),
        (&["-l", "x"], "cannot be used with"),
        (&["--payload-file", "no-such-file"], "postern: cannot read the payload from no-such-file: "),
        (&["--payload", "x", "--payload-file", "y"], "cannot be used with"),
    ];
    for (arguments, expected) in nonsense {
        let all = [&["knock", "127.0.0.1", &step], arguments].concat();
        let said = home.run(&all);
        assert_eq!((said.code, said.stdout.as_str()), (2, ""), "{all:?}: {said:?}");
        assert!(said.stderr.contains(expected), "{all:?}: {said:?}");
    }
    home.run(&["knock", "127.0.0.1", "7000", "--payload", "x"]).check(
        2,
        "",
        "postern: payload: no step carries it; only UDP steps do\n",
    );
    udp.set_nonblocking(true).expect("a socket");
    assert_eq!(udp.recv(&mut [0]).expect_err("nothing was sent").kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn commas_between_steps_are_answered_with_the_right_writing() {
    let home = Home::new("");
    home.run(&["knock", "127.0.0.1", "7000,8000:udp"]).check(
        2,
        "",
        "postern: `7000,8000:udp` is not one step; write steps apart and without commas: 7000 8000:udp\n",
    );
    home.write("p.ini", "[p]\nipaddr = 127.0.0.1\ninterval = 1\nports = 1:UDP,2:TCP\n");
    let ini = home.path("p.ini");
    let ini = ini.to_str().expect("a path");
    home.run(&["knock", "-f", ini, "p"]).check(
        2,
        "",
        &format!(
            "{ini}:4: p.ports[0]: `1:UDP,2:TCP` is not one step; write steps apart and without commas: 1:UDP 2:TCP\n\
             postern: 1 mistake\n"
        ),
    );
}

#[test]
fn names_in_a_file_of_profiles_make_no_line_and_move_no_cursor() {
    const NAME: &str = r"a\npostern: all is well \u001b[2J\u202E";
    const SHOWN: &str = r"a\npostern: all is well \u{1b}[2J\u{202e}";
    let home = Home::new(&format!(
        "[\"{NAME}\"]\nhost = \"gate\"\nsteps = [\"1\"]\nthen = \"echo {NAME}\"\n[\"bad {NAME}\"]\nhost = \"{NAME}\"\nsteps = [\"{NAME}\"]\n\"{NAME}\" = 1\n"
    ));
    let own = home.path("postern/profiles.toml");
    let own = own.display();
    let bad = |key: &str| format!("{own}:6: bad {SHOWN}{key}");
    home.run(&["profiles", "--names"]).check(0, &format!("{SHOWN}\nbad {SHOWN}\n"), "");
    let said = home.run(&["profiles"]);
    assert_eq!(said.stdout, format!("{SHOWN}  gate 1:tcp, then echo {SHOWN}\n"), "{said:?}");
    assert!(said.stderr.starts_with(&bad("")) && said.stderr.lines().count() == 4, "{said:?}");
    let hostile = "x\ny\u{1b}";
    for arguments in
        [&["knock", "-l", hostile][..], &["knock", hostile, "1"], &["knock", "127.0.0.1", hostile]]
    {
        let said = home.run(arguments);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains(r"x\ny\u{1b}") && said.stderr.lines().count() == 1, "{said:?}");
    }
    home.complete(&["knock", "-l", ""], expect![""]);
}

#[test]
fn profiles_of_both_kinds_are_knocked() {
    let udp = udp();
    let home = Home::new(&format!(
        "[home]\nhost = \"127.0.0.1\"\nsteps = [\"{}/udp\"]\npayload = \"own\"\n",
        port(&udp)
    ));
    home.run(&["knock", "-l", "home"]).check(0, "", "");
    home.run(&["knock", "home"]).check(0, "", "");
    home.run(&["knock", "home", "--payload", "typed"]).check(0, "", "");
    assert_eq!([received(&udp), received(&udp), received(&udp)], [&b"own"[..], b"own", b"typed"]);
    home.write(
        "knock.ini",
        &format!("[My Server]\nipaddr = 127.0.0.1\ninterval = 1\nports = {0}:udp {0}:UDP\n", port(&udp)),
    );
    let ini = home.path("knock.ini");
    let ini = ini.to_str().expect("a path");
    home.run(&["knock", "-f", ini, "-l", "My Server", "-v"]).check(
        0,
        &format!("hitting udp 127.0.0.1:{0}\nhitting udp 127.0.0.1:{0}\n", port(&udp)),
        "",
    );
    assert_eq!([received(&udp), received(&udp)], [b"", b""]);
    home.run(&["profiles", "-f", ini]).check(
        0,
        &format!("My Server  127.0.0.1 {0}:udp {0}:udp, every 1ms\n", port(&udp)),
        "",
    );
}

#[test]
fn profiles_are_listed_and_their_mistakes_told() {
    let home = Home::new(
        "[home]\nhost = \"gate\"\nsteps = \"1111/udp 2222\"\nwait = \"tcp/22\"\npayload = \"secret\"\nthen = \"ssh {host}\"\n\
         [bad]\nhost = \"x\"\nsteps = [\"0\"]\n",
    );
    let own = home.path("postern/profiles.toml");
    let own = own.display();
    home.run(&["profiles"]).check(
        2,
        "home  gate 1111:udp 2222:tcp, wait for tcp/22, then ssh {host}\n",
        &format!("{own}:9: bad.steps[0]: 0 is not a port; use 1 to 65535\npostern: 1 mistake\n"),
    );
    home.run(&["profiles", "--names"]).check(0, "home\nbad\n", "");
    home.run(&["knock", "-l", "bad"]).check(
        2,
        "",
        &format!("{own}:9: bad.steps[0]: 0 is not a port; use 1 to 65535\npostern: 1 mistake\n"),
    );
    home.run(&["knock", "-l", "hmoe"]).check(
        2,
        "",
        &format!("postern: {own} has no profile `hmoe`; it has home, bad\n"),
    );
}

#[test]
fn a_missing_file_of_profiles_is_reported_only_when_it_is_needed() {
    let home = Home::new("");
    let own = home.path("postern/profiles.toml");
    let told = format!("postern: no profiles: there is no {}\n", own.display());
    home.run(&["profiles"]).check(0, "", &told);
    home.run(&["profiles", "--names"]).check(0, "", "");
    let said = home.run(&["knock", "gate.example.org"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.starts_with(&format!("postern: cannot read {}: ", own.display())), "{said:?}");
    assert!(
        said.stderr
            .ends_with("; to knock at a host, say its steps: postern knock gate.example.org STEP...\n"),
        "{said:?}"
    );
}

#[test]
fn names_of_profiles_are_completed() {
    let home = Home::new("[home]\n[hotel]\n[work]\n");
    home.write("p.ini", "[palace]\nnonsense\n");
    let ini = home.path("p.ini");
    let ini = ini.to_str().expect("a path");
    home.complete(&["knock", "-l", "ho"], expect!["home hotel"]);
    home.complete(&["knock", "--profile", "w"], expect!["work"]);
    home.complete(&["knock", "h"], expect!["home hotel"]);
    home.complete(&["knock", "-f", ini, "-l", ""], expect!["palace"]);
    home.complete(&["prof"], expect!["profiles"]);
    Home::new("").complete(&["knock", "-l", ""], expect![""]);
}

#[cfg(unix)]
#[test]
fn the_command_of_a_profile_runs_when_the_door_is_open_and_its_status_is_ours() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = tcp.local_addr().expect("bound").port();
    let profile = |then: &str| {
        format!("[p]\nhost = \"127.0.0.1\"\nsteps = [\"9\"]\nwait = \"tcp/{port}\"\nthen = '''{then}'''\n")
    };
    let home = Home::new(&profile(r#"sh -c 'echo "$1 $2 [$POSTERN_THEN]"; exit 7' sh {host}:{port} "a  b""#));
    let said = home.run(&["knock", "p"]);
    let (opened, printed) = said.stdout.split_once('\n').expect("a line");
    assert!(opened.starts_with("open after "), "{said:?}");
    assert_eq!((said.code, printed), (7, format!("127.0.0.1:{port} a  b [1]\n").as_str()), "{said:?}");
    let said = home.run(&["knock", "p", "--no-then"]);
    assert_eq!((said.code, said.stdout.lines().count()), (0, 1), "{said:?}");
    // A knock within the command does not start it once more.
    let within = home.command(&["knock", "p"]).env("POSTERN_THEN", "1").output().expect("postern starts");
    assert_eq!(within.status.code(), Some(0));

    let home = Home::new(&profile("no-such-command"));
    let said = home.run(&["knock", "p"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.starts_with("postern: cannot run `no-such-command`: "), "{said:?}");

    let (_closed, port) = closed();
    let home = Home::new(&format!(
        "[p]\nhost = \"127.0.0.1\"\nsteps = [\"9\"]\nwait = \"tcp/{port}\"\ntimeout = \"20ms\"\nthen = \"touch ran\"\n"
    ));
    let said = home.run(&["knock", "p"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(!home.path("ran").exists(), "the door is closed");
}

#[test]
fn no_argument_at_all_is_answered_with_help() {
    for arguments in [&[][..], &["knock"]] {
        let said = Home::new("").run(arguments);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains("Usage:"), "{said:?}");
    }
}

/// A user's folder for configuration, and the working folder.
struct Home(TempDir);

#[derive(Debug)]
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Home {
    /// With these profiles; none if the text is empty.
    fn new(profiles: &str) -> Self {
        let home = Self(tempfile::tempdir().expect("a folder"));
        if !profiles.is_empty() {
            std::fs::create_dir(home.path("postern")).expect("a folder");
            home.write("postern/profiles.toml", profiles);
        }
        home
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(arguments).current_dir(self.0.path());
        command
            .env("XDG_CONFIG_HOME", self.0.path())
            .env("APPDATA", self.0.path())
            .env_remove("POSTERN_THEN");
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Said {
        Said::from(self.command(arguments).output().expect("postern starts"))
    }

    /// What a shell is offered in place of the last word.
    #[track_caller]
    fn complete(&self, line: &[&str], expect: Expect) {
        let all = [&["--", "postern"], line].concat();
        let mut command = self.command(&all);
        command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", line.len().to_string());
        command
            .env("_CLAP_IFS", " ")
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "true");
        let said = Said::from(command.output().expect("postern starts"));
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
        // Options are offered with an empty word as well.
        let words = said.stdout.split(' ').filter(|word| !word.starts_with('-'));
        expect.assert_eq(&words.collect::<Vec<_>>().join(" "));
    }
}

impl Said {
    #[track_caller]
    fn check(&self, code: i32, stdout: &str, stderr: &str) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (code, stdout, stderr));
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code().expect("an exit code"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(SOON)).expect("not zero");
    socket
}

/// A TCP port that refuses, and that no other process gets.
fn closed() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    let port = socket.local_addr().expect("bound").as_socket().expect("of IP").port();
    (socket, port)
}

fn port(socket: &UdpSocket) -> u16 {
    socket.local_addr().expect("bound").port()
}

#[track_caller]
fn received(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = [0; 64];
    let length = socket.recv(&mut bytes).expect("a datagram");
    bytes[..length].to_vec()
}
