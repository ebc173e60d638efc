//! What a packet's nanoseconds are spent on, part by part: `cargo bench --bench parts`.

mod openings;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use divan::{Bencher, black_box};
use postern_capture::{Frame, LinkType, LocalNetwork, decode};
use postern_config::{Activity, Config};
use postern_core::{
    Bounds, CpuShare, Destination, Detail, Direction, Dispatch, DispatchPart, Interest, Knock, Memories,
    Moment, Progress, Subscription, TcpFlags, TenantId, TenantLimits, Timestamp, Transport, Watch,
};
use postern_sandbox::{Generation, Loader, OwnerRules, Runtime, Shard};
use postern_tests::frame::udp;
use posternd::load_rules;
use posternd::module_code::Modules;

const RULE: &str = "module = \"sequence\"\ndoor = \"probe\"\n[settings]\nsequence = [\"7001/udp\", \"7002/udp\", \"7003/udp\"]\nwithin = \"10m\"\n";
const CONFIG: &str = "interfaces = [\"lo\"]\n[doors.probe]\nguard = \"udp/9999\"\n";

fn main() {
    divan::main();
}

fn bytes(port: u16) -> Vec<u8> {
    let from = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 40_000);
    udp(from, SocketAddr::new(Ipv4Addr::new(198, 51, 100, 1).into(), port), b"")
}

fn read(bytes: &[u8], interface: &Arc<str>, time: u64) -> Knock {
    decode(&frame(bytes, interface, time), Detail::LEAST).expect("a good frame")
}

fn frame<'a>(bytes: &'a [u8], interface: &'a Arc<str>, time: u64) -> Frame<'a> {
    Frame {
        time: Timestamp(time),
        link: LinkType::Ethernet,
        length: 60,
        interface,
        index: 2,
        direction: Direction::Incoming,
        bytes,
    }
}

/// A frame becomes a knock.
#[divan::bench]
fn decoding(bencher: Bencher<'_, '_>) {
    let (bytes, interface) = (bytes(7001), Arc::from("eth0"));
    bencher.bench_local(|| read(black_box(&bytes), &interface, 0));
}

/// The same, and its source is held against this machine's addresses.
#[divan::bench]
fn placing(bencher: Bencher<'_, '_>) {
    let (bytes, interface) = (bytes(7001), Arc::from("eth0"));
    let network = LocalNetwork::follow(Arc::new(())).expect("the kernel says its addresses");
    let mut view = network.view();
    bencher.bench_local(|| {
        let frame = frame(black_box(&bytes), &interface, 0);
        let mut knock = decode(&frame, Detail::LEAST).expect("a good frame");
        view.place(&mut knock, &frame).expect("another machine can send it");
        knock
    });
}

/// Which rules asked for it.
#[divan::bench(args = [1, 10_000])]
fn dispatching(bencher: Bencher<'_, '_>, rules: usize) {
    let watch = Watch {
        transport: Transport::Udp,
        first_port: 7001,
        last_port: 7001,
        set: TcpFlags::default(),
        clear: TcpFlags::default(),
    };
    let interest = Interest {
        watches: vec![watch],
        destination: Destination::ThisHost,
        detail: Detail::LEAST,
        memory_format: 0,
    };
    let subscription =
        Subscription { interest, interfaces: Vec::new(), sees_outgoing: false, is_local_only: false };
    let part = DispatchPart::new(&TenantId::host(), vec![subscription; rules]);
    let dispatch = Dispatch::new(vec![part.expect("they overlap in one way only")]);
    let knock = read(&bytes(7001), &Arc::from("eth0"), 0);
    bencher.bench_local(|| dispatch.wanted(black_box(&knock), |_| true).next());
}

