//! All that a rule can be shown and can say, by rules with hand-made bindings: the same as by one in Rust.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use postern_sdk::serde_json::Map;
use postern_sdk::testing::rehearse;
use postern_sdk::{
    CloseRequest, Destination, Interest, Knock, NoSettings, Once, OpenRequest, Prefix, Progress, Rule,
    TcpFlags, Verdict, Watch,
};
use postern_tests::examples;

use crate::examples::compiled::{Compiled, Stage};
use crate::modules::{clang, root};

struct Everything;

impl Rule for Everything {
    type Settings = NoSettings;
    type Memory = Vec<u8>;

    fn configure(_: NoSettings) -> Result<(Self, Interest), String> {
        let tcp = Watch::tcp(1..=9).with(TcpFlags::SYN).without(TcpFlags::RST | TcpFlags::CWR);
        let prefixes = [("2001:db8::", 32), ("192.0.2.0", 24)];
        let prefixes = prefixes.map(|(address, length)| Prefix::new(address.parse().unwrap(), length));
        let interest = Interest::new([Watch::udp(1..=9), tcp, Watch::icmpv6(1..=9)])
            .destination(Destination::Within(prefixes.into()))
            .payload_limit(1500)
            .tcp_header()
            .memory_format(7);
        Ok((Self, interest))
    }

    fn judge(&self, knock: &Knock, memory: Option<Vec<u8>>) -> Verdict<Vec<u8>> {
        let later = knock.time + Duration::from_secs(5);
        let header = knock.tcp_header.as_ref();
        match knock.destination_port {
            1 => {
                let until = knock.time + Duration::from_secs(knock.hop_limit.into());
                Verdict::remember(knock.source_port.into(), knock.payload.clone(), until)
            }
            2 => Verdict::forget(
                memory.map_or_else(|| "none".to_owned(), |memory| String::from_utf8(memory).unwrap()),
            ),
            3 => {
                let token = Once::token_until(knock.payload.clone(), knock.time + Duration::from_secs(1));
                let counter = Once::counter("k", knock.time.as_micros());
                let a = OpenRequest::door("a").lasting(Duration::from_secs(30)).prefix_length(24).once(token);
                Verdict::open_doors([a, OpenRequest::door("b").once(counter)]).and_remember("x".into(), later)
            }
            4 => Verdict::open_doors([OpenRequest::default().once(Once::token(knock.payload.clone()))]),
            5 => Verdict::close_doors([CloseRequest::default(), CloseRequest::door("b").prefix_length(64)]),
            6 => {
                let memory = header.map(|header| header.options.clone()).unwrap_or_default();
                let remember = Some(Progress { stage: 3, memory, until: later });
                Verdict::Close { requests: vec![CloseRequest::default()], remember }
            }
            7 => {
                let mut words = String::new();
                if let Some(it) = header {
                    write!(
                        words,
                        "{} {} {} {} ",
                        it.sequence, it.acknowledgment, it.window, it.urgent_pointer
                    )
                    .unwrap();
                }
                let (flags, transport) = (knock.tcp_flags.bits(), knock.transport as u8);
                let (length, interface) = (knock.packet_length, knock.interface_index);
                let (zone, port, hops) = (knock.source_zone, knock.source_port, knock.hop_limit);
                write!(words, "{length} {interface} {zone} {port} {flags} {transport} {hops}").unwrap();
                Verdict::forget(words)
            }
            8 => Verdict::forget(format!("{} {}", hex(knock.source), hex(knock.destination))),
            _ => Verdict::Ignore,
        }
    }
}

fn hex(address: IpAddr) -> String {
    match address {
        IpAddr::V4(it) => format!("{:08x}", it.to_bits()),
        IpAddr::V6(it) => format!("{:032x}", it.to_bits()),
    }
}

