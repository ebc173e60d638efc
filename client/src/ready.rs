//! Ready: waiting for the end of connects that were begun. It reads and writes nothing.

use std::time::{Duration, Instant};

use socket2::Socket;

/// How often connects are looked at where they cannot be waited for.
const LOOK: Duration = Duration::from_millis(1);

/// Returns as soon as one of the connects has succeeded or failed, and at the latest at `until`; maybe earlier.
///
/// None of the sockets may be one whose connect has ended, or it returns at once.
#[cfg(unix)]
pub(crate) fn wait_for_any<'a>(sockets: impl Iterator<Item = &'a Socket>, until: Instant) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;

    let mut sockets: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
    let left = until.saturating_duration_since(Instant::now());
    // More seconds than it can count are as good as for ever.
    let limit = Timespec::try_from(left).ok();
    match poll(&mut sockets, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => std::thread::sleep(left.min(LOOK)),
    }
}

/// The same, by looking again soon: the standard library and socket2 have no way to wait for several sockets.
#[cfg(not(unix))]
pub(crate) fn wait_for_any<'a>(_: impl Iterator<Item = &'a Socket>, until: Instant) {
    std::thread::sleep(until.saturating_duration_since(Instant::now()).min(LOOK));
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use socket2::{Domain, Type};

    use super::*;
    use crate::hit::start_connect;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn it_ends_with_the_first_connect_that_ends_either_way() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let refusing = bound();
        let ends = [listener.local_addr().expect("bound"), address(&refusing)];
        let (silent, _queue) = silent();
        for end in ends {
            let start = Instant::now();
            let sockets =
                [silent, end].map(|to| start_connect(to, None, |_| Ok(())).expect("loopback is reachable"));
            wait_for_any(sockets.iter(), start + LONG);
            assert!(start.elapsed() < LONG / 2, "{end}: {:?}", start.elapsed());
        }
    }

    #[test]
    fn it_ends_in_time_if_nothing_happens() {
        let (silent, _queue) = silent();
        let socket = start_connect(silent, None, |_| Ok(())).expect("loopback is reachable");
        for sockets in [&[][..], &[socket]] {
            let start = Instant::now();
            let until = start + Duration::from_millis(30);
            while Instant::now() < until {
                wait_for_any(sockets.iter(), until);
            }
            assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
            wait_for_any(sockets.iter(), start);
        }
    }

    /// A port whose queue is full: it answers no further connect.
    fn silent() -> (SocketAddr, Vec<Socket>) {
        let listener = bound();
        listener.listen(0).expect("a bound socket");
        let to = address(&listener);
        let queued = (0..8).map(|_| start_connect(to, None, |_| Ok(())).expect("loopback is reachable"));
        let mut queue: Vec<_> = queued.collect();
        queue.push(listener);
        (to, queue)
    }

    fn bound() -> Socket {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        socket
    }

    fn address(socket: &Socket) -> SocketAddr {
        socket.local_addr().expect("bound").as_socket().expect("of IP")
    }
}
