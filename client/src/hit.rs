//! Hit: one packet of a knock. It waits for no answer, so a silent port does not delay the knock.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};

use crate::transport::StepTransport;

/// Sends one packet from a socket of its own; `payload` goes with UDP only.
///
/// # Errors
/// If this machine does not send it: there is no route, or sending is not allowed.
pub fn hit(
    to: SocketAddr,
    transport: StepTransport,
    payload: &[u8],
    source: Option<IpAddr>,
) -> io::Result<()> {
    match transport {
        StepTransport::Udp => socket(to, StepTransport::Udp, source)?.send_to(payload, &to.into()).map(drop),
        // The socket is closed at once. By then its SYN is on the wire, and a closed socket does not repeat it.
        StepTransport::Tcp => start_connect(to, source, |_| Ok(())).map(drop),
    }
}

/// Begins to connect, without waiting for the end of it, with a socket that was prepared.
pub(crate) fn start_connect(
    to: SocketAddr,
    source: Option<IpAddr>,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    let socket = socket(to, StepTransport::Tcp, source)?;
    prepare(&socket)?;
    match socket.connect(&to.into()) {
        Err(error) if is_unsent(error.kind()) => Err(error),
        _ => Ok(socket),
    }
}

fn socket(to: SocketAddr, transport: StepTransport, source: Option<IpAddr>) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        StepTransport::Tcp => (Type::STREAM, Protocol::TCP),
        StepTransport::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(to), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        socket.bind(&from(source, to).into())?;
    }
    Ok(socket)
}

/// Any port of our address; a link-local one gets the scope of the destination.
fn from(source: IpAddr, to: SocketAddr) -> SocketAddr {
    match (source, to) {
        (IpAddr::V6(source), SocketAddr::V6(to)) => SocketAddrV6::new(source, 0, 0, to.scope_id()).into(),
        (source, _) => SocketAddr::new(source, 0),
    }
}

/// Whether a connect that failed with this sent no SYN. Every other error means that the connect is in progress or was answered; the
/// error for "in progress" differs between systems, and `ErrorKind` has no stable variant for one of them.
const fn is_unsent(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            | ErrorKind::AddrInUse
            | ErrorKind::PermissionDenied
            | ErrorKind::InvalidInput
            | ErrorKind::Unsupported
            | ErrorKind::OutOfMemory
    )
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
    use std::time::{Duration, Instant};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_datagram_carries_the_payload_and_may_be_empty() {
        for address in loopbacks() {
            let server = UdpSocket::bind((address, 0)).expect("a free port");
            server.set_read_timeout(Some(SOON)).expect("not zero");
            let to = server.local_addr().expect("bound");
            for payload in [&b""[..], b"open sesame"] {
                hit(to, StepTransport::Udp, payload, None).expect("loopback is reachable");
                let mut bytes = [0; 32];
                let (length, _) = server.recv_from(&mut bytes).expect("a datagram");
                assert_eq!(&bytes[..length], payload, "{address}");
            }
        }
    }

    #[test]
    fn a_syn_reaches_a_listener() {
        for address in loopbacks() {
            let server = TcpListener::bind((address, 0)).expect("a free port");
            hit(server.local_addr().expect("bound"), StepTransport::Tcp, b"", None)
                .expect("loopback is reachable");
            let _ = server.accept().expect("the handshake of a near port ends before the socket is closed");
        }
    }

    #[test]
    fn a_port_that_refuses_was_hit_all_the_same() {
        for address in loopbacks() {
            let refusing =
                Socket::new(Domain::for_address((address, 0).into()), Type::STREAM, None).expect("a socket");
            refusing.bind(&SocketAddr::new(address, 0).into()).expect("a free port");
            let to = refusing.local_addr().expect("bound").as_socket().expect("of IP");
            hit(to, StepTransport::Tcp, b"", None).expect("a refusal is an answer");
        }
    }

    #[test]
    fn hits_come_from_the_source_that_was_asked_for() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        server.set_read_timeout(Some(SOON)).expect("not zero");
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
        hit(server.local_addr().expect("bound"), StepTransport::Udp, b"", Some(source))
            .expect("our own address");
        assert_eq!(server.recv_from(&mut [0]).expect("a datagram").1.ip(), source);
        // No machine has an address that is for documentation.
        let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        for transport in [StepTransport::Tcp, StepTransport::Udp] {
            let error = hit(server.local_addr().expect("bound"), transport, b"", Some(foreign))
                .expect_err("not ours");
            assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        }
    }

    #[test]
    fn a_port_that_does_not_answer_delays_nothing() {
        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        silent.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        silent.listen(1).expect("a bound socket");
        let to = silent.local_addr().expect("bound").as_socket().expect("of IP");
        let start = Instant::now();
        // More than its queue holds: what comes later gets no answer.
        for _ in 0..20 {
            hit(to, StepTransport::Tcp, b"", None).expect("loopback is reachable");
        }
        assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    }

    /// IPv6 is left out where there is none.
    fn loopbacks() -> Vec<IpAddr> {
        let all = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        all.into_iter().filter(|address| UdpSocket::bind((*address, 0)).is_ok()).collect()
    }
}
