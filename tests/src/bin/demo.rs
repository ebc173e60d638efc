//! A guided tour of Postern on two pretend machines: what `make demo` runs.
//!
//! It uses the real daemon, a real wire and a real service, checks every sentence that it prints, and ends with exit code 1
//! at the first that is not true. It decides nothing: all the work is the harness's.

#![allow(clippy::print_stdout, reason = "a tour talks to people")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use postern_tests::tour::{Tour, play, time};
use postern_tests::{Answer, CLIENT4, CLIENT6, Daemon, Lab, SERVER4, STRANGER4, Setup, eventually};

const CONFIG: &str = "interfaces = [\"eth0\"]

[doors.ssh]
guard = \"tcp/22\"
for   = \"4s\"
";
const RULE: &str = "module = \"sequence\"
door   = \"ssh\"

[settings]
sequence = [\"7000/udp\", \"8000/tcp\", \"9000/udp\"]
";
const KNOCK: &str = "7000/udp 8000/tcp 9000/udp";
const WRONG_KNOCK: &str = "7000/udp 9000/udp";
const NEW_KNOCK: &str = "7777/udp 8000/tcp 9000/udp";

/// How long we listen before we call it silence. A real answer takes less than a millisecond.
const A_WHILE: Duration = Duration::from_millis(300);
/// How late a busy machine may be.
const LATENESS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    play(give)
}

fn give(lab: &Lab, program: PathBuf) -> Tour {
    let mut tour = Tour::default();
    println!("\nPostern on two pretend machines with a wire between them. Your own network is not touched.");

    let ssh = lab.tcp_service(22);
    tour.step("A service listens on the server's tcp/22. Anybody can reach it:");
    tour.show(format!("{CLIENT4} connects to {SERVER4}, which says {:?}", greeting(lab, CLIENT4)));

    let start = Instant::now();
    let daemon = Setup::new(lab, program).config(CONFIG).rule("knock", RULE).start();
    tour.step("posternd starts there, with a door and a rule that may open it:");
    tour.quote(CONFIG);
    tour.quote(RULE);
    tour.show(format!("ready after {}", time(start.elapsed())));

    tour.step("Now the port is silent. It does not even refuse:");
    expect_silence(lab, CLIENT4);
    tour.show(format!("{CLIENT4} heard nothing for {}", time(A_WHILE)));
    tour.show(format!("nft list table inet postern: {}", guard(lab)));

    let mut session = knock_and_enter(&mut tour, lab, &daemon);
    next_door(&mut tour, lab);
    edit(&mut tour, lab, &daemon);
    mistake(&mut tour, lab, &daemon);

    tour.step("The door closes when its 4 seconds are over, but whoever is in stays in:");
    let is_clients = |entry: &postern_tests::Entry| entry.text("src") == CLIENT4.to_string();
    let open = daemon.wait_for("open", is_clients);
    let close = daemon.wait_for("close", is_clients);
    expect_silence(lab, CLIENT4);
    tour.show(format!(
        "closed {} after it opened; new connections hear nothing",
        time(close.since(open.read_at))
    ));
    assert_eq!(echo(&mut session, b"still here?"), b"still here?", "the session ended");
    tour.show("the session from before asks \"still here?\" and gets its answer");

    ask(&mut tour, lab, &daemon);
    let daemon = kill(&mut tour, lab, daemon);

    tour.step("posternd is asked to stop:");
    daemon.stop();
    expect_silence(lab, CLIENT4);
    tour.show("it ended with exit code 0, and the port stays closed without it");
    drop(ssh);
    tour
}

fn knock_and_enter(tour: &mut Tour, lab: &Lab, daemon: &Daemon<'_>) -> TcpStream {
    let server = SERVER4.to_string();
    let argv = ["knock", "-d", "5", &server, "7000:udp", "8000:tcp", "9000:udp"];
    if Command::new("knock").arg("-V").output().is_ok() {
        tour.step(format!("The client knocks, with Debian's own client: {}", argv.join(" ")));
        let knock = lab.client_exec(&argv);
        assert!(knock.status.success(), "{knock:?}");
    } else {
        tour.step(format!("The client knocks, with plain sockets as there is no `knock` here: {KNOCK}"));
        lab.knock(CLIENT4, KNOCK);
    }
    let open = daemon.wait_for("open", |entry| entry.text("src") == CLIENT4.to_string());
    let lasts = open.number("lasts_s").unwrap_or_default();
    tour.show(format!("posternd: {}; open for {lasts:.0} s", daemon.story(CLIENT4).join(", ")));

    tour.step("The port answers:");
    let mut session = lab.tcp(CLIENT4, 22, Duration::from_secs(2)).connected();
    let mut hello = [0; 6];
    session.set_read_timeout(Some(LATENESS)).expect("not zero");
    session.read_exact(&mut hello).expect("the service greets");
    tour.show(format!(
        "{:?}, says the service; the client keeps this session",
        String::from_utf8_lossy(&hello)
    ));
    tour.show(format!("nft list table inet postern: {}", guard(lab)));
    session
}

fn next_door(tour: &mut Tour, lab: &Lab) {
    tour.step("The stranger next door is still shut out:");
    expect_silence(lab, STRANGER4);
    tour.show(format!("{STRANGER4} heard nothing for {}", time(A_WHILE)));
}

