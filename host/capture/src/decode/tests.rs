//! Frames byte by byte, and what becomes of them.

use std::net::IpAddr;
use std::sync::Arc;

use postern_core::{
    Detail, Direction, DropReason, Knock, MAX_TCP_OPTIONS, TcpFlags, TcpHeader, Timestamp, Transport,
};
use postern_tests::Random;
use postern_tests::frame::from_hex;

use super::decode;
use crate::frame::{Frame, LinkType};

/// 192.0.2.1:4660 to 198.51.100.2:1111, SYN, with one option and 2 bytes of data; total length 46.
const TCP4: &str = "45000 02e 0001 4000 40 06 0000 c0000201 c6336402
    1234 0457 00000001 00000000 60 02 ffff 0000 0000 020405b4 6869";
/// The same way by UDP to port 2222 with 3 bytes; total length 31.
const UDP4: &str = "4500 001f 0001 0000 3f 11 0000 c0000201 c6336402 1234 08ae 000b 0000 616263";
/// 8 bytes of IPv4 options (no-operation) before UDP; total length 38.
const UDP4_OPTIONS: &str =
    "4700 0026 0001 0000 3f 11 0000 c0000201 c6336402 0101010101010101 1234 08ae 000a 0000 6162";
/// First fragment of a datagram of 100 bytes; total length 36.
const UDP4_FIRST_FRAGMENT: &str =
    "4500 0024 0001 2000 3f 11 0000 c0000201 c6336402 1234 08ae 006c 0000 6162636465666768";
/// Echo request with 4 bytes; total length 32.
const PING4: &str = "4500 0020 0001 0000 40 01 0000 c0000201 c6336402 08 05 0000 00010002 61626364";
/// 2001:db8::1 to 2001:db8::2, UDP to port 2222 with 3 bytes.
const UDP6: &str = "60000000 000b 11 39 20010db8000000000000000000000001 20010db8000000000000000000000002
    1234 08ae 000b 0000 616263";
/// Hop-by-hop, routing, destination options, authentication and fragment (offset 0, more to come) headers before TCP.
const TCP6_EXTENSIONS: &str =
    "60000000 0048 00 39 20010db8000000000000000000000001 20010db8000000000000000000000002
    2b 00 0104 00000000
    3c 00 0000 00000000
    33 01 0104 00000000 0000000000000000
    2c 01 0000 00000001 00000002
    06 00 0001 0000002a
    1234 0457 00000001 00000000 50 12 ffff 0000 0000";
/// Echo request with 4 bytes.
const PING6: &str = "60000000 000c 3a 40 20010db8000000000000000000000001 20010db8000000000000000000000002
    80 00 0000 00010002 61626364";

const ETHERNET4: &str = "020000000002 020000000001 0800";
const ETHERNET6: &str = "020000000002 020000000001 86dd";
const VLAN4: &str = "020000000002 020000000001 8100 0005 0800";
const QINQ6: &str = "020000000002 020000000001 88a8 0005 8100 0007 86dd";
const COOKED4: &str = "0000 0001 0006 0200000000010000 0800";
const COOKED4_VLAN: &str = "0000 0001 0006 0200000000010000 8100 0005 0800";
/// The inner of two tags, as Linux leaves it.
const COOKED4_TWO_TAGS: &str = "0000 0001 0006 0200000000010000 88a8 0005 0800 0006 0800";
const COOKED_V2_6: &str = "86dd 0000 00000003 0001 00 06 0200000000010000";

fn bytes(parts: &[&str]) -> Vec<u8> {
    from_hex(&parts.concat())
}

fn read(link: LinkType, bytes: &[u8], payload_limit: usize) -> Result<Knock, DropReason> {
    read_detail(link, bytes, Detail { payload_limit, tcp_header: true })
}

fn read_detail(link: LinkType, bytes: &[u8], detail: Detail) -> Result<Knock, DropReason> {
    let interface: Arc<str> = "test0".into();
    let length = u32::try_from(bytes.len()).unwrap();
    decode(
        &Frame {
            time: Timestamp(7),
            link,
            length,
            interface: &interface,
            index: 2,
            direction: Direction::Incoming,
            bytes,
        },
        detail,
    )
}

