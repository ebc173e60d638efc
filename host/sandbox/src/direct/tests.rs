//! Each module is run both ways, directly and as a component, and must say the same: wasmtime's own canonical ABI is what ours is
//! held against.

use postern_core::{Detail, Direction, Knock, MAX_TCP_OPTIONS, TcpFlags, TcpHeader, Timestamp, Transport};
use postern_tests::Random;
use wit_component::{StringEncoding, embed_component_metadata};

use super::both_ways::{Both, PARROT, Pair};
use crate::componentize::{Encoded, Form, componentize, encode_component};
use crate::stock;

/// Where the parrot's answers come to lie.
const INTEREST: u32 = 4096;
const VERDICT: u32 = 8192;

fn configure(pair: &mut Pair, settings: &str) -> Option<String> {
    pair.configure(settings)
}

fn judge(pair: &mut Pair, knock: &Knock, detail: Detail, memory: Option<&[u8]>) -> Option<String> {
    pair.judge(knock, detail, memory)
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
