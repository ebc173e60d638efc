//! A noisy neighbour: from knock to open port of one tenant, alone and beside another whose rule computes for nearly all that a call may
//! take, at every packet.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_config::{Activity, Config};
use postern_core::{Direction, Knock, Moment, RuleLimits, TcpFlags, Timestamp, Transport};
use postern_sandbox::{Loader, Runtime, Shard, thread_cpu_time};
use postern_tests::{Lab, SERVER4};
use posternd::load_rules;
use posternd::module_code::Modules;

use crate::blast::Blast;
use crate::knocker::{QUICK, Times, knock};
use crate::report::{Report, micros};
use crate::{KNOCK, client, lab, subject};

/// Knocks in each case.
const MANY: u32 = 300;
/// Packets a second for the neighbour's rule.
const RATES: [u32; 2] = [3_000, 100_000];
/// The port that it watches, as `burner.wat` says it, and that of a quick rule of the same tenant, which shows what the flood alone does.
const PORT: u16 = 7100;
const QUICK_PORT: u16 = 7200;
const BURNER: &str = include_str!("burner.wat");
/// Of what a call may take, in hundredths.
const BURNT: u32 = 90;

const TENANTS: &str = "[tenants.good]
rules = \"good\"
grant = { doors = [\"probe\"], watch = [\"udp/7001-7003\"], interfaces = [\"eth0\"] }
limits.openings = 4096
[tenants.noisy]
rules = \"noisy\"
grant = { doors = [\"probe\"], watch = [\"udp/7100\", \"udp/7200-7201\"], interfaces = [\"eth0\"] }
";

pub(crate) fn measure(report: &mut Report) {
    let folder = tempfile::TempDir::with_prefix("postern-neighbour-").expect("a temporary folder");
    let limit = RuleLimits::default().cpu;
    let module = burning_for(limit * BURNT / 100, folder.path());
    let path = folder.path().join("burner.wasm");
    fs::write(&path, module).expect("the folder is ours");
    let steps = KNOCK.map(|port| format!("\"{port}/udp\"")).join(", ");
    let rules = [
        (
            "../good/knock".to_owned(),
            format!("module = \"sequence\"\ndoor = \"probe\"\n[settings]\nsequence = [{steps}]\n"),
        ),
        (
            "../noisy/quick".to_owned(),
            format!(
                "module = \"sequence\"\ndoor = \"probe\"\n[settings]\nsequence = [\"{QUICK_PORT}/udp\", \"7201/udp\"]\n"
            ),
        ),
        ("../noisy/burner".to_owned(), format!("module = {path:?}\ndoor = \"probe\"\n")),
    ];
    let lab = lab();
    let postern = subject::postern(&lab, TENANTS, &rules);
    let alone = tell(report, "alone", &knock(&lab, 1..1 + MANY, QUICK));
    let cases = RATES.into_iter().flat_map(|rate| [(rate, QUICK_PORT, "quick"), (rate, PORT, "noisy")]);
    for ((rate, port, kind), first) in cases.zip((1 + MANY..).step_by(MANY as usize)) {
        let over = AtomicBool::new(false);
        let (begin, cpu) = (Instant::now(), postern.process.cpu());
        let times = thread::scope(|scope| {
            scope.spawn(|| flood(&lab, port, rate, &over));
            let times = knock(&lab, first..first + MANY, QUICK);
            over.store(true, Ordering::Relaxed);
            times
        });
        let busy = (postern.process.cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
        let who = format!("beside {kind} {rate}/s");
        let beside = tell(report, &who, &times);
        report.compare("median", beside.0, "alone", alone.0);
        report.compare("99 of 100", beside.1, "alone", alone.1);
        report.add("", "99 of 100, beyond alone", beside.1 - alone.1, "us", "a call may take 2000");
        report.add(&who, "CPU of the daemon, of one processor", 100.0 * busy, "%", "");
    }
    report.add("", "packets lost in all", postern.lost(), "", "");
}

/// Sends packets to a rule of the neighbour until it is over.
fn flood(lab: &Lab, port: u16, rate: u32, over: &AtomicBool) {
    let wire = lab.injector();
    while !over.load(Ordering::Relaxed) {
        let count = (rate / 10) as usize;
        Blast { count, rate: Some(rate.into()), ports: vec![port], sources: 1, skip: 1 << 20 }.send(&wire);
    }
}

/// Median and 99 of 100, in microseconds.
fn tell(report: &mut Report, who: &str, times: &Times) -> (f64, f64) {
    let [median, most] = [50, 99].map(|percent| micros(times.percentile(percent)));
    report.add(who, "knock to open port, median", median, "us", "");
    report.add(who, "knock to open port, 99 of 100", most, "us", "");
    report.add(who, "knocks that opened nothing", times.lost as f64, "", "");
    (median, most)
}

/// The module, made to compute for so long on this machine.
fn burning_for(time: Duration, folder: &Path) -> Vec<u8> {
    const TRIED: u32 = 100_000;
    let module =
        |rounds: u32| wat::parse_str(BURNER.replace("ROUNDS", &rounds.to_string())).expect("it is text");
    let dir = folder.join("tried");
    fs::create_dir_all(dir.join("rules")).expect("the folder is ours");
    fs::write(dir.join("postern.toml"), "interfaces = [\"lo\"]\n[doors.probe]\nguard = \"udp/9999\"\n")
        .and_then(|()| fs::write(dir.join("rules/b.toml"), "module = \"./b.wasm\"\ndoor = \"probe\"\n"))
        .and_then(|()| fs::write(dir.join("rules/b.wasm"), module(TRIED)))
        .expect("the folder is ours");
    let runtime = Runtime::start().expect("this machine can");
    let loader = Loader::new(runtime.clone(), Arc::new(())).expect("the contract fits");
    let modules = Modules::in_process(&runtime, loader);
    let config = Config::load(&dir.join("postern.toml")).expect("it is right");
    let generation = load_rules(1, &config, &modules, &Activity::default()).expect("it is right");
    let mut shard = Shard::new(Arc::new(generation), 1);
    let (knock, running) = (packet(), runtime.running());
    let mut call = || {
        let begin = thread_cpu_time();
        let _ = shard.judge(&running, &knock, Moment::default(), |_| true, &(), |_, _| ());
        thread_cpu_time() - begin
    };
    // The first one starts an instance; of the others the median.
    call();
    let mut times: Vec<_> = (0..101).map(|_| call()).collect();
    times.sort();
    let one = times[50].as_secs_f64() / f64::from(TRIED);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some millions")]
    module((time.as_secs_f64() / one) as u32)
}

fn packet() -> Knock {
    Knock {
        time: Timestamp(1),
        source: client(0),
        source_port: 40_000,
        destination: SERVER4,
        destination_port: PORT,
        transport: Transport::Udp,
        tcp_flags: TcpFlags::default(),
        hop_limit: 64,
        packet_length: 28,
        tcp_header: None,
        interface: "lo".into(),
        interface_index: 1,
        link: 0,
        direction: Direction::Incoming,
        sighting: None,
        payload: Box::default(),
    }
}