/// One line of what a test cares about.
fn said(result: Result<Knock, DropReason>) -> String {
    match result {
        Ok(knock) => format!(
            "{} {} {} > {} {} flags {:02x} hops {} length {} payload {}",
            knock.transport,
            knock.source,
            knock.source_port,
            knock.destination,
            knock.destination_port,
            knock.tcp_flags.0,
            knock.hop_limit,
            knock.packet_length,
            knock.payload.escape_ascii(),
        ),
        Err(reason) => reason.to_string(),
    }
}

/// All good frames: link type, bytes, where the transport header ends, what is in it.
fn samples() -> Vec<(LinkType, Vec<u8>, usize, &'static str)> {
    const TCP: &str = "tcp 192.0.2.1 4660 > 198.51.100.2 1111 flags 02 hops 64 length 46 payload hi";
    const UDP: &str = "udp 192.0.2.1 4660 > 198.51.100.2 2222 flags 00 hops 63 length 31 payload abc";
    const UDP_6: &str = "udp 2001:db8::1 4660 > 2001:db8::2 2222 flags 00 hops 57 length 51 payload abc";
    const PING: &str = "icmp 192.0.2.1 5 > 198.51.100.2 8 flags 00 hops 64 length 32 payload abcd";
    [
        (LinkType::Ethernet, bytes(&[ETHERNET4, TCP4]), 2, TCP),
        (LinkType::Ethernet, bytes(&[ETHERNET4, UDP4]), 3, UDP),
        (LinkType::Ethernet, bytes(&[ETHERNET6, UDP6]), 3, UDP_6),
        (LinkType::Ethernet, bytes(&[ETHERNET4, PING4]), 4, PING),
        (
            LinkType::Ethernet,
            bytes(&[ETHERNET6, PING6]),
            4,
            "icmpv6 2001:db8::1 0 > 2001:db8::2 128 flags 00 hops 64 length 52 payload abcd",
        ),
        (
            LinkType::Ethernet,
            bytes(&[ETHERNET4, UDP4_OPTIONS]),
            2,
            "udp 192.0.2.1 4660 > 198.51.100.2 2222 flags 00 hops 63 length 38 payload ab",
        ),
        (
            LinkType::Ethernet,
            bytes(&[ETHERNET4, UDP4_FIRST_FRAGMENT]),
            8,
            "udp 192.0.2.1 4660 > 198.51.100.2 2222 flags 00 hops 63 length 36 payload abcdefgh",
        ),
        (
            LinkType::Ethernet,
            bytes(&[ETHERNET6, TCP6_EXTENSIONS]),
            0,
            "tcp 2001:db8::1 4660 > 2001:db8::2 1111 flags 12 hops 57 length 112 payload ",
        ),
        (LinkType::Ethernet, bytes(&[VLAN4, UDP4]), 3, UDP),
        (LinkType::Ethernet, bytes(&[QINQ6, UDP6]), 3, UDP_6),
        (LinkType::Cooked, bytes(&[COOKED4, UDP4]), 3, UDP),
        (LinkType::Cooked, bytes(&[COOKED4_VLAN, UDP4]), 3, UDP),
        (LinkType::Cooked, bytes(&[COOKED4_TWO_TAGS, UDP4]), 3, UDP),
        (LinkType::CookedV2, bytes(&[COOKED_V2_6, UDP6]), 3, UDP_6),
        (LinkType::CookedV2, bytes(&[COOKED_V2_6, "0006 86dd", UDP6]), 3, UDP_6),
        (LinkType::Ip, bytes(&[TCP4]), 2, TCP),
        (LinkType::Ip, bytes(&[UDP6]), 3, UDP_6),
        (LinkType::Ipv4, bytes(&[UDP4]), 3, UDP),
        (LinkType::Ipv6, bytes(&[UDP6]), 3, UDP_6),
        (LinkType::Null, bytes(&["02000000", UDP4]), 3, UDP),
        (LinkType::Null, bytes(&["0000001c", UDP6]), 3, UDP_6),
        (LinkType::Null, bytes(&["0a000000", UDP6]), 3, UDP_6),
        (LinkType::Loop, bytes(&["00000002", UDP4]), 3, UDP),
        (LinkType::Loop, bytes(&["00000018", UDP6]), 3, UDP_6),
    ]
    .map(|(link, bytes, payload, expected)| {
        let headers = bytes.len() - payload;
        (link, bytes, headers, expected)
    })
    .into()
}

