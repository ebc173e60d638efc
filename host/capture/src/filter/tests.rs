//! Programs run in a small interpreter and compared with what the watches say; and offered to the kernel.

use std::sync::Arc;

use postern_core::{Detail, Direction, DropReason, TcpFlags, Timestamp, Transport, Watch};
use postern_tests::Random;
use socket2::{Domain, SockRef, Socket, Type};

use super::program::*;
use super::{Filter, NetworkHeader, Precision};
use crate::decode::decode;
use crate::frame::{Frame, LinkType};

/// What the kernel knows of a packet besides its bytes.
#[derive(Clone, Debug)]
struct Packet {
    protocol: u16,
    packet_type: u8,
    /// Bytes in front of the IP header.
    link: usize,
    bytes: Vec<u8>,
}

/// What the kernel would keep of the packet; 0 is nothing.
fn run(filter: &Filter, header: NetworkHeader, packet: &Packet) -> u32 {
    let byte = |offset: u64| -> Option<u32> {
        let offset = usize::try_from(offset).unwrap();
        packet.bytes.get(offset).map(|&byte| byte.into())
    };
    let absolute = |operand: u32, x: u32| -> u64 {
        if operand >= NETWORK {
            u64::from(operand - NETWORK) + u64::from(x) + packet.link as u64
        } else {
            u64::from(operand) + u64::from(x)
        }
    };
    let half = |offset: u64| Some(byte(offset)? << 8 | byte(offset + 1)?);
    let (mut a, mut x, mut at) = (0_u32, 0_u32, 0_usize);
    loop {
        let instruction = filter.program[at];
        let k = instruction.operand_at(header);
        let condition = match instruction.code {
            LOAD_BYTE if k == PACKET_TYPE => {
                a = packet.packet_type.into();
                None
            }
            LOAD_HALF if k == PROTOCOL => {
                a = packet.protocol.into();
                None
            }
            RETURN => return k,
            JUMP => {
                at += usize::try_from(k).unwrap();
                None
            }
            AND => {
                a &= k;
                None
            }
            X_CONSTANT => {
                x = k;
                None
            }
            JUMP_EQUAL => Some(a == k),
            JUMP_GREATER => Some(a > k),
            JUMP_GREATER_OR_EQUAL => Some(a >= k),
            JUMP_ANY_BIT => Some(a & k != 0),
            load => {
                // A read beyond the packet ends the program and drops the packet.
                let value = match load {
                    LOAD_BYTE => byte(absolute(k, 0)),
                    LOAD_HALF => half(absolute(k, 0)),
                    LOAD_BYTE_X => byte(absolute(k, x)),
                    LOAD_HALF_X => half(absolute(k, x)),
                    X_HEADER_LENGTH => byte(absolute(k, 0)),
                    code => panic!("unknown instruction {code:#x}"),
                };
                let Some(value) = value else { return 0 };
                if load == X_HEADER_LENGTH {
                    x = 4 * (value & 0xf)
                } else {
                    a = value
                }
                None
            }
        };
        at += 1 + match condition {
            Some(true) => usize::from(instruction.if_true),
            Some(false) => usize::from(instruction.if_false),
            None => 0,
        };
    }
}

fn watch(transport: Transport, first_port: u16, last_port: u16) -> Watch {
    Watch { transport, first_port, last_port, set: TcpFlags(0), clear: TcpFlags(0) }
}

/// So many different single ports, three of four TCP.
fn scattered(count: u16) -> Vec<Watch> {
    (0..count)
        .map(|index| {
            let transport = if index % 4 == 0 { Transport::Udp } else { Transport::Tcp };
            let port = index.wrapping_mul(40_503);
            watch(transport, port, port)
        })
        .collect()
}

fn random_watches(random: &mut Random) -> Vec<Watch> {
    let highest = random.of(&[40, 300, u16::MAX]);
    (0..random.below(40))
        .map(|_| {
            let transport = random.of(&Transport::ALL);
            let first = random.port_below(highest);
            let last = first.saturating_add(random.of(&[0, 0, 0, 1, 5, 300]));
            let mut watch = watch(transport, first, last);
            if random.below(2) == 0 {
                watch.set = TcpFlags(random.of(&[0x02, 0x12, 0x10, 0x01, 0x29]));
                watch.clear = TcpFlags(random.of(&[0x10, 0x04, 0x00, 0xc0]));
            }
            watch
        })
        .collect()
}

