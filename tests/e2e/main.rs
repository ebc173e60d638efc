//! The real `posternd` on a real wire: each test is a lab of its own with a daemon of its own.
//!
//! Run them inside `tests/in-namespace.sh`, as `make test` does, or as root.

mod capture;
mod client;
mod command_door;
mod command_user;
mod compiling;
mod control;
mod copies;
mod differential;
mod disk;
mod doctor;
mod examples;
mod failures;
mod files;
mod first_rule;
mod guard_door;
mod guarding;
mod hooks;
mod hostile;
mod hostile_engine;
mod hostile_tenant;
mod journal;
mod journald;
mod kills;
mod knock;
mod knockd;
mod lifecycle;
mod log_level;
mod metrics;
mod module;
mod museum;
mod names;
mod outputs;
mod recipes;
mod reload;
mod reload_load;
mod roles;
mod set_door;
mod shares;
mod signed;
mod slow;
mod sources;
mod strangers;
mod strict;
mod supervisor;
mod tenant_check;
mod tenant_noise;
mod tenant_user;
mod tenants;
mod tokens;
mod r#try;
mod trying;
mod unprivileged;
mod wasm_bytes;
mod watchdog;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use postern_tests::{CLIENT4, CLIENT6, Lab, STRANGER4, STRANGER6, Setup};

/// The daemon.
const PROGRAM: &str = env!("CARGO_BIN_EXE_posternd");
/// Long enough for an answer on a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to call it silence: an answer takes less than a millisecond.
const A_WHILE: Duration = Duration::from_millis(200);
/// How much too late a busy machine may be.
const LATENESS: Duration = Duration::from_millis(1500);

/// Each kind of address: the client's and the stranger's.
const BOTH_KINDS: [(IpAddr, IpAddr); 2] = [(CLIENT4, STRANGER4), (CLIENT6, STRANGER6)];

/// One guarded port.
const SSH_2S: &str = r#"
    interfaces = ["eth0"]
    [doors.ssh]
    guard = "tcp/22"
    for = "2s"
"#;

/// Three steps to it.
const KNOCK: &str = r#"
    module = "sequence"
    door = "ssh"
    [settings]
    sequence = ["7000/udp", "8000/tcp", "9000/udp"]
    within = "10s"
"#;
const STEPS: &str = "7000/udp 8000/tcp 9000/udp";
const STORY: [&str; 3] = ["stage 1", "stage 2", "open ssh"];

fn posternd(lab: &Lab) -> Setup<'_> {
    Setup::new(lab, PROGRAM)
}

/// Whether the peer sends back what it gets.
fn is_alive(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 6];
    stream.set_read_timeout(Some(SOON)).expect("not zero");
    stream.write_all(b"alive?").is_ok() && stream.read_exact(&mut answer).is_ok() && answer == *b"alive?"
}

/// Reads the greeting, so that what comes next is the echo.
fn greeted(mut stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(SOON)).expect("not zero");
    stream.read_exact(&mut [0; 6]).expect("the service greets");
    stream
}
