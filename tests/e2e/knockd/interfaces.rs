//! Interfaces that come, go and change under `posternd knockd`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use postern_tests::{CLIENT4, Lab, SERVER4, STRANGER4, eventually, frame};

use super::Knockd;

/// A wire beside the lab's own, to be cut and laid anew.
const WIRE: &str = "wire0";
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1));
const SERVER_MOVED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 9));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 78, 0, 2));

const CONF: &str = "\
[SSH]
sequence = 1111:udp,2222:tcp,3333:udp
command = echo open %IP% >> DIR/journal
[probe]
sequence = 4444:udp
";
const KNOCK: &str = "1111/udp 2222/tcp 3333/udp";
const PROBE: &str = "4444/udp";

/// A daemon that is there before its wire.
struct Wired<'lab> {
    lab: &'lab Lab,
    knockd: Knockd,
}

impl<'lab> Wired<'lab> {
    /// The wire is not there yet.
    fn launch(lab: &'lab Lab) -> Self {
        Self { lab, knockd: Knockd::launch(lab, CONF, &["-i", WIRE], &[]) }
    }

    /// The wire is there, and a knock has come through.
    #[track_caller]
    fn start(lab: &'lab Lab) -> Self {
        let wired = Self::launch(lab);
        wired.lay();
        wired.opens_at(SERVER, 1);
        wired
    }

    /// Lays the wire from the client to where the daemon is. Neighbours are static entries, so that a packet to an address that is
    /// gone still arrives.
    fn lay(&self) {
        let (client_mac, server_mac) = ("02:00:00:00:78:02", "02:00:00:00:78:01");
        let daemon = self.knockd.child.id();
        let mut on_client = format!(
            "link add {WIRE} address {client_mac} type veth peer name {WIRE} address {server_mac} netns {daemon}\n\
             addr add {CLIENT}/24 dev {WIRE}\nlink set {WIRE} up\n"
        );
        for server in [SERVER, SERVER_MOVED] {
            on_client += &format!("neigh add {server} lladdr {server_mac} dev {WIRE} nud permanent\n");
        }
        self.lab.client().feed(&["ip", "-batch", "-"], &on_client);
        self.on_server(&format!("addr add {SERVER}/24 dev {WIRE}\nlink set {WIRE} up\n"));
    }

    /// Commands of `ip`, a line each.
    fn on_server(&self, commands: &str) {
        self.lab.server().feed(&["ip", "-batch", "-"], commands);
    }

    #[track_caller]
    fn waits_until_told(&self, what: &str) {
        eventually(what, || self.knockd.read("stderr").contains(what).then_some(()));
    }

    /// Waits until the daemon captures again, and has said all of what came before.
    #[track_caller]
    fn settle_at(&self, server: IpAddr) {
        let heard = || self.openings("probe");
        let before = heard();
        eventually(&format!("a packet to {server} is heard"), || {
            self.lab.knock_at(server, CLIENT, PROBE);
            (heard() > before).then_some(())
        });
    }

    /// A single knock is enough, and its command is the one of this number.
    #[track_caller]
    fn opens_at(&self, server: IpAddr, number: usize) {
        self.settle_at(server);
        self.lab.knock_at(server, CLIENT, KNOCK);
        assert_eq!(self.knockd.lines("journal", number), vec![format!("open {CLIENT}"); number]);
    }

    fn openings(&self, door: &str) -> usize {
        self.knockd.read("stdout").matches(&format!("{CLIENT}: {door}: OPEN SESAME\n")).count()
    }
}

#[test]
fn an_interface_that_is_missing_at_the_start_is_waited_for() {
    let Some(lab) = Lab::if_possible() else { return };
    let wired = Wired::launch(&lab);
    wired.waits_until_told("there is no interface wire0");
    assert!(!wired.knockd.read("stdout").contains("listening on"), "on nothing");
    wired.lay();
    wired.waits_until_told("knockd: listening on wire0 now\n");
    wired.opens_at(SERVER, 1);
    let listening = || wired.knockd.read("stdout").contains("listening on wire0...\n").then_some(());
    eventually("it says that it listens", listening);
}

#[test]
fn an_interface_that_goes_down_is_heard_again_when_it_is_up() {
    let Some(lab) = Lab::if_possible() else { return };
    let wired = Wired::start(&lab);
    wired.on_server(&format!("link set {WIRE} down\n"));
    wired.waits_until_told("wire0 went down or away");
    wired.on_server(&format!("link set {WIRE} up\n"));
    wired.waits_until_told("knockd: listening again on wire0\n");
    wired.opens_at(SERVER, 2);
}

#[test]
fn knocks_count_at_the_address_that_an_interface_has_now() {
    let Some(lab) = Lab::if_possible() else { return };
    let wired = Wired::start(&lab);
    wired.on_server(&format!("addr del {SERVER}/24 dev {WIRE}\naddr add {SERVER_MOVED}/24 dev {WIRE}\n"));
    // A daemon that has noticed the new one has noticed that the old one is gone.
    wired.opens_at(SERVER_MOVED, 2);
    lab.knock_at(SERVER, CLIENT, KNOCK);
    wired.settle_at(SERVER_MOVED);
    assert_eq!(wired.openings("SSH"), 2, "a knock at an address that is gone counts");
    wired.on_server(&format!("addr add {SERVER}/24 dev {WIRE}\n"));
    wired.opens_at(SERVER, 3);
    wired.opens_at(SERVER_MOVED, 4);
}

#[test]
fn an_interface_that_is_deleted_and_made_again_is_heard_again() {
    let Some(lab) = Lab::if_possible() else { return };
    let wired = Wired::start(&lab);
    wired.on_server(&format!("link delete {WIRE}\n"));
    wired.waits_until_told("there is no interface wire0");
    wired.lay();
    wired.opens_at(SERVER, 2);
    // Now so quickly that another one of this name may be there before the daemon looks.
    wired.on_server(&format!("link delete {WIRE}\n"));
    wired.lay();
    wired.opens_at(SERVER, 3);
}

#[test]
fn on_any_a_packet_counts_once_though_it_is_bridged_or_forwarded() {
    let Some(lab) = Lab::if_possible() else { return };
    let bridge = format!(
        "link add br0 type bridge\nlink set eth0 master br0\naddr flush dev eth0\naddr add {SERVER4}/16 dev br0\nlink set br0 up\n"
    );
    lab.server().feed(&["ip", "-batch", "-"], &bridge);
    lab.server_exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    let command = "command = echo KIND %IP% >> DIR/journal\n";
    let conf = format!(
        "[here]\nsequence = 7001:udp,7002:udp\n{}[there]\nsequence = 7001:udp,7002:udp\ntarget = {STRANGER4}\n{}",
        command.replace("KIND", "here"),
        command.replace("KIND", "there")
    );
    let knockd = Knockd::start(&lab, &conf, &["-i", "any"], &[]);
    let mut wire = lab.injector();
    for (number, (to, door)) in (1..).zip([(SERVER4, "here"), (STRANGER4, "there")]) {
        for port in [7001, 7002] {
            wire.send(&frame::udp(SocketAddr::new(CLIENT4, 4000), SocketAddr::new(to, port), b"knock"));
        }
        let lines = knockd.lines("journal", number);
        assert_eq!(lines.last().map(String::as_str), Some(&*format!("{door} {CLIENT4}")), "{lines:?}");
    }
}