/// A packet, well formed but for a few that are cut, and with a port near to one of the watches'.
fn random_packet(random: &mut Random, watches: &[Watch]) -> Packet {
    let near = if watches.is_empty() { watch(Transport::Tcp, 1, 1) } else { random.of(watches) };
    let port =
        random.of(&[near.first_port, near.last_port]).wrapping_add(random.port_below(3)).wrapping_sub(1);
    let v6 = random.below(2) == 0;
    let transport = if random.below(8) == 0 { random.of(&Transport::ALL) } else { near.transport };
    let mut segment = match transport {
        Transport::Tcp => {
            let any = random.byte();
            let flags = random.of(&[0x02, 0x12, 0x10, 0x11, 0x29, any]);
            let mut segment = vec![0; 20];
            (segment[12], segment[13]) = (0x50, flags);
            segment
        }
        Transport::Udp => vec![0, 0, 0, 0, 0, 8, 0, 0],
        Transport::Icmp | Transport::Icmpv6 => vec![port.to_be_bytes()[1], random.byte(), 0, 0, 0, 0, 0, 0],
    };
    if matches!(transport, Transport::Tcp | Transport::Udp) {
        segment[2..4].copy_from_slice(&port.to_be_bytes());
    }
    let protocol = transport.protocol_number();
    let mut bytes = if v6 {
        let (next, extension): (u8, &[u8]) = match random.below(8) {
            0 => (60, &[0, 0, 1, 4, 0, 0, 0, 0]),
            1 => (44, &[0, 0, 0, 1, 0, 0, 0, 1]),
            _ => (protocol, &[]),
        };
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[5] = u8::try_from(extension.len() + segment.len()).unwrap();
        packet[6] = next;
        // From and to somewhere.
        (packet[8], packet[24]) = (0x20, 0x20);
        packet.extend(extension);
        if !extension.is_empty() {
            packet[40] = protocol;
        }
        packet
    } else {
        let words = random.of(&[5, 5, 6, 15]);
        let mut packet = vec![0; usize::from(words) * 4];
        packet[0] = 0x40 | words;
        packet[3] = u8::try_from(packet.len() + segment.len()).unwrap();
        packet[6] = random.of(&[0x40, 0x40, 0x00, 0x20, 0x20, 0x10]);
        packet[7] = random.of(&[0, 0, 0, 7]);
        packet[9] = protocol;
        (packet[12], packet[16]) = (192, 198);
        packet
    };
    bytes.extend(segment);
    if random.below(50) == 0 {
        bytes.truncate(random.below(60));
    }
    let link = random.of(&[0, 14]);
    let mut frame = vec![0xee; link];
    frame.extend(bytes);
    let protocol = match random.below(40) {
        0 => random.of(&[0x8100, 0x88a8, 0x9100]),
        1 => random.of(&[0x0806, 0x0004]),
        _ if v6 => 0x86dd,
        _ => 0x0800,
    };
    Packet { protocol, packet_type: random.of(&[0, 0, 0, 1, 2, 3, 4]), link, bytes: frame }
}

/// What user space is to decide, whatever is asked for.
fn is_for_user_space(packet: &Packet) -> bool {
    let extension = || {
        let next = packet.bytes.get(packet.link + 6);
        packet.protocol == 0x86dd
            && next.is_some_and(|next| [0, 43, 44, 51, 60, 135, 139, 140].contains(next))
    };
    [0x8100, 0x88a8, 0x9100].contains(&packet.protocol) || extension()
}

