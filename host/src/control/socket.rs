//! The socket that clients connect to.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use postern_config::ControlSocket;
use postern_protocol::DEFAULT_SOCKET;
use rustix::fs::OFlags;
use thiserror::Error;

use crate::state;

/// What a socket is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketUse {
    /// The key that names it, for messages.
    pub(crate) key: &'static str,
    /// Who may connect.
    pub(crate) mode: u32,
}

impl SocketUse {
    /// Everybody may ask who may ask; see `access`.
    pub(crate) const CONTROL: Self = Self { key: "[control] socket", mode: 0o666 };
}

/// A socket that nobody else has, and that is gone with this.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Locked as long as this lives: a socket that a daemon left behind looks like one that is in use.
    _lock: File,
}

/// Why there is no socket.
#[derive(Debug, Error)]
pub(crate) enum NoSocket {
    /// Another daemon has it.
    #[error("{} is another daemon's, which answers there; give each daemon a socket of its own, or none: {key}", path.display())]
    Held { path: PathBuf, key: &'static str },
    /// There is something else at its path.
    #[error("{} is there and no socket; remove it, or name another path: {key}", path.display())]
    InTheWay { path: PathBuf, key: &'static str },
    /// The system does not let it be made.
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Where the socket is to be; none if there is to be none. Where nothing is said, it is in the daemon's own folder below `/run`.
pub(crate) fn socket_path(said: &ControlSocket) -> Option<PathBuf> {
    match said {
        ControlSocket::None => None,
        ControlSocket::At(path) => Some(path.clone()),
        ControlSocket::Usual => {
            let name = Path::new(DEFAULT_SOCKET).file_name().unwrap_or_default();
            Some(state::runtime_folder().join(name))
        }
    }
}

impl BoundSocket {
    /// Listens at `path`, in place of a daemon that is gone.
    ///
    /// # Errors
    /// If another daemon listens there, or it cannot be made.
    pub(crate) fn bind(path: &Path, SocketUse { key, mode }: SocketUse) -> Result<Self, NoSocket> {
        let failed = |error| NoSocket::Io { path: path.to_owned(), error };
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            fs::create_dir_all(folder).map_err(failed)?;
            fs::set_permissions(folder, Permissions::from_mode(0o755)).map_err(failed)?;
        }
        let lock =
            lock(path).map_err(failed)?.ok_or_else(|| NoSocket::Held { path: path.to_owned(), key })?;
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
            Ok(_) => return Err(NoSocket::InTheWay { path: path.to_owned(), key }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle of it.
    pub(crate) fn try_clone(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Locks a file beside the socket; none if another daemon has.
fn lock(socket: &Path) -> io::Result<Option<File>> {
    let mut name = socket.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let path = socket.with_file_name(name);
    let file =
        OpenOptions::new().read(true).write(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn one_daemon_has_it_and_the_next_one_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/control.sock");
        let first = BoundSocket::bind(&path, SocketUse::CONTROL).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert!(UnixStream::connect(&path).is_ok());
        let held = BoundSocket::bind(&path, SocketUse::CONTROL).unwrap_err().to_string();
        assert!(held.contains("another daemon's"), "{held}");
        assert!(UnixStream::connect(&path).is_ok(), "the first goes on");
        drop(first);
        assert!(!path.exists());
        drop(BoundSocket::bind(&path, SocketUse::CONTROL).unwrap());
    }

    #[test]
    fn what_a_killed_daemon_left_is_in_nobodys_way_and_what_is_no_socket_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as after a kill");
        drop(BoundSocket::bind(&path, SocketUse::CONTROL).unwrap());
        fs::write(&path, "mine").unwrap();
        assert!(matches!(BoundSocket::bind(&path, SocketUse::CONTROL), Err(NoSocket::InTheWay { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
