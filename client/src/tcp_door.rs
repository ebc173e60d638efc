//! TcpDoor: a TCP port that the knock opens, and waiting for it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::iter;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use postern_text::duration::show;
use socket2::Socket;

use crate::hit::start_connect;
use crate::ready::wait_for_any;
use crate::step::port;
use crate::transport::StepTransport;

/// How long to wait by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause from the first try to the second. The first one goes right behind the knock and finds open what was open before; a door in the
/// packet filter opens some 0.3 ms after the knock has arrived, a little later on a busy server.
const FIRST_PAUSE: Duration = Duration::from_micros(500);
/// Each further pause is so many times as long, up to the last. Tries that reach the open door before its answer is here are connections
/// begun for nothing: with four there are four of them at 100 ms to the server and back, with two there would be seven, and firewalls
/// count (`ufw limit` turns away the sixth in 30 seconds).
const GROWTH: u32 = 4;
const LAST_PAUSE: Duration = Duration::from_millis(200);
/// Tries under way at once, each address. An answer may take as long as this many pauses, 0.7 seconds and more.
const TRIES: usize = 8;

/// A TCP port that can be connected to when it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpDoor {
    /// The port.
    pub port: u16,
}

/// How a door was found open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOpen {
    /// At this address.
    pub address: IpAddr,
    /// After this time.
    pub after: Duration,
}

/// A door did not open in time.
#[derive(Debug, thiserror::Error)]
#[error("{door} did not open within {}: {last}", show(*.waited))]
pub struct StillClosed {
    door: TcpDoor,
    waited: Duration,
    /// What the last try that ended came to.
    last: String,
}

impl TcpDoor {
    /// Reads `tcp/22` or `tcp/ssh`.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim().split_once('/') {
            Some(("tcp", text)) => Ok(Self { port: port(text, StepTransport::Tcp)? }),
            Some(("udp", _)) => Err(format!(
                "`{text}` cannot be waited for: an open UDP port need not answer; wait for tcp/PORT"
            )),
            _ => Err(format!("`{text}` is not a door; write tcp/PORT, such as tcp/22")),
        }
    }

    /// Waits until the port is open at one of the addresses, for at most `timeout`.
    ///
    /// A guarded port is silent, and the system would repeat a lost SYN only after a second. So a new try starts at once, after 0.5,
    /// 2.5, 10.5, 42.5, 170.5 and 370.5 ms, and from then on five times a second, while the earlier ones stay open: on a slow path their
    /// answer may still come.
    ///
    /// # Errors
    /// If it does not open in time.
    pub fn wait(
        &self,
        addresses: &[SocketAddr],
        source: Option<IpAddr>,
        timeout: Duration,
    ) -> Result<FoundOpen, StillClosed> {
        self.reach(addresses, source, timeout, only_look).map(|(found, _)| found)
    }

    /// Connects to it in the same way, and keeps the connection, which blocks as one of the standard library does.
    ///
    /// # Errors
    /// If it does not open in time.
    pub fn connect(
        &self,
        addresses: &[SocketAddr],
        source: Option<IpAddr>,
        timeout: Duration,
    ) -> Result<TcpStream, StillClosed> {
        let (_, socket) = self.reach(addresses, source, timeout, |_| Ok(()))?;
        // It can fail for no socket that is open.
        drop(socket.set_nonblocking(false));
        Ok(socket.into())
    }

    fn reach(
        &self,
        addresses: &[SocketAddr],
        source: Option<IpAddr>,
        timeout: Duration,
        prepare: fn(&Socket) -> io::Result<()>,
    ) -> Result<(FoundOpen, Socket), StillClosed> {
        let start = Instant::now();
        let end = start + timeout;
        let mut tries: Vec<Tries> =
            addresses.iter().map(|address| Tries::new(*address, self.port, prepare)).collect();
        let mut last = "no answer".to_owned();
        let (mut pauses, mut next) = (pauses(), start);
        loop {
            let now = Instant::now();
            if now >= next {
                tries.iter_mut().for_each(|tries| tries.start(source, &mut last));
                next = now + pauses.next().unwrap_or(LAST_PAUSE);
            }
            for tries in &mut tries {
                if let Some(socket) = tries.take_connected(&mut last) {
                    return Ok((FoundOpen { address: tries.to.ip(), after: start.elapsed() }, socket));
                }
            }
            if Instant::now() >= end {
                return Err(StillClosed { door: self.clone(), waited: timeout, last });
            }
            wait_for_any(tries.iter().flat_map(|tries| &tries.sockets), next.min(end));
        }
    }
}

impl fmt::Display for TcpDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp/{}", self.port)
    }
}

/// The pauses between one try and the next.
fn pauses() -> impl Iterator<Item = Duration> {
    iter::successors(Some(FIRST_PAUSE), |pause| Some((*pause * GROWTH).min(LAST_PAUSE)))
}

/// The tries to connect to one address that are under way.
struct Tries {
    to: SocketAddr,
    prepare: fn(&Socket) -> io::Result<()>,
    sockets: VecDeque<Socket>,
}