/// The memory of one of so many clients is looked up and written anew.
#[divan::bench(args = [1, 100_000, 1_000_000])]
fn remembering(bencher: Bencher<'_, '_>, clients: u32) {
    let bounds = Bounds { entries: 2_000_000, bytes: 1 << 30 };
    let tenant = TenantId::new("a");
    let mut memories = Memories::new(bounds, &HashMap::from([(tenant.clone(), bounds)]));
    let rule = memories.add(&tenant, bounds);
    let address = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
    let progress = || Progress { stage: 1, bytes: Box::new([0; 17]), until: Timestamp(u64::MAX) };
    for n in 0..clients {
        memories.remember(rule, memories.client(address(n), 0), progress(), Timestamp(0));
    }
    let mut n = 0_u32;
    bencher.bench_local(|| {
        // Each time a client that was not seen for long.
        n = (n + 7919) % clients;
        let client = memories.client(address(n), 0);
        let known = memories.recall(rule, client, Timestamp(1)).map(<[u8]>::len);
        let client = memories.client(address(n), 0);
        memories.remember(rule, client, progress(), Timestamp(1));
        known
    });
}

/// The first step of a client that is not known, and its second, which is wrong; half of a whole knock each. For the host, whose time is not
/// metered, and for a tenant that has a share.
#[divan::bench(args = SHARES)]
fn judging(bencher: Bencher<'_, '_>, share: &CpuShare) {
    let (runtime, mut shard) = shard(*share);
    let interface = Arc::from("eth0");
    let knocks = [7001, 7003].map(|port| read(&bytes(port), &interface, 1));
    let running = runtime.running();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn ^= 1;
        let mut told = 0;
        let _ = shard.judge(
            &running,
            black_box(&knocks[turn]),
            Moment::default(),
            |_| true,
            black_box(&()),
            |_, _| told += 1,
        );
        told
    });
}

/// A packet that changes nothing: the least that a call of a rule costs.
#[divan::bench(args = SHARES)]
fn judging_what_is_ignored(bencher: Bencher<'_, '_>, share: &CpuShare) {
    let (runtime, mut shard) = shard(*share);
    let knock = read(&bytes(7002), &Arc::from("eth0"), 1);
    let running = runtime.running();
    bencher.bench_local(|| {
        shard.judge(&running, black_box(&knock), Moment::default(), |_| true, black_box(&()), |_, _| ())
    });
}

/// A packet of a tenant that has used up its share.
#[divan::bench]
fn dropping_what_is_over_the_share(bencher: Bencher<'_, '_>) {
    let (runtime, mut shard) = shard(CpuShare::percent(1));
    let knock = read(&bytes(7002), &Arc::from("eth0"), 1);
    let running = runtime.running();
    let mut judge =
        || shard.judge(&running, black_box(&knock), Moment::default(), |_| true, black_box(&()), |_, _| ());
    // Time stands still, so it is never over.
    (0..1_000_000).for_each(|_| _ = judge());
    bencher.bench_local(judge);
}

/// Without a limit, and with one that is never reached while time stands still for a measurement.
const SHARES: [CpuShare; 2] = [CpuShare::UNLIMITED, CpuShare::percent(100)];

/// One rule, whose tenant has this share.
fn shard(share: CpuShare) -> (Runtime, Shard) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("postern.toml"), CONFIG).expect("the folder is ours");
    std::fs::create_dir(dir.path().join("rules")).expect("the folder is ours");
    std::fs::write(dir.path().join("rules/probe.toml"), RULE).expect("the folder is ours");
    let runtime = Runtime::start().expect("this machine can");
    let loader = Loader::new(runtime.clone(), Arc::new(())).expect("the contract fits");
    let config = Config::load(&dir.path().join("postern.toml")).expect("it is right");
    let modules = Modules::in_process(&runtime, loader);
    let generation = load_rules(1, &config, &modules, &Activity::default()).expect("it is right");
    let tenant = TenantId::host();
    let rules = OwnerRules::new(tenant.clone(), generation.rules_of(&tenant));
    let rules = vec![rules.expect("one rule overlaps with nothing")];
    let limits = TenantLimits { share, memory: Bounds::OF_ALL_RULES, openings: 1, tokens: 1, log: 1 };
    let limits = HashMap::from([(tenant, limits)]);
    let generation = Generation::of_rules(&runtime, 1, rules, Bounds::OF_ALL_RULES, &limits);
    (runtime, Shard::new(Arc::new(generation), 1))
}