#[test]
fn every_link_and_protocol_is_read() {
    for (link, bytes, _, expected) in samples() {
        assert_eq!(said(read(link, &bytes, 1500)), expected, "{link:?} {bytes:02x?}");
    }
}

#[test]
fn a_frame_cut_anywhere_is_truncated_until_its_headers_are_whole() {
    for (link, bytes, headers, _) in samples() {
        let whole = read(link, &bytes, 1500).unwrap();
        for length in 0..=bytes.len() {
            let result = read(link, &bytes[..length], 1500);
            if length < headers {
                assert_eq!(result, Err(DropReason::Truncated), "{link:?} cut at {length}: {bytes:02x?}");
            } else {
                let payload = whole.payload[..length - headers].into();
                assert_eq!(result, Ok(Knock { payload, ..whole.clone() }), "{link:?} cut at {length}");
            }
        }
    }
}

#[test]
fn facts_of_the_frame_are_kept() {
    let knock = read(LinkType::Ip, &bytes(&[TCP4]), 1500).unwrap();
    assert_eq!(knock.time, Timestamp(7));
    assert_eq!(&*knock.interface, "test0");
    assert_eq!(knock.source, IpAddr::from([192, 0, 2, 1]));
    assert_eq!(knock.tcp_flags, TcpFlags::SYN);
    assert_eq!(knock.transport, Transport::Tcp);
}

#[test]
fn payload_is_bounded_by_what_was_asked_for() {
    let frame = bytes(&[UDP4]);
    assert_eq!(&*read(LinkType::Ip, &frame, 2).unwrap().payload, b"ab");
    assert!(read(LinkType::Ip, &frame, 0).unwrap().payload.is_empty());

    let mut long = bytes(&["4500 0bb8 0001 0000 3f 11 0000 c0000201 c6336402 1234 08ae 0ba4 0000"]);
    long.resize(3000, 0x61);
    assert_eq!(read(LinkType::Ip, &long, usize::MAX).unwrap().payload.len(), 1500);
}

#[test]
fn padding_is_not_payload() {
    let mut frame = bytes(&[ETHERNET4, UDP4]);
    frame.resize(60, 0xee);
    assert_eq!(&*read(LinkType::Ethernet, &frame, 1500).unwrap().payload, b"abc");

    // The IP packet has 3 bytes more than the datagram.
    let frame =
        bytes(&["4500 0022 0001 0000 3f 11 0000 c0000201 c6336402 1234 08ae 000b 0000 616263 eeeeee"]);
    assert_eq!(&*read(LinkType::Ip, &frame, 1500).unwrap().payload, b"abc");
}

