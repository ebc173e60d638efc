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

/// What a `postern.toml` says under `[control]`.
pub(crate) fn read(table: &Table<'_>) -> ControlSocket {
    let Some(table) = table.table("control") else { return ControlSocket::Usual };
    let socket = match table.text("socket") {
        None => ControlSocket::Usual,
        Some(At { value: "none", .. }) => ControlSocket::None,
        Some(At { value, place }) => {
            let path = PathBuf::from(value);
            if !path.is_absolute() || path.file_name().is_none() {
                table.mistake(
                    &place,
                    format!(
                        "`{value}` is no path from the root; write such as \"/run/postern/control.sock\", or \"none\""
                    ),
                );
            } else if value.len() > LONGEST_PATH {
                let bytes = value.len();
                table.mistake(
                    &place,
                    format!("{bytes} bytes are too long for a socket; at most {LONGEST_PATH}"),
                );
            }
            ControlSocket::At(path)
        }
    };
    table.finish();
    socket
}
