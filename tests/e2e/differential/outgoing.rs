//! Outgoing: packets that leave by the interface that both daemons listen on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use postern_tests::{CLIENT4, Lab, Namespace, SERVER4, STRANGER4, eventually, frame, tool};

use super::pair::Pair;
use super::{Deviation, Outcome, section};

/// A third machine, behind the server as seen from the wire, and the server's address there.
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 88, 0, 2));
const SERVER_FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 88, 0, 1));
/// An address on the wire that no machine has.
const SOMEBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 77));

const FORWARDED: &str = "f=7000:udp,8000:udp";
const OWN: &str = "o=7001:udp,8001:udp";
const BACK: &str = "b=7002:udp,8002:udp";

/// The server passes on what comes from one wire to the other.
fn route(lab: &Lab) -> Namespace {
    let mut on_server = format!("addr add {SERVER_FAR}/24 dev far0\nlink set far0 up\n");
    // What is sent back by the wire it came by needs no word to its sender.
    let settings = [
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.all.send_redirects=0",
        "net.ipv4.conf.eth0.send_redirects=0",
    ];
    for setting in settings {
        lab.server_exec(&["sysctl", "-qw", setting]);
    }
    let far = Namespace::new(|pid, far| {
        on_server.insert_str(0, &format!("link add far0 type veth peer name far0 netns {pid}\n"));
        lab.server().feed(&["ip", "-batch", "-"], &on_server);
        let on_far =
            format!("addr add {FAR}/24 dev far0\nlink set far0 up\nroute add default via {SERVER_FAR}\n");
        far.feed(&["ip", "-batch", "-"], &on_far);
    });
    far.unwrap_or_else(|why| panic!("{why}"))
}

fn send(from: &Namespace, to: IpAddr, ports: [u16; 2]) {
    from.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("any port");
        for port in ports {
            socket.send_to(b"knock", (to, port)).expect("there is a way");
        }
    });
}

/// Waits until both say this of a client's packets.
#[track_caller]
fn expect(pair: &Pair, client: IpAddr, outcome: Outcome) {
    let (of_knockd, of_postern) = outcome.stories();
    for (listener, story) in [(&pair.knockd, of_knockd), (&pair.postern, of_postern)] {
        let told = || listener.accounts().remove(&client).unwrap_or_default().story.join(" ");
        eventually(&format!("{client}: `{story}`, but {:?}", told()), || (told() == story).then_some(()));
    }
}

#[test]
fn packets_that_leave_count_for_a_target() {
    let (Some(knockd), Some(lab)) = (tool("knockd"), Lab::if_possible()) else { return };
    let far = route(&lab);
    let conf = [
        section(FORWARDED, Some(&CLIENT4.to_string())),
        section(OWN, None),
        section(BACK, Some(&STRANGER4.to_string())),
    ];
    let mut pair = Pair::start(&lab, &knockd, &conf.concat());
    pair.anchor();

    // Forwarded: seen as it leaves, once, though the server saw it come in.
    send(&far, CLIENT4, [7000, 8000]);
    expect(&pair, FAR, Outcome::Both("f1 f2 f!"));
    // The server's own: to a target, and to itself, which never leaves.
    send(lab.server(), SERVER4, [7001, 8001]);
    send(lab.server(), CLIENT4, [7000, 8000]);
    expect(&pair, SERVER4, Outcome::Both("f1 f2 f!"));
    // Without a target what leaves is not for a door, whatever the port.
    send(&far, CLIENT4, [7001, 8001]);
    // By the wire that it came by.
    for port in [7002, 8002] {
        pair.send(&frame::udp(SocketAddr::new(SOMEBODY, 4000), SocketAddr::new(STRANGER4, port), b""));
    }
    expect(&pair, SOMEBODY, Outcome::Apart(Deviation::ThereAndBack, "b1", "b1 b2 b!"));
    pair.settle();
    expect(&pair, FAR, Outcome::Both("f1 f2 f!"));
}
