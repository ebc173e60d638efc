//! `posternd replay`: what it tells of small captures, and that no capture makes it panic.

mod compared;
mod hostile;
mod shown;
mod told;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};

use postern_tests::capture_file::Pcap;
use postern_tests::frame::{tcp, udp};
use tempfile::TempDir;

/// When every capture begins: some time in 2026, in microseconds since 1970.
const BEGIN: u64 = 1_795_000_000_000_000;
const CLIENT: &str = "192.0.2.7";
const SERVER: &str = "198.51.100.1";

const CONFIG: &str = "interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\nfor = \"10s\"\n";
const SSH: &str = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"7000/udp\", \"7001/tcp\"]\nwithin = \"5s\"\n";

/// A folder with a configuration and a capture.
struct Place(TempDir);

impl Place {
    /// With this rule, and this configuration.
    fn new(config: &str, rule: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self(dir).write("postern.toml", config.as_bytes());
        place.write("rules/ssh.toml", rule.as_bytes())
    }

    fn write(self, file: &str, contents: &[u8]) -> Self {
        let file = self.0.path().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, contents).unwrap();
        self
    }

    fn capture(self, capture: Pcap) -> Self {
        self.write("a.pcap", &capture.into_bytes())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Replays `a.pcap` with the configuration.
    fn replay(&self, more: &[&str]) -> Replayed {
        self.run(&[&["--config", "postern.toml", "a.pcap"], more].concat())
    }

    fn run(&self, arguments: &[&str]) -> Replayed {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posternd"));
        let command = command.arg("replay").arg("--no-strict-modes").args(arguments);
        let output = command.current_dir(&self.0).env("CACHE_DIRECTORY", &*cache()).output().unwrap();
        Replayed(output)
    }
}

/// What is compiled is compiled once for all tests.
fn cache() -> PathBuf {
    static CACHE: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(|| {
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("replay-code");
        fs::create_dir_all(&cache).unwrap();
        cache
    });
    CACHE.clone()
}

/// What a replay has written, and how it has ended.
struct Replayed(Output);

impl Replayed {
    #[track_caller]
    fn code(&self, expected: i32) -> &Self {
        assert_eq!(self.0.status.code(), Some(expected), "{}\n{}", self.out(), self.err());
        self
    }

    fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }
}

fn end(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

fn udp_to(source: &str, port: u16) -> Vec<u8> {
    udp(end(source, 40_000), end(SERVER, port), b"")
}

fn syn_to(source: &str, port: u16) -> Vec<u8> {
    tcp(end(source, 40_000), end(SERVER, port), postern_tests::frame::SYN)
}

/// So many milliseconds after the beginning.
const fn at(millis: u64) -> u64 {
    BEGIN + millis * 1000
}

/// A client that knocks right, one that errs, and a packet much later.
fn knocks() -> Pcap {
    Pcap::ethernet()
        .frame(at(0), &udp_to(CLIENT, 7000))
        .frame(at(20), &udp_to("192.0.2.8", 7000))
        .frame(at(100), &syn_to(CLIENT, 7001))
        .frame(at(120), &udp_to("192.0.2.8", 7000))
        .frame(at(300), &syn_to(CLIENT, 22))
        .frame(at(60_000), &udp_to(CLIENT, 7000))
}
