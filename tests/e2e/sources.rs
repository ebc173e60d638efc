//! Where knocks say they come from and go to.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

use postern_tests::{CLIENT4, CLIENT6, Lab, SERVER4, SERVER6, frame};

use crate::{BOTH_KINDS, KNOCK, SSH_2S, STORY, posternd};

/// Addresses that only this machine has, or none; the network of the wire is 10.77.0.0/16, without an assigned broadcast address.
const IMPOSSIBLE_SOURCES: [&str; 16] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.77.0.1",
    "10.77.255.255",
    "127.0.0.1",
    "127.3.2.1",
    "224.0.0.251",
    "255.255.255.255",
    "::",
    "::1",
    "fd77::1",
    "ff02::1",
    "::127.0.0.1",
    "::10.77.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.77.0.2",
];
/// What is not on any wire.
const IMPOSSIBLE_DESTINATIONS: [&str; 5] = ["127.0.0.1", "127.3.2.1", "::1", "0.0.0.0", "::"];

/// The packets of [`KNOCK`].
fn knock(source: IpAddr, server: IpAddr) -> [Vec<u8>; 3] {
    let (from, to) = (SocketAddr::new(source, 4000), |port| SocketAddr::new(server, port));
    [frame::udp(from, to(7000), b""), frame::tcp(from, to(8000), frame::SYN), frame::udp(from, to(9000), b"")]
}

fn of_kind(address: IpAddr, [v4, v6]: [IpAddr; 2]) -> IpAddr {
    if address.is_ipv4() { v4 } else { v6 }
}

#[test]
fn knocks_from_and_to_where_no_packet_is_open_nothing_and_are_counted() {
    for (interface, workers) in [("eth0", 1), ("any", 2)] {
        let Some(lab) = Lab::if_possible() else { return };
        assert_eq!(
            [SERVER4, SERVER6].map(|it| it.to_string()),
            ["10.77.0.1", "fd77::1"],
            "else the lists are wrong"
        );
        // A rule that asks for packets to anywhere: it is not for their destination that they do not count.
        let rule = format!("{KNOCK}\ntarget = \"any\"");
        let config = format!("workers = {workers}\n{}", SSH_2S.replace("eth0", interface));
        let daemon = posternd(&lab).config(&config).rule("knock", &rule).start();
        let mut wire = lab.injector();
        for source in IMPOSSIBLE_SOURCES.map(|address| address.parse().expect("an address")) {
            knock(source, of_kind(source, [SERVER4, SERVER6])).iter().for_each(|frame| wire.send(frame));
        }
        for destination in IMPOSSIBLE_DESTINATIONS.map(|address| address.parse().expect("an address")) {
            let source = of_kind(destination, [CLIENT4, CLIENT6]);
            knock(source, destination).iter().for_each(|frame| wire.send(frame));
        }
        for (client, _) in BOTH_KINDS {
            knock(client, of_kind(client, [SERVER4, SERVER6])).iter().for_each(|frame| wire.send(frame));
            daemon.expect_story(client, &STORY);
        }
        for event in ["stage", "open"] {
            daemon.expect_none(event, |entry| {
                ![CLIENT4, CLIENT6].iter().any(|it| entry.text("src") == it.to_string())
            });
        }
        let (_, log) = daemon.stop();
        let stopped = log.entries().into_iter().find(|entry| entry.event() == "stop").expect("it stopped");
        for (reason, knocks) in [
            ("impossible-source", IMPOSSIBLE_SOURCES.len()),
            ("impossible-destination", IMPOSSIBLE_DESTINATIONS.len()),
        ] {
            let counted = stopped.count("dropped", reason);
            // A machine looks for neighbours from the unspecified address, which may mix in.
            assert!(counted >= 3 * knocks as u64, "{reason} on {interface}: {stopped}");
        }
    }
}

#[test]
fn this_machine_knocks_at_itself_by_loopback() {
    for interface in ["lo", "any"] {
        let Some(lab) = Lab::if_possible() else { return };
        let daemon = posternd(&lab).config(&SSH_2S.replace("eth0", interface)).rule("knock", KNOCK).start();
        for address in
            ["127.0.0.1", "::1", "10.77.0.1", "fd77::1"].map(|it| it.parse::<IpAddr>().expect("an address"))
        {
            lab.server().run(|| {
                for port in [7000, 8000, 9000] {
                    if port == 8000 {
                        TcpStream::connect((address, port)).expect_err("nobody listens there");
                    } else {
                        let socket = UdpSocket::bind((address, 0)).expect("an address of this machine");
                        socket.send_to(&[], (address, port)).expect("it has a way to itself");
                    }
                }
            });
            daemon.expect_story(address, &STORY);
        }
        daemon.stop();
    }
}