fn edit(tour: &mut Tour, lab: &Lab, daemon: &Daemon<'_>) {
    tour.step("While posternd runs, the rule file is edited: the first step becomes 7777/udp.");
    let start = Instant::now();
    let reload = daemon.change_rule("knock", &RULE.replace("7000", "7777"));
    let generation = reload.number("generation").unwrap_or_default();
    tour.show(format!(
        "posternd took it by itself within {}: generation {generation}",
        time(start.elapsed())
    ));
    lab.knock(CLIENT6, KNOCK);
    expect_silence(lab, CLIENT6);
    tour.show(format!("{CLIENT6} knocks {KNOCK}: nothing"));
    lab.knock(CLIENT6, NEW_KNOCK);
    let (_, took) = lab.tcp_soon(CLIENT6, 22, LATENESS);
    tour.show(format!("{CLIENT6} knocks {NEW_KNOCK}: in, and over IPv6"));
    tour.show(format!("from its last knock to a connection through the open door: {}", time(took)));
}

fn mistake(tour: &mut Tour, lab: &Lab, daemon: &Daemon<'_>) {
    tour.step("Somebody makes a mistake in the file:");
    let mark = daemon.log().mark();
    daemon.write("rules/knock.toml", RULE.replace("\"ssh\"", "\"shh\""));
    let refusal = daemon.wait_for_refusal(mark);
    let folder = format!("{}/", daemon.dir().display());
    tour.show(refusal.text("detail").replace(&folder, ""));
    lab.knock(STRANGER4, NEW_KNOCK);
    lab.tcp_soon(STRANGER4, 22, LATENESS);
    tour.show("what ran before still runs, and opens to whoever knocks");
    daemon.change_rule("knock", RULE);
}

fn ask(tour: &mut Tour, lab: &Lab, daemon: &Daemon<'_>) {
    tour.step(format!("The client forgets a step, {WRONG_KNOCK}, and is not let in. Why? The daemon knows:"));
    lab.knock(CLIENT4, WRONG_KNOCK);
    expect_silence(lab, CLIENT4);
    let explained = eventually("the wrong knock is known", || {
        postern(daemon, &["explain", &CLIENT4.to_string()]).filter(|said| said.contains("step 2 should be"))
    });
    tour.quote(&format!("$ postern explain {CLIENT4}\n{explained}"));
    tour.step("And how is the daemon itself?");
    let status = postern(daemon, &["status"]).expect("it answers");
    assert!(status.contains("eth0  incoming  listening"), "{status}");
    tour.quote(&format!("$ postern status\n{status}"));
}

/// What the client says of a daemon that it asks.
fn postern(daemon: &Daemon<'_>, arguments: &[&str]) -> Option<String> {
    let program = std::env::current_exe().ok()?.with_file_name("postern");
    let mut command = Command::new(program);
    let output = command.args(arguments).arg("--socket").arg(daemon.control_socket()).output().ok()?;
    String::from_utf8(output.stdout).ok()
}

fn kill<'lab>(tour: &mut Tour, lab: &Lab, daemon: Daemon<'lab>) -> Daemon<'lab> {
    tour.step("The client knocks again, and posternd is killed (kill -9) while the door is open:");
    let mark = daemon.log().mark();
    lab.knock(CLIENT4, KNOCK);
    let opened = daemon.wait_since(mark, "open", |_| true).read_at;
    let (setup, _) = daemon.kill();
    let shut = eventually("the kernel closes the door", || {
        lab.tcp(CLIENT4, 22, Duration::from_millis(20)).is_silence().then(Instant::now)
    });
    let lasted = shut - opened;
    assert!(
        lasted > Duration::from_millis(3900) && lasted < Duration::from_secs(4) + LATENESS,
        "the door was open for {lasted:?}"
    );
    tour.show(format!("nobody was there to close it, and it closed after {} all the same", time(lasted)));
    let daemon = setup.start();
    tour.show("a new posternd takes over; the port was closed all the while");
    daemon
}

/// The elements of the guard's sets, in a line.
fn guard(lab: &Lab) -> String {
    let listed = lab.server_exec(&["nft", "list", "table", "inet", "postern"]);
    // A machine that does not know the names of protocols has their numbers.
    let listed = String::from_utf8_lossy(&listed.stdout).replace(" 6 . ", " tcp . ");
    let mut sets = Vec::new();
    let mut name = "";
    for line in listed.lines().map(str::trim) {
        if let Some(set) = line.strip_prefix("set ") {
            name = set.trim_end_matches(" {");
        } else if let Some(elements) = line.strip_prefix("elements = ") {
            sets.push(format!("{name} = {elements}"));
        }
    }
    assert!(listed.contains("tcp . 22"), "the guard does not know tcp/22:\n{listed}");
    sets.join(", ")
}

fn greeting(lab: &Lab, source: IpAddr) -> String {
    let (mut stream, _) = lab.tcp_soon(source, 22, LATENESS);
    stream.set_read_timeout(Some(LATENESS)).expect("not zero");
    let mut hello = [0; 6];
    stream.read_exact(&mut hello).expect("the service greets");
    String::from_utf8_lossy(&hello).into_owned()
}

fn echo(session: &mut TcpStream, question: &[u8]) -> Vec<u8> {
    let mut answer = vec![0; question.len()];
    let asked = session.write_all(question).and_then(|()| session.read_exact(&mut answer));
    asked.map(|()| answer).unwrap_or_default()
}

#[track_caller]
fn expect_silence(lab: &Lab, source: IpAddr) {
    let answer: Answer = lab.tcp(source, 22, A_WHILE);
    assert!(answer.is_silence(), "{source} should hear nothing from tcp/22, and heard {answer:?}");
}
