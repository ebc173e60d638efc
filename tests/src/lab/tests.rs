use std::io::Write as _;
use std::thread;
use std::time::Duration;

use super::*;
use crate::deadline::eventually;
use crate::frame;

/// Long enough for an answer to come on any machine that is not dead.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to call it silence.
const A_WHILE: Duration = Duration::from_millis(150);

const GUARD: &str = "table inet t {
    set open4 { type ipv4_addr; }
    set open6 { type ipv6_addr; }
    chain c { type filter hook input priority 0;
        ip saddr @open4 accept
        ip6 saddr @open6 accept
        meta l4proto { tcp, udp } th dport { 22, 53 } drop
    }
}";

#[test]
fn an_open_port_a_closed_one_and_a_guarded_one_can_be_told_apart() {
    let Some(lab) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    let _dns = lab.udp_service(53);
    for source in [CLIENT4, CLIENT6] {
        assert!(lab.tcp_connects(source, 22, SOON), "{source}");
        assert!(lab.udp_answers(source, 53, SOON), "{source}");
        assert!(matches!(lab.tcp(source, 23, SOON), Answer::Refused), "{source}");
    }
    lab.firewall(GUARD);
    lab.firewall("add element inet t open4 { 10.77.0.2 }\nadd element inet t open6 { fd77::2 }");
    for (client, stranger) in [(CLIENT4, STRANGER4), (CLIENT6, STRANGER6)] {
        assert!(lab.tcp_connects(client, 22, SOON), "{client}");
        assert!(lab.tcp(stranger, 22, A_WHILE).is_silence(), "{stranger}");
        assert!(lab.udp_answers(client, 53, SOON), "{client}");
        assert!(!lab.udp_answers(stranger, 53, A_WHILE), "{stranger}");
    }
}

#[test]
fn labs_side_by_side_do_not_hear_each_other() {
    let Some(lab) = Lab::if_possible() else { return };
    let Some(other) = Lab::if_possible() else { return };
    let _ssh = lab.tcp_service(22);
    assert!(lab.tcp_connects(CLIENT4, 22, SOON));
    assert!(matches!(other.tcp(CLIENT4, 22, SOON), Answer::Refused));
}

#[test]
fn knocks_arrive_in_order_and_nothing_else_does() {
    let Some(lab) = Lab::if_possible() else { return };
    let mut wire = lab.server().run(|| {
        let capture = pcap::Capture::from_device(WIRE).unwrap().immediate_mode(true).timeout(100);
        let mut wire = capture.open().unwrap();
        wire.filter("dst host 10.77.0.1", true).unwrap();
        wire.setnonblock().unwrap()
    });
    lab.knock(CLIENT4, "7000/udp 8000/tcp 9000/udp");
    lab.injector().send(&frame::tcp(sock("203.0.113.9:1"), sock("10.77.0.1:10"), frame::FIN));
    let ports: Vec<_> = std::iter::repeat_with(|| {
        eventually("the next packet", || {
            wire.next_packet().ok().map(|packet| u16::from_be_bytes([packet.data[36], packet.data[37]]))
        })
    })
    .take(4)
    .collect();
    assert_eq!(ports, [7000, 8000, 9000, 10]);
}

#[test]
fn a_frame_made_by_hand_reaches_a_socket() {
    let Some(lab) = Lab::if_possible() else { return };
    for (source, server) in [(CLIENT4, SERVER4), (CLIENT6, SERVER6)] {
        let socket = lab.server().run(|| UdpSocket::bind((server, 99))).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        lab.injector().send(&frame::udp((source, 4000).into(), (server, 99).into(), b"by hand"));
        let mut buffer = [0; 16];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"by hand"[..], (source, 4000).into()));
    }
}

#[test]
fn a_service_keeps_up_a_conversation() {
    let Some(lab) = Lab::if_possible() else { return };
    let service = lab.tcp_service(0);
    let (mut stream, _) = lab.tcp_soon(CLIENT4, service.port(), SOON);
    assert!(greets(&mut stream));
    stream.write_all(b"still there?").unwrap();
    let mut echo = [0; 12];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(echo, *b"still there?");
}

#[test]
fn a_wire_that_takes_time_takes_it_either_way_and_loses_nothing() {
    const EACH_WAY: Duration = Duration::from_millis(20);
    let Some(lab) = Lab::with_delay_if_possible(EACH_WAY) else { return };
    let (_echo, service) = (lab.udp_service(7), lab.tcp_service(0));
    for source in [CLIENT4, CLIENT6] {
        let times = (0..20).map(|_| {
            let start = Instant::now();
            assert!(lab.udp_answers(source, 7, SOON), "{source}");
            start.elapsed()
        });
        let quickest = times.min().unwrap();
        assert!(quickest >= 2 * EACH_WAY, "{quickest:?}");
        // What two machines take to wake up their programs, on one that has much else to do.
        assert!(quickest < 2 * EACH_WAY + Duration::from_millis(5), "{quickest:?}");

        // More than fits into one packet, whose checksums the machines leave to a card.
        let mut stream = lab.tcp(source, service.port(), SOON).connected();
        assert!(greets(&mut stream));
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_be_bytes()[3]).collect();
        let mut echo = vec![0; sent.len()];
        thread::scope(|scope| {
            let mut there = stream.try_clone().unwrap();
            let sent = &sent;
            scope.spawn(move || there.write_all(sent).unwrap());
            stream.read_exact(&mut echo).unwrap();
        });
        assert!(echo == sent, "{source}: other bytes came back");
    }
}

fn sock(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
