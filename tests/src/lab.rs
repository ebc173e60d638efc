//! Lab: a server and a client on one wire, each in a network namespace of its own.
//!
//! It never touches the network that it was started in, and any number of labs may be there at once.

pub(crate) mod banner;
mod delay;
pub(crate) mod injector;
pub(crate) mod namespace;
pub(crate) mod program;
pub(crate) mod service;
pub(crate) mod sshd;
mod wire;

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use delay::Delay;
use injector::Injector;
use namespace::Namespace;
use service::Service;
use wire::{WIRE, furnish, lay_wire};

use crate::deadline::TestDeadline;
use crate::skip::skip;

/// The server's IPv4 address.
pub const SERVER4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
/// The client's IPv4 address.
pub const CLIENT4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
/// The IPv4 address of a neighbour of the client.
pub const STRANGER4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 3));
/// The server's IPv6 address.
pub const SERVER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1));
/// The client's IPv6 address.
pub const CLIENT6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 2));
/// The IPv6 address of a neighbour of the client.
pub const STRANGER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 3));

/// Two machines on one wire. The client answers to all client's and stranger's addresses.
#[derive(Debug)]
pub struct Lab {
    server: Namespace,
    client: Namespace,
    _delay: Option<Delay>,
    /// None outside of tests.
    _deadline: Option<TestDeadline>,
}

/// One step of a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A TCP SYN to this port.
    Tcp(u16),
    /// An empty UDP datagram to this port.
    Udp(u16),
}

/// What came back from a port.
#[derive(Debug)]
pub enum Answer {
    /// A connection.
    Connected(TcpStream),
    /// A refusal: something is there and says no.
    Refused,
    /// Nothing at all.
    Silence,
}

impl Lab {
    /// A lab; if none can be made here, the test is [skipped](skip).
    ///
    /// # Panics
    /// As [`skip`] does.
    #[must_use]
    pub fn if_possible() -> Option<Self> {
        Self::of_test(Self::new())
    }

    /// A lab whose packets arrive so much after they were sent, either way; if none can be made here, the test is [skipped](skip).
    ///
    /// # Panics
    /// As [`skip`] does.
    #[must_use]
    pub fn with_delay_if_possible(each_way: Duration) -> Option<Self> {
        Self::of_test(Self::with_delay(each_way))
    }

    fn of_test(made: Result<Self, String>) -> Option<Self> {
        let lab = made.map_err(|why| skip(&why)).ok()?;
        Some(Self { _deadline: Some(TestDeadline::start()), ..lab })
    }

    /// A lab with everything up.
    ///
    /// # Errors
    /// In words, if this process may not make network namespaces or a tool is missing.
    ///
    /// # Panics
    /// If a namespace can be made but not furnished.
    pub fn new() -> Result<Self, String> {
        Self::make(None)
    }

    /// The same, with packets that arrive so much after they were sent, either way. The time counts from the kernel's time stamp, so a
    /// machine must be busy for longer than that before they are late.
    ///
    /// # Errors
    /// As [`Lab::new`].
    ///
    /// # Panics
    /// As [`Lab::new`].
    pub fn with_delay(each_way: Duration) -> Result<Self, String> {
        Self::make(Some(each_way))
    }

    fn make(each_way: Option<Duration>) -> Result<Self, String> {
        for tool in ["ip", "nft"] {
            let found = Command::new(tool).arg("-V").output();
            found.map_err(|e| format!("cannot run `{tool}`: {e}; see tests/install.sh"))?;
        }
        let hint = |e| format!("{e} (needs root, or run it by tests/in-namespace.sh)");
        let (mut client, mut delay) = (Ok(None), None);
        let server = Namespace::new(|server_pid, server| {
            client = Namespace::new(|client_pid, client| {
                delay = lay_wire(client, [server_pid, client_pid], each_way);
                furnish(server, client);
            })
            .map(Some);
        });
        match (server.map_err(hint)?, client.map_err(hint)?) {
            (server, Some(client)) => Ok(Self { server, client, _delay: delay, _deadline: None }),
            (_, None) => Err("no namespace for the client".to_owned()),
        }
    }

    /// The server's network.
    #[must_use]
    pub const fn server(&self) -> &Namespace {
        &self.server
    }

    /// The client's network.
    #[must_use]
    pub const fn client(&self) -> &Namespace {
        &self.client
    }

    /// Runs a command on the server.
    #[track_caller]
    pub fn server_exec(&self, argv: &[&str]) -> Output {
        self.server.exec(argv)
    }

    /// Runs a command on the client.
    #[track_caller]
    pub fn client_exec(&self, argv: &[&str]) -> Output {
        self.client.exec(argv)
    }

    /// Adds to the server's firewall, in the language of `nft`.
    #[track_caller]
    pub fn firewall(&self, ruleset: &str) {
        self.server.feed(&["nft", "-f", "-"], ruleset);
    }

    /// Starts a service on the server that greets and sends back what it gets.
    #[must_use]
    pub fn tcp_service(&self, port: u16) -> Service {
        Service::tcp(&self.server, port)
    }

    /// Starts a service on the server that sends datagrams back.
    #[must_use]
    pub fn udp_service(&self, port: u16) -> Service {
        Service::udp(&self.server, port)
    }

    /// A raw sender on the client's end of the wire.
    #[must_use]
    pub fn injector(&self) -> Injector {
        Injector::new(&self.client, WIRE)
    }