#[test]
fn what_is_no_knock_says_why() {
    let v6 = "20010db8000000000000000000000001 20010db8000000000000000000000002";
    let v4 = "c0000201 c6336402";
    let cases: &[(LinkType, &[&str], DropReason)] = &[
        (LinkType::Other(127), &[UDP4], DropReason::LinkType),
        (LinkType::Ethernet, &["020000000002 020000000001 0806 0001"], DropReason::NotIp),
        (LinkType::Ethernet, &["020000000002 020000000001 0026 4242 03", UDP4], DropReason::NotIp),
        (LinkType::Cooked, &["0000 0001 0006 0200000000010000 0806"], DropReason::NotIp),
        (LinkType::Ip, &["55", UDP4], DropReason::NotIp),
        (LinkType::Null, &["07000000", UDP4], DropReason::NotIp),
        // The link layer and the IP header disagree on the version.
        (LinkType::Ethernet, &[ETHERNET4, UDP6], DropReason::Malformed),
        (LinkType::Ethernet, &[ETHERNET6, TCP4], DropReason::Malformed),
        (LinkType::Ipv4, &[UDP6], DropReason::Malformed),
        // Five VLAN tags.
        (
            LinkType::Ethernet,
            &[
                "020000000002 020000000001",
                "8100 0001",
                "8100 0001",
                "8100 0001",
                "8100 0001",
                "8100 0001",
                "0800",
                UDP4,
            ],
            DropReason::Malformed,
        ),
        // IPv4: header length of 4 words; total length below the header; header longer than the packet.
        (LinkType::Ip, &["4400 001c 0001 0000 3f 11 0000", v4, "1234 08ae 0008 0000"], DropReason::Malformed),
        (LinkType::Ip, &["4500 0013 0001 0000 3f 11 0000", v4, "1234 08ae 0008 0000"], DropReason::Malformed),
        (LinkType::Ip, &["4600 0014 0001 0000 3f 11 0000", v4, "1234 08ae 0008 0000"], DropReason::Malformed),
        // IPv4: later fragments, with and without more to come.
        (
            LinkType::Ip,
            &["4500 001c 0001 2001 3f 11 0000", v4, "1234 08ae 0008 0000"],
            DropReason::LaterFragment,
        ),
        (
            LinkType::Ip,
            &["4500 001c 0001 0001 3f 11 0000", v4, "1234 08ae 0008 0000"],
            DropReason::LaterFragment,
        ),
        // Other protocols: SCTP, ESP, ICMPv6 over IPv4, ICMP over IPv6, no next header.
        (
            LinkType::Ip,
            &["4500 001c 0001 0000 3f 84 0000", v4, "1234 08ae 0008 0000"],
            DropReason::OtherTransport,
        ),
        (
            LinkType::Ip,
            &["4500 001c 0001 0000 3f 3a 0000", v4, "1234 08ae 0008 0000"],
            DropReason::OtherTransport,
        ),
        (LinkType::Ip, &["60000000 0008 32 39", v6, "1234 08ae 0008 0000"], DropReason::OtherTransport),
        (LinkType::Ip, &["60000000 0008 01 39", v6, "0800 0000 0000 0000"], DropReason::OtherTransport),
        (LinkType::Ip, &["60000000 0008 3b 39", v6, "1234 08ae 0008 0000"], DropReason::OtherTransport),
        // IPv6: a fragment at offset 8; an extension header longer than the packet; a zero-length authentication header.
        (
            LinkType::Ip,
            &["60000000 0010 2c 39", v6, "11 00 0008 00000001 1234 08ae 0008 0000"],
            DropReason::LaterFragment,
        ),
        (
            LinkType::Ip,
            &["60000000 0010 00 39", v6, "11 09 0000 00000000 1234 08ae 0008 0000"],
            DropReason::Malformed,
        ),
        (
            LinkType::Ip,
            &["60000000 0014 33 39", v6, "11 00 0000 00000000 00000000 1234 08ae 0008 0000"],
            DropReason::Malformed,
        ),
        // TCP: data offset of 4 words, and one beyond the packet.
        (
            LinkType::Ip,
            &["4500 0028 0001 0000 40 06 0000", v4, "1234 0457 00000001 00000000 40 02 ffff 0000 0000"],
            DropReason::Malformed,
        ),
        (
            LinkType::Ip,
            &["4500 0028 0001 0000 40 06 0000", v4, "1234 0457 00000001 00000000 f0 02 ffff 0000 0000"],
            DropReason::Malformed,
        ),
        // UDP: a length below its header, and one beyond the packet; a packet too short for the header.
        (LinkType::Ip, &["4500 001c 0001 0000 3f 11 0000", v4, "1234 08ae 0007 0000"], DropReason::Malformed),
        (LinkType::Ip, &["4500 001c 0001 0000 3f 11 0000", v4, "1234 08ae 0009 0000"], DropReason::Malformed),
        (LinkType::Ip, &["4500 001b 0001 0000 3f 11 0000", v4, "1234 08ae 0008 0000"], DropReason::Malformed),
        (LinkType::Ip, &["4500 001a 0001 0000 3f 01 0000", v4, "0800 0000 0001"], DropReason::Malformed),
    ];
    for (link, parts, reason) in cases {
        let frame = bytes(parts);
        assert_eq!(read(*link, &frame, 1500), Err(*reason), "{link:?} {frame:02x?}");
    }
}