impl Tries {
    fn new(mut to: SocketAddr, port: u16, prepare: fn(&Socket) -> io::Result<()>) -> Self {
        to.set_port(port);
        Self { to, prepare, sockets: VecDeque::with_capacity(TRIES) }
    }

    fn start(&mut self, source: Option<IpAddr>, last: &mut String) {
        if self.sockets.len() == TRIES {
            self.sockets.pop_front();
        }
        match start_connect(self.to, source, self.prepare) {
            Ok(socket) => self.sockets.push_back(socket),
            Err(error) => *last = self.outcome(&error),
        }
    }

    fn take_connected(&mut self, last: &mut String) -> Option<Socket> {
        let mut failed = None;
        self.sockets.retain(|socket| match socket.take_error() {
            Ok(None) => true,
            Ok(Some(error)) | Err(error) => {
                failed = Some(error);
                false
            }
        });
        if let Some(error) = failed {
            *last = self.outcome(&error);
        }
        let connected = self.sockets.iter().position(|socket| socket.peer_addr().is_ok())?;
        self.sockets.remove(connected)
    }

    fn outcome(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.to.ip())
    }
}

/// Has the port tried without a connection that the server's program would see: its answer is not confirmed (the system would wait for
/// data to send along), and closing the socket takes back what was asked for. A server that is busy with a connection
/// for nothing would be late for the next one.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn only_look(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_quickack(false)?;
    socket.set_linger(Some(Duration::ZERO))
}

/// Other systems confirm the answer at once. The server sees a connection that is closed.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn only_look(_: &Socket) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;
    use std::thread;

    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn doors() {
        assert_eq!(TcpDoor::parse("tcp/22").map(|door| door.to_string()), Ok("tcp/22".to_owned()));
        for text in ["22", "ssh", "udp/53", "tcp/", "tcp/0", "tcp/65536", "TCP/22", ""] {
            assert!(TcpDoor::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tries_are_quick_at_first_and_few_in_the_end() {
        let tries = pauses().scan(Duration::ZERO, |after, pause| {
            *after += pause;
            Some(after.as_micros())
        });
        let tries: Vec<_> = tries.take(7).collect();
        assert_eq!(tries, [500, 2_500, 10_500, 42_500, 170_500, 370_500, 570_500]);
    }

    #[test]
    fn a_door_that_opens_while_we_wait_is_found_open() {
        let (socket, door) = closed();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(100));
                socket.listen(1).expect("a bound socket");
            });
            let opened = door.wait(&[LOCALHOST], None, LONG).expect("it opens");
            assert_eq!(opened.address, LOCALHOST.ip());
            assert!(opened.after >= Duration::from_millis(90), "{opened:?}");
        });
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn who_waits_for_a_door_leaves_no_connection_behind_it() {
        let (socket, door) = closed();
        socket.listen(8).expect("a bound socket");
        socket.set_nonblocking(true).expect("a socket can be told so");
        // A machine that is busy for 200 ms at the wrong moment confirms one.
        let left_none = (0..5).any(|_| {
            door.wait(&[LOCALHOST], None, LONG).expect("it is open");
            let left = iter::from_fn(|| socket.accept().ok()).count();
            left == 0
        });
        assert!(left_none);
    }

    #[test]
    fn one_connection_comes_of_connecting() {
        let (socket, door) = closed();
        thread::scope(|scope| {
            let connection = scope.spawn(|| door.connect(&[LOCALHOST], None, LONG).expect("it opens"));
            thread::sleep(Duration::from_millis(20));
            socket.listen(8).expect("a bound socket");
            let (mut server, _) = socket.accept().expect("a connection");
            let mut connection = connection.join().expect("it does not panic");
            let mut heard = [0; 3];
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(20));
                server.write_all(b"hey").expect("it is connected");
            });
            // Waits for it, as a connection that does not block would not.
            connection.read_exact(&mut heard).expect("it is connected");
            assert_eq!(heard, *b"hey");
        });
        socket.set_nonblocking(true).expect("a socket can be told so");
        assert!(socket.accept().is_err(), "another connection");
    }

    #[test]
    fn a_door_that_stays_closed_is_given_up_in_time() {
        let (_socket, door) = closed();
        let start = Instant::now();
        let error = door.wait(&[LOCALHOST], None, Duration::from_millis(80)).expect_err("nothing listens");
        assert!(start.elapsed() >= Duration::from_millis(80));
        assert!(start.elapsed() < Duration::from_secs(2));
        let text = error.to_string();
        assert!(text.starts_with(&format!("{door} did not open within 80ms: 127.0.0.1: ")), "{text}");
        assert!(text.contains("refused"), "{text}");
    }

    const LONG: Duration = Duration::from_secs(20);
    const LOCALHOST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// A port that no other process gets, and that refuses until the socket listens.
    fn closed() -> (Socket, TcpDoor) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&LOCALHOST.into()).expect("a free port");
        let port = socket.local_addr().expect("bound").as_socket().expect("of IP").port();
        (socket, TcpDoor { port })
    }
}