/// Checks one packet both ways, and returns whether it passed.
fn check(filter: &Filter, watches: &[Watch], packet: &Packet) -> bool {
    let offset = u32::try_from(packet.link).unwrap();
    let kept = run(filter, NetworkHeader::At(offset), packet);
    assert_eq!(kept, run(filter, NetworkHeader::Anywhere, packet), "both ways to the IP header: {packet:?}");
    let passed = kept > 0;

    let interface: Arc<str> = "test0".into();
    let bytes = &packet.bytes[packet.link..];
    let link = match packet.protocol {
        0x0800 => LinkType::Ipv4,
        0x86dd => LinkType::Ipv6,
        other => LinkType::Other(other.into()),
    };
    let knock = decode(
        &Frame {
            time: Timestamp(0),
            link,
            length: 0,
            interface: &interface,
            index: 0,
            direction: Direction::Incoming,
            bytes,
        },
        Detail::LEAST,
    );
    let is_wanted = knock.as_ref().is_ok_and(|knock| watches.iter().any(|watch| watch.matches(knock)));
    let incoming = u32::from(packet.packet_type) != OUTGOING;

    assert!(incoming || !passed, "outgoing packets never pass: {packet:?}");
    assert!(passed || !is_wanted || !incoming, "{watches:?} want {knock:?}, held back: {packet:?}");
    // The filter does not look at the lengths that make a packet broken.
    let is_whole = !matches!(knock, Err(DropReason::Truncated | DropReason::Malformed));
    if filter.precision() == Precision::Exact && is_whole {
        assert!(
            !passed || is_wanted || is_for_user_space(packet),
            "{watches:?} do not want {knock:?}: {packet:?}"
        );
    }
    passed
}

#[test]
fn filters_pass_what_the_watches_want_and_nothing_else() {
    let mut random = Random::new(11);
    let (mut passed, mut packets) = (0, 0);
    for _ in 0..400 {
        let watches = random_watches(&mut random);
        let filter = Filter::from_watches(&watches);
        assert_eq!(filter.precision(), Precision::Exact, "{watches:?}");
        for _ in 0..200 {
            packets += 1;
            passed += u32::from(check(&filter, &watches, &random_packet(&mut random, &watches)));
        }
    }
    // Both outcomes must be common, otherwise this test shows nothing.
    assert!((packets / 5..packets * 4 / 5).contains(&passed), "{passed} of {packets}");
}

#[test]
fn many_scattered_ports_fit_and_stay_complete() {
    let mut random = Random::new(12);
    for (count, exact) in [(1, true), (10, true), (1000, true), (3500, true), (5000, false), (20_000, false)]
    {
        let watches = scattered(count);
        let filter = Filter::from_watches(&watches);
        eprintln!("{count} ports: {} instructions, {:?}", filter.instructions(), filter.precision());
        assert!(filter.instructions() <= 4096);
        match filter.precision() {
            Precision::Exact => assert!(exact, "{count}"),
            Precision::Widened { from, to } => {
                assert!(!exact && from == usize::from(count) && to > from, "{count}: {from} to {to}");
            }
        }
        for _ in 0..2000 {
            check(&filter, &watches, &random_packet(&mut random, &watches));
        }
    }
}

#[test]
fn coarser_filters_pass_no_less() {
    let mut random = Random::new(13);
    let mut watches = scattered(2000);
    for (index, watch) in watches.iter_mut().enumerate() {
        watch.set = [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN][index % 3];
    }
    watches.extend(random_watches(&mut random));
    let mut filter = Filter::from_watches(&watches);
    let mut steps = 0;
    while let Some(coarser) = filter.coarser() {
        assert!(
            coarser.instructions() <= filter.instructions() / 2,
            "{} {}",
            coarser.instructions(),
            filter.instructions()
        );
        filter = coarser;
        steps += 1;
        for _ in 0..1000 {
            check(&filter, &watches, &random_packet(&mut random, &watches));
        }
    }
    assert!(steps >= 4, "{steps}");
}

#[test]
fn nothing_passes_unless_it_is_asked_for() {
    let mut random = Random::new(14);
    let filter = Filter::from_watches(&[]);
    assert_eq!(filter.instructions(), 1);
    // Nothing satisfies this one.
    let mut impossible = watch(Transport::Tcp, 1, 9);
    (impossible.set, impossible.clear) = (TcpFlags::SYN, TcpFlags::SYN);
    assert!(Filter::from_watches(&[impossible]).is_same(&filter));
    for _ in 0..1000 {
        assert_eq!(run(&filter, NetworkHeader::Anywhere, &random_packet(&mut random, &[])), 0);
    }
}

