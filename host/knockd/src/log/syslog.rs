//! Syslog: datagrams to the local daemon, which may be slow, absent or restarted.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use jiff::Zoned;

/// Facility USER, level NOTICE: what knockd uses for everything.
const PRIORITY: u8 = 13;

/// A socket that is connected when there is something to say.
#[derive(Debug)]
pub(super) struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }

    /// Sends a message, or drops it: a daemon whose queue is full is not waited for; to one that is gone the socket
    /// is connected anew, once. False if the message was dropped.
    pub(super) fn send(&mut self, text: &[u8], now: &Zoned) -> bool {
        let datagram = datagram(text, now);
        if let Some(socket) = &self.socket {
            match socket.send(&datagram) {
                Ok(_) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => self.socket = None,
            }
        }
        self.socket = connect(&self.path).ok();
        self.socket.as_ref().is_some_and(|socket| socket.send(&datagram).is_ok())
    }
}

/// As glibc's `syslog` writes it for ident `knockd` without PID, local time.
pub(super) fn datagram(text: &[u8], now: &Zoned) -> Vec<u8> {
    let mut datagram = format!("<{PRIORITY}>{} knockd: ", now.strftime("%b %e %H:%M:%S")).into_bytes();
    datagram.extend_from_slice(text);
    datagram
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // Before connecting, which can wait for a daemon whose queue is full.
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}