    /// A raw sender on a device of the server.
    #[must_use]
    pub fn injector_on_server(&self, device: &str) -> Injector {
        Injector::new(&self.server, device)
    }

    /// Knocks on the server with plain sockets, from one of the client's addresses: `"7000/udp 8000/tcp"`.
    #[track_caller]
    pub fn knock(&self, source: IpAddr, knock: &str) {
        self.knock_at(server_of(source), source, knock);
    }

    /// Knocks as [`Lab::knock`] does at any address that the client has a route to.
    #[track_caller]
    pub fn knock_at(&self, server: IpAddr, source: IpAddr, knock: &str) {
        for step in steps(knock) {
            self.step(server, source, step)
                .unwrap_or_else(|e| panic!("{step:?} from {source} to {server}: {e}"));
        }
    }

    fn step(&self, server: IpAddr, source: IpAddr, step: Step) -> io::Result<()> {
        match step {
            Step::Udp(port) => {
                let socket = self.client.run(|| UdpSocket::bind((source, 0)))?;
                socket.send_to(&[], (server, port)).map(drop)
            }
            Step::Tcp(port) => {
                let socket = self.tcp_socket(source)?;
                socket.set_nonblocking(true)?;
                // "In progress": its SYN is on the wire. Closing the socket sends nothing more.
                match socket.connect(&SocketAddr::new(server, port).into()) {
                    Err(e) if e.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                        Ok(())
                    }
                    other => other,
                }
            }
        }
    }

    /// Tries to connect to a port of the server, for at most `patience`.
    ///
    /// # Panics
    /// If something else stands in the way.
    #[track_caller]
    pub fn tcp(&self, source: IpAddr, port: u16, patience: Duration) -> Answer {
        let socket = self.tcp_socket(source).expect("an address of the client");
        match socket.connect_timeout(&SocketAddr::new(server_of(source), port).into(), patience) {
            Ok(()) => Answer::Connected(socket.into()),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Answer::Silence,
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => Answer::Refused,
            Err(e) => panic!("tcp/{port} from {source}: {e}"),
        }
    }

    /// Whether a port of the server greets, tried for at most `patience`.
    #[track_caller]
    pub fn tcp_connects(&self, source: IpAddr, port: u16, patience: Duration) -> bool {
        match self.tcp(source, port, patience) {
            Answer::Connected(mut stream) => greets(&mut stream),
            Answer::Refused | Answer::Silence => false,
        }
    }

    /// Tries to connect again and again until it works: the connection, and how long it took. A try lasts a millisecond, because
    /// a SYN that is dropped is sent again only after a second.
    ///
    /// # Panics
    /// After `patience`.
    #[track_caller]
    pub fn tcp_soon(&self, source: IpAddr, port: u16, patience: Duration) -> (TcpStream, Duration) {
        let start = Instant::now();
        loop {
            if let Answer::Connected(stream) = self.tcp(source, port, Duration::from_millis(1)) {
                return (stream, start.elapsed());
            }
            assert!(start.elapsed() < patience, "tcp/{port} stays closed to {source} for {patience:?}");
        }
    }

    /// Whether a datagram to a port of the server comes back within `patience`.
    ///
    /// # Panics
    /// If it cannot be sent.
    #[track_caller]
    pub fn udp_answers(&self, source: IpAddr, port: u16, patience: Duration) -> bool {
        let socket = self.client.run(|| UdpSocket::bind((source, 0))).expect("an address of the client");
        socket.connect((server_of(source), port)).expect("the server's address");
        socket.set_read_timeout(Some(patience)).expect("not zero");
        socket.send(b"anybody there?").expect("a datagram can be sent");
        matches!(socket.recv(&mut [0; 32]), Ok(14))
    }

    fn tcp_socket(&self, source: IpAddr) -> io::Result<Socket> {
        let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = self.client.run(|| Socket::new(domain, Type::STREAM, Some(Protocol::TCP)))?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        Ok(socket)
    }
}

impl Answer {
    /// Whether nothing came back.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::Silence)
    }

    /// The connection.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn connected(self) -> TcpStream {
        match self {
            Self::Connected(stream) => stream,
            other => panic!("expected a connection, got {other:?}"),
        }
    }
}

/// The steps of a knock as a rule's settings write them, with spaces between.
///
/// # Panics
/// If it is written otherwise.
#[must_use]
#[track_caller]
pub fn steps(knock: &str) -> Vec<Step> {
    let step = |text: &str| {
        let (port, transport) = text.split_once('/')?;
        let port = port.parse().ok()?;
        match transport {
            "tcp" => Some(Step::Tcp(port)),
            "udp" => Some(Step::Udp(port)),
            _ => None,
        }
    };
    knock.split_whitespace().map(|text| step(text).unwrap_or_else(|| panic!("{text} is no step"))).collect()
}

/// The server's address of the same kind.
const fn server_of(source: IpAddr) -> IpAddr {
    if source.is_ipv4() { SERVER4 } else { SERVER6 }
}

fn greets(stream: &mut TcpStream) -> bool {
    let mut greeting = [0; 6];
    let limit = stream.set_read_timeout(Some(Duration::from_secs(5)));
    limit.is_ok() && stream.read_exact(&mut greeting).is_ok() && greeting == *b"hello\n"
}

#[cfg(test)]
mod tests;
