//! The socket at which metrics are asked for.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use postern_config::MetricsListen;
use serde::{Deserialize, Serialize};

use crate::control::{BoundSocket, SocketUse};

/// Of metrics: root and the daemon's own user may read them.
const USE: SocketUse = SocketUse { key: "[metrics] listen", mode: 0o600 };

/// A socket that is listened at.
#[derive(Debug)]
pub(crate) enum MetricsSocket {
    Tcp(TcpListener),
    Unix(UnixListener, Option<BoundSocket>),
}

/// Which kind of socket a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SocketKind {
    Tcp,
    Unix,
}

impl MetricsSocket {
    /// Listens as the configuration says; none if it says nowhere.
    ///
    /// # Errors
    /// If that cannot be, with what to do.
    pub(crate) fn bind(listen: &MetricsListen) -> Result<Option<Self>, String> {
        match listen {
            MetricsListen::None => Ok(None),
            MetricsListen::Tcp(address) => {
                let listener = TcpListener::bind(address).map_err(|error| not_bound(*address, &error))?;
                Ok(Some(Self::Tcp(listener)))
            }
            MetricsListen::Unix(path) => {
                let bound = BoundSocket::bind(path, USE).map_err(|error| error.to_string())?;
                let listener = bound.try_clone().map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(Some(Self::Unix(listener, Some(bound))))
            }
        }
    }

    /// One that another process has bound.
    pub(crate) fn given(descriptor: OwnedFd, kind: SocketKind) -> Self {
        match kind {
            SocketKind::Tcp => Self::Tcp(descriptor.into()),
            SocketKind::Unix => Self::Unix(descriptor.into(), None),
        }
    }

    /// The socket's file, which is removed when this is dropped, if it is this process's.
    pub(crate) const fn take_file(&mut self) -> Option<BoundSocket> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, file) => file.take(),
        }
    }

    /// What [`MetricsSocket::given`] must know of it.
    pub(crate) const fn kind(&self) -> SocketKind {
        match self {
            Self::Tcp(_) => SocketKind::Tcp,
            Self::Unix(..) => SocketKind::Unix,
        }
    }
}

impl AsFd for MetricsSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

fn not_bound(address: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "; something else listens there: choose another port",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    };
    format!("{address}: {error}{remedy}: [metrics] listen")
}
