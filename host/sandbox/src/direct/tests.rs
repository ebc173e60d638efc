//! Each module is run both ways, directly and as a component, and must say the same: wasmtime's own canonical ABI is what ours is
//! held against.

use std::sync::Arc;
use std::time::Duration;

use postern_core::{
    Detail, Direction, Knock, MAX_TCP_OPTIONS, RuleId, RuleLimits, TcpFlags, TcpHeader, TenantId, Timestamp,
    Transport,
};
use postern_tests::Random;
use wasmtime::Store;
use wasmtime::component::{Component, Linker};
use wit_component::{StringEncoding, embed_component_metadata};

use super::DirectRulePre;
use crate::code::{Code, Started};
use crate::componentize::{Encoded, Form, componentize, encode_component};
use crate::contract::{RulePre, add_to_linker};
use crate::guest::Guest;
use crate::{Runtime, stock, store};

/// A guest that does and answers what its settings say. Settings are text of two letters a byte, `aa` for 0 to `pp` for 255; they come to lie at 4096, where
/// the answer of `configure` is taken from. A payload comes to lie at 8192, and so many bytes behind that as the source port says is the
/// answer of `judge` taken from, unless the payload is empty: then everything that the call was given is to be remembered.
const PARROT: &str = r#"(module
    (import "postern:rule/host@0.2.0" "log" (func $log (param i32 i32 i32)))
    (memory (export "memory") 2)
    (global $arena (mut i32) (i32.const 65536))
    (global $cleaned (mut i32) (i32.const 0))
    (func (export "_initialize") (i32.store (i32.const 16384) (i32.const 1)))
    (func (export "cabi_realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
        (local $start i32)
        (local.set $start (i32.and
            (i32.sub (i32.add (global.get $arena) (local.get $align)) (i32.const 1))
            (i32.sub (i32.const 0) (local.get $align))))
        (global.set $arena (i32.add (local.get $start) (local.get $size)))
        ;; What the canonical ABI leaves open, such as the rest of an IPv4 address, must not be what was there before.
        (memory.fill (local.get $start) (i32.const 0) (local.get $size))
        (local.get $start))
    (func (export "cabi_post_judge") (param i32)
        (global.set $cleaned (i32.add (global.get $cleaned) (i32.const 1))))
    (func (export "configure") (param $settings i32) (param $length i32) (result i32)
        (local $at i32)
        (block $done (loop $more
            (br_if $done (i32.ge_u (local.get $at) (local.get $length)))
            (i32.store8
                (i32.add (i32.const 4096) (i32.shr_u (local.get $at) (i32.const 1)))
                (i32.add
                    (i32.shl (i32.sub (i32.load8_u (i32.add (local.get $settings) (local.get $at))) (i32.const 97)) (i32.const 4))
                    (i32.sub (i32.load8_u offset=1 (i32.add (local.get $settings) (local.get $at))) (i32.const 97))))
            (local.set $at (i32.add (local.get $at) (i32.const 2)))
            (br $more)))
        (i32.const 4096))
    (func (export "judge") (param $call i32) (result i32)
        (if (i32.load offset=100 (local.get $call)) (then
            (memory.copy (i32.const 8192) (i32.load offset=96 (local.get $call)) (i32.load offset=100 (local.get $call)))
            (global.set $arena (i32.const 65536))
            (return (i32.add (i32.const 8192) (i32.load16_u offset=32 (local.get $call))))))
        ;; remember, and as the stage what `_initialize` left and how often the host cleaned up
        (i64.store (i32.const 16400) (i64.const 1))
        (i32.store (i32.const 16408) (i32.add (i32.load (i32.const 16384)) (i32.shl (global.get $cleaned) (i32.const 8))))
        (i32.store (i32.const 16412) (local.get $call))
        (i32.store (i32.const 16416) (i32.sub (global.get $arena) (local.get $call)))
        (i64.store (i32.const 16424) (i64.load (local.get $call)))
        (global.set $arena (i32.const 65536))
        (call $log (i32.const 1) (i32.const 16408) (i32.const 1))
        (i32.const 16400)))"#;