/// Knocks at every port, from different clients, with everything that a packet may have.
fn knocks() -> String {
    let clients = ["203.0.113.7", "2001:db8:ffff::1", "fe80::fedc:ba98:7654:3210%4294967295"];
    let packets = [
        "udp/PORT payload=p",
        "udp/PORT from=65535 hops=255 length=65535 interface=4294967295 payload=0x00ff7f80",
        "tcp/PORT flags=syn,ece,psh,urg,fin payload=p sequence=4294967295 acknowledgment=4294967294 \
         window=65535 urgent=65534 options=0x020405b40402080a",
        "icmpv6/PORT from=200 payload=ping",
    ];
    let mut script = String::new();
    for client in clients {
        for packet in packets {
            for port in ["1", "8", "7", "3", "6", "4", "5", "9"] {
                let packet = packet.replace("PORT", port);
                writeln!(script, "+0.000001s {client} {packet}").unwrap();
            }
        }
        // What is remembered comes back; and a packet may be as long as it likes.
        for payload in ["again".to_owned(), "z".repeat(200), "z".repeat(1024)] {
            writeln!(script, "+1.0s {client} udp/2\n+1.0s {client} udp/1 from=9 payload={payload}").unwrap();
            let longest_reason = 200;
            if payload.len() <= longest_reason {
                writeln!(script, "+1.5s {client} udp/2").unwrap();
            }
        }
        writeln!(script, "+1.5s {client} udp/5 payload={}", "y".repeat(1500)).unwrap();
    }
    script
}

/// A rule that `compile` has written to the place that it is given.
fn says_everything(compile: impl FnOnce(&Path) -> Option<Command>) {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("everything.wasm");
    let Some(mut command) = compile(&module) else { return };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stage = Stage::compile(&std::fs::read(module).unwrap());
    let interest = stage.perform(false, || Compiled::configure(Map::new()).unwrap().1);
    assert_eq!(interest, Everything::configure(NoSettings {}).unwrap().1);
    let refused = stage.perform(false, || rehearse::<Compiled>(r#"{"é":"ü"}"#, ""));
    assert_eq!(refused, "refused: {\"é\":\"ü\"}\n");
    let expected = rehearse::<Everything>("{}", &knocks());
    for words in ["open a for 30s prefix 24 once token", "b prefix 64", "forget: zzz", "and remember 3"] {
        assert!(expected.contains(words), "{words} is not in\n{expected}");
    }
    for is_forgetful in [false, true] {
        let said = stage.perform(is_forgetful, || rehearse::<Compiled>("{}", &knocks()));
        for ((said, expected), knock) in said.lines().zip(expected.lines()).zip(knocks().lines()) {
            assert_eq!(said, expected, "{knock}");
        }
    }
}

fn guest(name: &str) -> std::path::PathBuf {
    root().join("tests/guests/everything").join(name)
}

#[test]
fn in_c() {
    says_everything(|module| {
        let mut command = Command::new(clang("clang")?);
        command.args([
            "--target=wasm32",
            "-std=c11",
            "-O2",
            "-ffreestanding",
            "-nostdlib",
            "-Wall",
            "-Wextra",
        ]);
        command.args(["-Werror", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,--stack-first"]);
        command.arg("-I").arg(root().join("guest-sdk/c")).arg("-o").arg(module).arg(guest("everything.c"));
        Some(command)
    });
}

#[test]
fn in_c_with_a_library() {
    says_everything(|module| {
        let mut command = examples::compiler("zig")?;
        command.args([
            "cc",
            "-target",
            "wasm32-wasi",
            "-mexec-model=reactor",
            "-Wl,-z,stack-size=65536",
            "-O2",
            "-s",
        ]);
        command.args(["-Wall", "-Wextra", "-Werror"]);
        command.arg("-I").arg(root().join("guest-sdk/c")).arg("-o").arg(module).arg(guest("everything.c"));
        Some(command)
    });
}

#[test]
fn in_zig() {
    says_everything(|module| {
        let mut command = examples::compiler("zig")?;
        command.args([
            "build-exe",
            "-target",
            "wasm32-freestanding",
            "-O",
            "ReleaseSmall",
            "-fno-entry",
            "-rdynamic",
        ]);
        command.args(["--stack", "65536", "--dep", "postern"]);
        command.arg(format!("-femit-bin={}", module.display()));
        command.arg(format!("-Mroot={}", guest("everything.zig").display()));
        command.arg(format!("-Mpostern={}", root().join("guest-sdk/zig/postern.zig").display()));
        Some(command)
    });
}

#[test]
fn in_go() {
    says_everything(|module| {
        let mut command = examples::compiler("go")?;
        command
            .args(["build", "-buildmode=c-shared", "-trimpath", "-o"])
            .arg(module)
            .arg(".")
            .current_dir(guest("go"));
        Some(command)
    });
}

#[test]
fn in_assembly_script() {
    says_everything(|module| {
        let mut command = examples::compiler("asc")?;
        command.args(["everything.ts", "--optimize", "--use"]);
        command.args(["abort=../../../guest-sdk/assemblyscript/postern/abort", "-o"]).arg(module);
        command.current_dir(guest(""));
        Some(command)
    });
}
