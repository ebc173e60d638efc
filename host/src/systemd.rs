//! Systemd: what the daemon says to the service manager, and what that keeps for it over a restart.
//!
//! It is for the process that systemd started, and for no other role. Without systemd there is no receiver, and that is no failure.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sd_notify::NotifyState;

/// Where systemd listens for what a service says of itself.
#[derive(Debug)]
pub struct ServiceManager {
    /// None without systemd.
    address: Option<SocketAddr>,
}

impl ServiceManager {
    /// The one that started this process, if one did.
    #[must_use]
    pub fn of_this_process() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET");
        // One that cannot be an address cannot be told that either.
        Self { address: address.and_then(|address| address_of(&address).ok()) }
    }

    /// The start, or a reload, is done.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// A reload begins now; [`Self::ready`] must follow. To systemd with `Type=notify-reload` the time makes this the answer to the reload
    /// that it asked for last, rather than to an earlier one.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// The daemon is about to end.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// The daemon works; see [`watchdog_timeout`].
    pub fn alive(&self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// Has systemd keep a copy of a descriptor under this name, in place of what it kept under it before; the next run gets it from
    /// [`take_stored`]. The unit needs `FileDescriptorStoreMax=`.
    ///
    /// It stays until it is replaced or the unit is stopped. systemd is told not to poll it: of a netlink socket there is no other end that
    /// could be gone, and systemd would take a pending error for that.
    ///
    /// # Errors
    /// If systemd cannot be reached. Without systemd nothing is kept, and that is no error.
    pub fn store(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        // Else the one from before would count towards FileDescriptorStoreMax=.
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[])?;
        self.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n"), &[descriptor])
    }

    /// Has systemd keep nothing under this name any more.
    pub fn forget(&self, name: &str) {
        // If systemd cannot be reached it does not keep it for long.
        drop(self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[]));
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        // If systemd cannot be reached it cannot be told that either.
        drop(self.send(&message, &[]));
    }

    fn send(&self, message: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some(address) = &self.address else { return Ok(()) };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(address)?;
        // Waits while the queue of systemd is full, but not for ever: then it has to judge by what it has heard.
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        sendmsg(&socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// How long a message waits for systemd to take it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A path, or the name of an abstract socket behind an `@`.
fn address_of(address: &OsStr) -> io::Result<SocketAddr> {
    match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(address),
    }
}

/// After how long without [`ServiceManager::alive`] systemd restarts the daemon; none if it does not.
#[must_use]
pub fn watchdog_timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
}

/// What systemd kept for this run, by name; close-on-exec. To be called once: what is not taken then is closed.
///
/// # Errors
/// If systemd says that it passed descriptors, and they are not there or may not be taken.
pub fn take_stored() -> io::Result<Vec<(String, OwnedFd)>> {
    sd_notify::listen_fds_with_names()?.map(|(number, name)| Ok((name, take(number)?))).collect()
}

/// The descriptor with this number. Only the kernel can tell whether there is one, and without `unsafe` a number cannot be owned: so this
/// process is asked for a copy by way of its own pidfd, as it always may, and the number is closed.
fn take(number: RawFd) -> io::Result<OwnedFd> {
    let itself = pidfd_open(getpid(), PidfdFlags::empty());
    let owned = itself.and_then(|itself| pidfd_getfd(itself.as_fd(), number, PidfdGetfdFlags::empty()));
    // Also if there is no copy: what is held by a number alone would stay open for good.
    nix::unistd::close(number)?;
    Ok(owned?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{IoSliceMut, Read as _, Seek as _, Write as _};
    use std::os::fd::IntoRawFd;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// A socket as systemd has it, and who speaks to it.
    fn manager() -> (tempfile::TempDir, UnixDatagram, ServiceManager) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager { address: Some(address_of(path.as_os_str()).unwrap()) };
        (folder, socket, manager)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut text = [0; 512];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    #[test]
    fn a_reload_says_when_it_began() {
        let (_folder, socket, manager) = manager();
        let before = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
        manager.reloading();
        let said = heard(&socket);
        let at = said
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .and_then(|rest| rest.trim().parse::<i64>().ok());
        assert!(at.is_some_and(|at| (before..=before + 60).contains(&(at / 1_000_000))), "{said}");
        manager.ready();
        assert_eq!(heard(&socket), "READY=1\n");
        manager.alive();
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
        manager.stopping();
        assert_eq!(heard(&socket), "STOPPING=1\n");
    }

    #[test]
    fn a_descriptor_is_stored_in_place_of_the_one_before() {
        let (_folder, socket, manager) = manager();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"inside").unwrap();
        manager.store("owner", file.as_fd()).unwrap();
        assert_eq!(heard(&socket), "FDSTOREREMOVE=1\nFDNAME=owner\n");
        let mut text = [0; 512];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length =
            recvmsg(&socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC);
        assert_eq!(&text[..length.unwrap().bytes], b"FDSTORE=1\nFDNAME=owner\nFDPOLL=0\n");
        let received = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let mut received = File::from(received.collect::<Vec<_>>().remove(0));
        let mut content = String::new();
        received.rewind().unwrap();
        received.read_to_string(&mut content).unwrap();
        assert_eq!(content, "inside");
    }

    #[test]
    fn an_abstract_socket_is_one_too() {
        let name = format!("postern-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        ServiceManager { address: address_of(format!("@{name}").as_ref()).ok() }.ready();
        assert_eq!(heard(&socket), "READY=1\n");
    }

    #[test]
    fn without_systemd_nothing_is_said_and_nothing_kept() {
        let manager = ServiceManager { address: None };
        manager.ready();
        manager.store("owner", tempfile::tempfile().unwrap().as_fd()).unwrap();
        assert!(take_stored().unwrap().is_empty());
    }

    #[test]
    fn a_descriptor_is_taken_by_its_number_once() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"inside").unwrap();
        file.rewind().unwrap();
        let number = file.into_raw_fd();
        let taken = take(number).unwrap();
        let mut content = String::new();
        File::from(taken).read_to_string(&mut content).unwrap();
        assert_eq!(content, "inside");
    }
}