/// Of one call; what is tested here is not time.
const CPU: Duration = Duration::from_millis(100);
/// Where the parrot's answers come to lie.
const INTEREST: u32 = 4096;
const VERDICT: u32 = 8192;

/// A module both ways, started anew whenever it was thrown away.
struct Both {
    runtime: Runtime,
    codes: [Code; 2],
}

/// Both ways started.
type Pair = [(Started, Store<Guest>); 2];

impl Both {
    fn new(module: &[u8]) -> Self {
        let runtime = Runtime::start().unwrap();
        let engine = runtime.engine();
        assert!(
            matches!(componentize(module).unwrap(), Form::Direct(_)),
            "it would be called as a component"
        );
        let mut linker = Linker::new(engine);
        add_to_linker(&mut linker).unwrap();
        let component = Component::new(engine, encode_component(module).unwrap().component).unwrap();
        let component = linker.instantiate_pre(&component).and_then(RulePre::new).unwrap();
        let direct = DirectRulePre::link(engine, &wasmtime::Module::new(engine, module).unwrap()).unwrap();
        Self { codes: [Code::Direct(direct), Code::Component(component)], runtime }
    }

    fn start(&self) -> Pair {
        [0, 1].map(|way| {
            let rule = RuleId { tenant: TenantId::host(), name: "both".into() };
            let guest = Guest::new(&self.runtime, rule, RuleLimits::default(), Arc::new(()));
            let mut store = store::new(&self.runtime, guest);
            (store::call(&mut store, CPU, |store| self.codes[way].start(store)).unwrap(), store)
        })
    }
}

/// What both ways said, which is the same; none if both refused it.
fn agreed<T: std::fmt::Debug>(answers: [wasmtime::Result<T>; 2], question: &str) -> Option<String> {
    let [direct, component] = answers.map(|answer| answer.map(|answer| format!("{answer:?}")));
    match (direct, component) {
        (Ok(direct), Ok(component)) => {
            let differ = direct.bytes().zip(component.bytes()).position(|(a, b)| a != b);
            let near = |text: &str| text[differ.unwrap_or_default()..].chars().take(100).collect::<String>();
            assert!(
                direct == component,
                "{question}\n{differ:?}\ndirectly: {}\nas a component: {}",
                near(&direct),
                near(&component)
            );
            Some(direct)
        }
        (Err(_), Err(_)) => None,
        (direct, component) => panic!("{question}\ndirectly: {direct:?}\nas a component: {component:?}"),
    }
}

fn configure(pair: &mut Pair, settings: &str) -> Option<String> {
    let answers = pair
        .each_mut()
        .map(|(started, store)| store::call(store, CPU, |store| started.call_configure(store, settings)));
    agreed(answers, settings)
}

fn judge(pair: &mut Pair, knock: &Knock, detail: Detail, memory: Option<&[u8]>) -> Option<String> {
    let answers = pair.each_mut().map(|(started, store)| {
        store::call(store, CPU, |store| started.call_judge(store, knock, detail, memory))
    });
    agreed(answers, &format!("{knock:02x?} {memory:02x?}"))
}

fn parrot() -> Vec<u8> {
    wat::parse_str(PARROT).unwrap()
}

fn knock(random: &mut Random) -> Knock {
    let mut address = || match random.below(2) {
        0 => std::net::Ipv4Addr::from_bits(u32::from_be_bytes([0; 4].map(|_: u8| random.byte()))).into(),
        _ => std::net::Ipv6Addr::from([0; 16].map(|_: u8| random.byte())).into(),
    };
    let (source, destination) = (address(), address());
    Knock {
        time: Timestamp(random.number() >> 11),
        source,
        source_port: random.port_below(u16::MAX),
        destination,
        destination_port: random.port_below(u16::MAX),
        transport: random.of(&Transport::ALL),
        tcp_flags: TcpFlags(random.byte()),
        hop_limit: random.byte(),
        packet_length: u32::try_from(random.below(70_000)).unwrap(),
        tcp_header: (random.below(2) == 0).then(|| Box::new(tcp_header(random))),
        interface: "eth0".into(),
        interface_index: random.of(&[0, 1, u32::MAX]),
        link: random.of(&[0, 3, u32::MAX]),
        direction: Direction::Incoming,
        sighting: None,
        payload: Box::default(),
    }
}

