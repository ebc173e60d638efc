//! What `postern.toml` says of the control socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::table::{At, Table};

/// The longest path of a socket, in bytes: what the kernel takes, with the end of a text.
const LONGEST_PATH: usize = 107;

/// Where the daemon can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlSocket {
    /// Where clients look for it unless they are told otherwise.
    #[default]
    Usual,
    /// There.
    At(#[serde(with = "postern_core::os_text")] PathBuf),
    /// Nowhere.
    None,
}

/// Why a text is no path of a socket.
pub(crate) enum NotASocket {
    /// It is no path from the root.
    NoPath,
    /// It is longer than the kernel takes, and what to say.
    TooLong(String),
}

/// The path of a socket.
pub(crate) fn socket_path(value: &str) -> Result<PathBuf, NotASocket> {
    let (path, bytes) = (PathBuf::from(value), value.len());
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(NotASocket::NoPath);
    }
    if bytes > LONGEST_PATH {
        let what = format!("{bytes} bytes are too long for a socket; at most {LONGEST_PATH}");
        return Err(NotASocket::TooLong(what));
    }
    Ok(path)
}

/// What a `postern.toml` says under `[control]`.
pub(crate) fn read(table: &Table<'_>) -> ControlSocket {
    let Some(table) = table.table("control") else { return ControlSocket::Usual };
    let socket = match table.text("socket") {
        None => ControlSocket::Usual,
        Some(At { value: "none", .. }) => ControlSocket::None,
        Some(At { value, place }) => match socket_path(value) {
            Ok(path) => ControlSocket::At(path),
            Err(error) => {
                let what = match error {
                    NotASocket::NoPath => format!(
                        "`{value}` is no path from the root; write such as \"/run/postern/control.sock\", or \"none\""
                    ),
                    NotASocket::TooLong(what) => what,
                };
                table.mistake(&place, what);
                ControlSocket::None
            }
        },
    };
    table.finish();
    socket
}