#[test]
fn what_leaves_is_held_to_the_same() {
    let mut random = Random::new(15);
    let mut passed = 0;
    for _ in 0..200 {
        let watches = random_watches(&mut random);
        let leaving = Filter::of_direction(Direction::Outgoing, &watches);
        let coming = Filter::from_watches(&watches);
        for _ in 0..50 {
            let packet = random_packet(&mut random, &watches);
            let out = Packet { packet_type: u8::try_from(OUTGOING).unwrap(), ..packet.clone() };
            let incoming = Packet { packet_type: 0, ..packet };
            let header = NetworkHeader::At(u32::try_from(out.link).unwrap());
            let kept = run(&leaving, header, &out);
            assert_eq!(kept, run(&coming, header, &incoming), "{watches:?}: {out:?}");
            assert_eq!(run(&leaving, header, &incoming), 0, "{incoming:?}");
            passed += u32::from(kept > 0);
        }
    }
    assert!(passed > 1000, "{passed}");
    assert_eq!(Filter::of_direction(Direction::Outgoing, &[]).instructions(), 1);
}

#[test]
fn equal_watches_in_another_order_give_the_same_filter() {
    let mut watches = scattered(50);
    let filter = Filter::from_watches(&watches);
    watches.reverse();
    watches.push(watches[3]);
    assert!(Filter::from_watches(&watches).is_same(&filter));
    watches.push(watch(Transport::Icmp, 8, 8));
    assert!(!Filter::from_watches(&watches).is_same(&filter));
}

#[test]
fn too_many_kinds_of_flags_are_left_to_user_space() {
    // Pairs of flags that no other pair covers, all on one port.
    let mut watches = Vec::new();
    for one in 0..8 {
        for other in 0..one {
            let set = TcpFlags(1 << one | 1 << other);
            watches.push(Watch { set, ..watch(Transport::Tcp, 80, 80) });
        }
    }
    let filter = Filter::from_watches(&watches);
    assert_eq!(filter.precision(), Precision::Widened { from: 1, to: 1 });
    let mut random = Random::new(15);
    for _ in 0..2000 {
        check(&filter, &watches, &random_packet(&mut random, &watches));
    }
    assert_eq!(Filter::from_watches(&watches[..10]).precision(), Precision::Exact);

    // A different requirement for each of many ports.
    let kinds: Vec<Watch> = (0..2000_u16)
        .map(|port| {
            let [high, low] = port.wrapping_mul(40_503).to_be_bytes();
            Watch {
                set: TcpFlags(high),
                clear: TcpFlags(low & !high),
                ..watch(Transport::Tcp, port * 3, port * 3)
            }
        })
        .collect();
    let filter = Filter::from_watches(&kinds);
    assert!(filter.instructions() <= 4096);
    for _ in 0..2000 {
        check(&filter, &kinds, &random_packet(&mut random, &kinds));
    }
}

#[test]
fn the_kernel_takes_the_programs() {
    let mut random = Random::new(16);
    let mut lists: Vec<Vec<Watch>> = [0, 1, 10, 1000, 3500, 5000, 20_000].map(scattered).into();
    lists.extend((0..20).map(|_| random_watches(&mut random)));
    for watches in lists {
        let filter = Filter::from_watches(&watches);
        for header in [NetworkHeader::At(0), NetworkHeader::At(14), NetworkHeader::Anywhere] {
            // A new socket each time: the memory for filters is limited for each socket.
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            let mut fits = Some(filter.clone());
            while let Some(filter) = fits.take() {
                match SockRef::from(&socket).attach_filter(&filter.socket_filter(header)) {
                    Ok(()) => break,
                    // Not a mistake in the program, but kernels before 6.7 allow a socket 20 kB.
                    Err(error) if error.raw_os_error() == Some(12) => fits = filter.coarser(),
                    Err(error) => panic!("{} ports, {header:?}: {error}", watches.len()),
                }
                assert!(fits.is_some());
            }
        }
    }
}