fn tcp_header(random: &mut Random) -> TcpHeader {
    let mut word = || u32::from_le_bytes([0; 4].map(|_: u8| random.byte()));
    let (sequence, acknowledgment) = (word(), word());
    TcpHeader {
        sequence,
        acknowledgment,
        window: random.port_below(u16::MAX),
        urgent_pointer: random.port_below(u16::MAX),
        options: (0..random.below(MAX_TCP_OPTIONS + 1)).map(|_| random.byte()).collect(),
    }
}

/// An answer of random bytes, of the kind that is nearly right: its first byte names a case, and what could be a place in memory
/// mostly is one.
fn answer(random: &mut Random, place: u32, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let word = match random.below(8) {
            0..3 => u32::from(random.byte() % 6),
            3..5 => place + u32::try_from(8 * random.below(length / 8)).unwrap(),
            5 => place + u32::try_from(random.below(length)).unwrap(),
            6 => random.of(&[0x6165_6162, 0x00c3_28ff, 131_072, 131_071, u32::MAX]),
            _ => 0,
        };
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[test]
fn the_call_arrives_the_same() {
    let both = Both::new(&parrot());
    let mut pair = both.start();
    let mut random = Random::new(21);
    for n in 0..2000 {
        let mut knock = knock(&mut random);
        let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.byte()).collect();
        let memory = (random.below(3) > 0).then_some(&bytes[..]);
        // What the rule did not ask for does not arrive.
        let detail = Detail { payload_limit: 0, tcp_header: random.below(2) == 0 };
        knock.payload = bytes.clone().into();
        let heard = judge(&mut pair, &knock, detail, memory).expect("it remembers everything");
        // `_initialize` ran, and every call so far was cleaned up.
        assert!(heard.contains(&format!("stage: {},", 1 + (n << 8))), "{heard}");
    }
}

#[test]
fn a_payload_arrives_the_same() {
    let both = Both::new(&parrot());
    let mut pair = both.start();
    let mut random = Random::new(22);
    let mut knock = knock(&mut random);
    knock.source_port = 0;
    // forget, and the reason is what stands behind
    knock.payload =
        [&[2, 0, 0, 0, 0, 0, 0, 0, 0x20, 0x20, 0, 0, 5, 0, 0, 0][..], &[0; 16], b"aloha"].concat().into();
    assert_eq!(
        judge(&mut pair, &knock, Detail::payload(36), None).as_deref(),
        Some("Verdict::Forget(\"aloh\\0\")")
    );
    assert_eq!(
        judge(&mut pair, &knock, Detail::payload(1500), None).as_deref(),
        Some("Verdict::Forget(\"aloha\")")
    );
}

#[test]
fn verdicts_are_understood_the_same() {
    const PARTS: [&str; 7] = [
        "Counter {",
        "Token {",
        "until: Some",
        "prefix-length: Some",
        "door: Some",
        "seconds: Some",
        "remember: Some",
    ];
    let both = Both::new(&parrot());
    let mut pair = both.start();
    let mut random = Random::new(23);
    let mut understood = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..25_000 {
        let mut knock = knock(&mut random);
        knock.source_port = random.of(&[0, 0, 0, 0, 0, 0, 8, 4, 1, 1400]);
        let mut bytes = answer(&mut random, VERDICT, 400);
        if random.below(2) == 0 {
            // Requests to open, whose every option chance alone hardly makes.
            bytes[0] = 3;
            bytes[8..16].copy_from_slice(b"\x30\x20\0\0\x02\0\0\0");
            bytes[16] = u8::from(random.below(2) == 0);
            for request in [48, 112] {
                for option in [0, 8, 24, 40, 52, 60] {
                    bytes[request + option] = u8::from(random.below(2) == 0);
                }
            }
        }
        knock.payload = bytes.into();
        match judge(&mut pair, &knock, Detail::payload(1500), None) {
            Some(verdict) => {
                let kind: String = verdict.chars().take_while(|c| !"(]".contains(*c)).collect();
                for part in PARTS {
                    *understood.entry(part.to_owned()).or_default() += u32::from(verdict.contains(part));
                }
                *understood.entry(kind).or_default() += 1;
            }
            None => pair = both.start(),
        }
    }
    // Every case was among them, and often enough.
    assert_eq!(understood.len(), 5 + PARTS.len(), "{understood:?}");
    assert!(understood.values().all(|times| *times > 20), "{understood:?}");
}

