//! Service: something that listens on the server and answers, so that a test can tell an open port from a closed one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::namespace::Namespace;

/// How often a service looks whether it should end.
const TICK: Duration = Duration::from_millis(20);

/// A service on one port of all addresses of a namespace; ends when dropped.
#[derive(Debug)]
pub struct Service {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Says "hello" to each client that connects, then sends back what it gets. Port 0 means any free one.
    #[must_use]
    pub fn tcp(namespace: &Namespace, port: u16) -> Self {
        let listener =
            namespace.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).expect("the port is free");
        listener.set_nonblocking(true).expect("a fresh socket can be told so");
        let port = listener.local_addr().map_or(port, |address| address.port());
        Self::start(port, move |stop| {
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let stop = Arc::clone(stop);
                        thread::spawn(move || converse(stream, &stop));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        })
    }

    /// Sends every datagram back. Port 0 means any free one.
    #[must_use]
    pub fn udp(namespace: &Namespace, port: u16) -> Self {
        let socket =
            namespace.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))).expect("the port is free");
        socket.set_read_timeout(Some(TICK)).expect("not zero");
        let port = socket.local_addr().map_or(port, |address| address.port());
        Self::start(port, move |stop| {
            let mut buffer = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                let received: Result<(usize, SocketAddr), _> = socket.recv_from(&mut buffer);
                if let Ok((length, from)) = received {
                    // The asker tries again if this is lost.
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    fn start(port: u16, work: impl FnOnce(&Arc<AtomicBool>) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stop_there = Arc::clone(&stop);
        Self { port, stop, thread: Some(thread::spawn(move || work(&stop_there))) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there was printed there.
            let _ = thread.join();
        }
    }
}

fn converse(mut stream: TcpStream, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    if stream.set_read_timeout(Some(TICK)).is_err() || stream.write_all(b"hello\n").is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => {
                if stream.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
