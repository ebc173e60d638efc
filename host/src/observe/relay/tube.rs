//! ReportTube: by which a role tells its reports: whole messages on a socket, each with its time.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_send_buffer_size, set_socket_send_buffer_size_force};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use rustix::time::{ClockId, clock_gettime};

/// Bytes of reports that may be on their way: some thousands.
const BUFFER: usize = 4 << 20;
/// Bytes of the time before each message: nanoseconds of the monotonic clock, which is one for all processes.
pub(super) const TIME: usize = 8;
/// The longest message; a report with all that a rule may write into it is shorter.
pub(super) const LONGEST: usize = 128 << 10;
/// How long a role waits for room for one of its last reports.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A role's end.
#[derive(Clone, Debug)]
pub(crate) struct ReportTube {
    socket: Arc<OwnedFd>,
    dropped: Arc<AtomicU64>,
}

impl ReportTube {
    /// Both ends: the supervisor's, and a role's.
    ///
    /// # Errors
    /// If there are too many open files.
    pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let (ours, of_role) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // Only CAP_NET_ADMIN may go over the system's limit; a smaller buffer is full earlier.
        if set_socket_send_buffer_size_force(&of_role, BUFFER).is_err() {
            let _ = set_socket_send_buffer_size(&of_role, BUFFER);
        }
        Ok((ours, of_role))
    }

    /// The end that the supervisor gave this role.
    pub(super) fn of_role(socket: OwnedFd) -> Self {
        Self { socket: Arc::new(socket), dropped: Arc::default() }
    }

    /// Messages that found no room so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Sends a message now; without room it is dropped, one of the last after a moment.
    pub(super) fn send(&self, is_last: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let mut message = now().to_ne_bytes().to_vec();
        write(&mut message);
        loop {
            match send(&*self.socket, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if is_last => {
                    let mut fds = [PollFd::new(&*self.socket, PollFlags::OUT)];
                    if !matches!(poll(&mut fds, Some(&PATIENCE)), Ok(1)) {
                        break;
                    }
                }
                Ok(_) => return,
                Err(_) => break,
            }
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(now.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(now.tv_nsec))
}