#[test]
fn interests_are_understood_the_same() {
    let both = Both::new(&parrot());
    let mut random = Random::new(24);
    let (mut interests, mut refusals, mut prefixes, mut broken) = (0, 0, 0, 0);
    for _ in 0..6000 {
        let letters = |byte: u8| [byte >> 4, byte & 15].map(|half| char::from(b'a' + half));
        let mut bytes = answer(&mut random, INTEREST, 256);
        if random.below(2) == 0 {
            // An interest in prefixes, which chance alone hardly makes.
            (bytes[0], bytes[12]) = (0, 2);
            for (list, alignment) in [(4, 2), (16, 4)] {
                let place = INTEREST + alignment * u32::from(random.byte() % 32);
                bytes[list..list + 4].copy_from_slice(&place.to_le_bytes());
                bytes[list + 4..list + 8].copy_from_slice(&u32::from(random.byte() % 3).to_le_bytes());
            }
        }
        let settings: String = bytes.into_iter().flat_map(letters).collect();
        match configure(&mut both.start(), &settings) {
            Some(interest) if interest.starts_with("Err") => refusals += 1,
            Some(interest) => {
                interests += 1;
                prefixes += u32::from(interest.contains("Prefix {"));
            }
            None => broken += 1,
        }
    }
    let counts = [interests, refusals, prefixes, broken];
    assert!(counts.iter().all(|times| *times > 20), "{counts:?}");
}

#[test]
fn the_stock_rule_judges_the_same() {
    let both = Both::new(stock::bytes("sequence"));
    let mut pair = both.start();
    let settings = r#"{"sequence": ["7/udp", "8/tcp", "9/udp"], "within": "10m"}"#;
    let interest = configure(&mut pair, settings).expect("it has no faults");
    assert!(interest.starts_with("Ok("), "{interest}");
    let mut random = Random::new(25);
    let (mut memory, mut opened) = (None::<Vec<u8>>, 0);
    for _ in 0..5000 {
        let mut knock = knock(&mut random);
        (knock.time, knock.tcp_flags) = (Timestamp(1_000_000), TcpFlags::SYN);
        (knock.destination_port, knock.transport) =
            random.of(&[(7, Transport::Udp), (8, Transport::Tcp), (9, Transport::Udp)]);
        let verdict = judge(&mut pair, &knock, Detail::LEAST, memory.as_deref()).expect("it has no faults");
        memory = verdict.split_once("memory: [").map(|(_, rest)| {
            let bytes = rest.split_once(']').unwrap().0;
            bytes.split(", ").map(|byte| byte.parse().unwrap()).collect()
        });
        opened += u32::from(verdict.contains("Open("));
    }
    assert!(opened > 20, "{opened}");
}

#[test]
fn what_does_not_fit_goes_as_a_component() {
    let with = |from: &str, to: &str| wat::parse_str(PARROT.replace(from, to)).unwrap();
    let later_patch = with("host@0.2.0", "host@0.2.1");
    let another_allocator = with("\"cabi_realloc\"", "\"cabi_export_realloc\"");
    let wasi = with(
        "(memory (export",
        "(import \"wasi_snapshot_preview1\" \"sched_yield\" (func (result i32))) (memory (export",
    );
    let Encoded { resolve, world, .. } = encode_component(&parrot()).unwrap();
    let mut utf16 = parrot();
    embed_component_metadata(&mut utf16, &resolve, world, StringEncoding::UTF16).unwrap();
    for module in [later_patch, another_allocator, wasi, utf16] {
        let form = componentize(&module).map(|form| matches!(form, Form::Direct(_)));
        assert!(matches!(form, Ok(false)), "{form:?}");
    }
}
