//! Wire: what lies between the two machines of a lab, and their addresses on it.

use std::net::IpAddr;
use std::time::Duration;

use super::delay::Delay;
use super::namespace::Namespace;
use super::{CLIENT4, CLIENT6, SERVER4, SERVER6, STRANGER4, STRANGER6};
use crate::frame;

/// The wire's end on either machine.
pub(super) const WIRE: &str = "eth0";
/// The ends of its two halves in between, if it takes time: the server's and the client's.
const HALVES: [&str; 2] = ["server", "client"];

/// Lays the wire between the machines of these processes: the server's and the client's.
pub(super) fn lay_wire(
    client: &Namespace,
    [server, client_pid]: [u32; 2],
    each_way: Option<Duration>,
) -> Option<Delay> {
    let on_server = format!("name {WIRE} address {} netns {server}", mac(frame::SERVER_MAC));
    let client_mac = mac(frame::CLIENT_MAC);
    let Some(each_way) = each_way else {
        let link = format!("link add {WIRE} address {client_mac} type veth peer {on_server}\n");
        client.feed(&["ip", "-batch", "-"], &link);
        return None;
    };
    let mut delay = None;
    let between = Namespace::new(|_, between| {
        let on_client = format!("name {WIRE} address {client_mac} netns {client_pid}");
        let half = |(name, end)| {
            // No frame is larger than a packet may be: only a kernel could take it apart.
            format!(
                "link add {name} type veth peer {end} gso_max_segs 1\n\
                 link set {name} addrgenmode none\nlink set {name} up\n"
            )
        };
        let halves = HALVES.into_iter().zip([on_server, on_client]).map(half);
        between.feed(&["ip", "-batch", "-"], &halves.collect::<String>());
        delay = Some(Delay::start(between, HALVES, each_way));
    });
    // It lives on in the sockets of the delay.
    between.expect("who could make two can make a third");
    delay
}

/// Gives the machines their addresses. Neighbours are static entries, so that no packet waits for an ARP or neighbour discovery of its own.
pub(super) fn furnish(server: &Namespace, client: &Namespace) {
    let (server_mac, client_mac) = (mac(frame::SERVER_MAC), mac(frame::CLIENT_MAC));
    let common = format!("link set {WIRE} addrgenmode none\nlink set {WIRE} up\nlink set lo up\n");
    let (mut on_client, mut on_server) = (common.clone(), common);
    for (address, bits) in [(SERVER4, 16), (SERVER6, 64)] {
        on_server += &format!("addr add {address}/{bits} dev {WIRE}{}\n", nodad(address));
        on_client += &format!("neigh add {address} lladdr {server_mac} dev {WIRE} nud permanent\n");
    }
    for (address, bits) in [(CLIENT4, 16), (STRANGER4, 16), (CLIENT6, 64), (STRANGER6, 64)] {
        // What does not choose its address must not come from the stranger's.
        let rank = if address == STRANGER6 { " preferred_lft 0" } else { "" };
        on_client += &format!("addr add {address}/{bits} dev {WIRE}{}{rank}\n", nodad(address));
        on_server += &format!("neigh add {address} lladdr {client_mac} dev {WIRE} nud permanent\n");
    }
    client.feed(&["ip", "-batch", "-"], &on_client);
    server.feed(&["ip", "-batch", "-"], &on_server);
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

const fn nodad(address: IpAddr) -> &'static str {
    if address.is_ipv6() { " nodad" } else { "" }
}