#[test]
fn an_endless_chain_of_extension_headers_is_malformed() {
    let chain = |headers: usize| {
        let mut frame =
            bytes(&["60000000 0000 3c 39 20010db8000000000000000000000001 20010db8000000000000000000000002"]);
        for left in (0..headers).rev() {
            frame.extend([if left == 0 { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
        }
        frame.extend(bytes(&["1234 08ae 0008 0000"]));
        let length = u16::try_from(frame.len() - 40).unwrap();
        frame[4..6].copy_from_slice(&length.to_be_bytes());
        frame
    };
    assert_eq!(read(LinkType::Ip, &chain(8), 0).map(|knock| knock.destination_port), Ok(2222));
    assert_eq!(read(LinkType::Ip, &chain(9), 0), Err(DropReason::Malformed));
    assert_eq!(read(LinkType::Ip, &chain(500), 0), Err(DropReason::Malformed));
}

#[test]
fn the_whole_tcp_header_is_read_where_it_is_wanted() {
    let options = "020405b4 0402080a 11223344 00000000 01030307";
    let header = |words: &str, length: &str, options: &str| {
        let ip = ["4500", length, "0001 0000 40 06 0000 c0000201 c6336402"].concat();
        let tcp = ["1234 0457 fffefdfc 05060708", words, "02 faf0 0000 000a", options].concat();
        bytes(&[&ip, &tcp, "6869"])
    };
    let whole = Detail { payload_limit: 9, tcp_header: true };
    let knock = read_detail(LinkType::Ip, &header("a0", "003e", options), whole).unwrap();
    let expected = TcpHeader {
        sequence: 0xfffe_fdfc,
        acknowledgment: 0x0506_0708,
        window: 0xfaf0,
        urgent_pointer: 10,
        options: from_hex(options).into(),
    };
    assert_eq!(knock.tcp_header.as_deref(), Some(&expected));
    assert_eq!(&*knock.payload, b"hi", "it begins behind the options");

    let most = "01".repeat(MAX_TCP_OPTIONS);
    for (words, length, options) in [("50", "002a", ""), ("f0", "0052", &*most)] {
        let knock = read_detail(LinkType::Ip, &header(words, length, options), whole).unwrap();
        assert_eq!(&*knock.tcp_header.unwrap().options, from_hex(options));
    }

    let frame = header("a0", "003e", options);
    assert_eq!(read_detail(LinkType::Ip, &frame, Detail::payload(9)).unwrap().tcp_header, None);
    let udp = bytes(&[ETHERNET4, UDP4]);
    assert_eq!(read_detail(LinkType::Ethernet, &udp, whole).unwrap().tcp_header, None);
}

#[test]
fn the_interface_is_the_captures_or_what_the_cooked_header_says() {
    let index = |link, parts: &[&str]| read(link, &bytes(parts), 0).unwrap().interface_index;
    assert_eq!(index(LinkType::Ethernet, &[ETHERNET4, UDP4]), 2);
    assert_eq!(index(LinkType::CookedV2, &[COOKED_V2_6, UDP6]), 3);
}

#[test]
fn no_bytes_panic() {
    let samples = samples();
    let mut random = Random::new(20_240_601);
    let mut knocks = 0_u32;
    for _ in 0..200_000 {
        let (link, mut frame) = if random.below(4) == 0 {
            let length = random.below(160);
            (samples[random.below(samples.len())].0, (0..length).map(|_| random.byte()).collect::<Vec<_>>())
        } else {
            let (link, bytes, ..) = &samples[random.below(samples.len())];
            (*link, bytes.clone())
        };
        for _ in 0..random.below(5) {
            if frame.is_empty() {
                break;
            }
            let at = random.below(frame.len());
            match random.below(4) {
                0 => frame.truncate(at),
                1 => frame.insert(at, random.byte()),
                _ => frame[at] = random.byte(),
            }
        }
        let limit = random.below(2000);
        if let Ok(knock) = read(link, &frame, limit) {
            knocks += 1;
            assert!(knock.payload.len() <= limit.min(frame.len()), "{link:?} {frame:02x?}");
            let options = knock.tcp_header.map(|header| header.options.len());
            assert_eq!(options.is_some(), knock.transport == Transport::Tcp);
            assert!(options.is_none_or(|length| length <= MAX_TCP_OPTIONS), "{link:?} {frame:02x?}");
        }
    }
    // Otherwise the mutations are so wild that nothing behind the first header was tried.
    assert!((50_000..190_000).contains(&knocks), "{knocks}");
}
