//! What `postern.toml` says of metrics.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::control_settings::{NotASocket, socket_path};
use crate::table::{At, Table};

/// In front of the path of a socket.
const UNIX: &str = "unix:";

/// Where the daemon hands its metrics out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricsListen {
    /// Nowhere.
    #[default]
    None,
    /// To whoever can connect there.
    Tcp(SocketAddr),
    /// To root and the daemon's own user, at a socket with this path.
    Unix(#[serde(with = "postern_core::os_text")] PathBuf),
}

impl MetricsListen {
    /// Whether other machines may be able to connect.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().is_loopback(),
            Self::None | Self::Unix(_) => false,
        }
    }
}

/// What a `postern.toml` says under `[metrics]`.
pub(crate) fn read(table: &Table<'_>) -> MetricsListen {
    let Some(table) = table.table("metrics") else { return MetricsListen::None };
    let may_be_remote = table.flag("remote").unwrap_or(false);
    let listen = match table.text("listen") {
        None => MetricsListen::None,
        Some(At { value, place }) => {
            let listen = parse(value).unwrap_or_else(|what| {
                table.mistake(&place, what);
                MetricsListen::None
            });
            if listen.is_remote() && !may_be_remote {
                table.mistake(
                    &place,
                    format!(
                        "{value} is no address of this machine alone: whoever reaches it reads the names of tenants, rules and doors, and who \
                         knocks when; use such as \"127.0.0.1:9617\", or say `remote = true` and guard the port"
                    ),
                );
            }
            listen
        }
    };
    table.finish();
    listen
}

fn parse(value: &str) -> Result<MetricsListen, String> {
    if let Some(path) = value.strip_prefix(UNIX) {
        return match socket_path(path) {
            Ok(path) => Ok(MetricsListen::Unix(path)),
            Err(NotASocket::NoPath) => Err(format!(
                "`{value}` names no path from the root; write such as \"unix:/run/postern/metrics.sock\""
            )),
            Err(NotASocket::TooLong(what)) => Err(what),
        };
    }
    match value.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(MetricsListen::Tcp(address)),
        Ok(_) => Err(format!("`{value}` has no port; use 1 to 65535")),
        Err(_) => Err(format!(
            "`{value}` is neither an address with a port, such as \"127.0.0.1:9617\" or \"[::1]:9617\", nor \"unix:\" and the path of a socket"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Config;

    /// What a file with this `[metrics]` says, or its mistakes.
    fn load(metrics: &str) -> Result<MetricsListen, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postern.toml");
        fs::write(&file, format!("interfaces = [\"lo\"]\n[doors.ssh]\nguard = \"tcp/22\"\n{metrics}"))
            .unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        let said = Config::load(&file).map(|config| config.metrics).map_err(|mistakes| mistakes.to_string());
        said.map_err(|said| said.replace(&file.display().to_string(), "FILE"))
    }

    #[test]
    fn metrics_are_handed_out_where_it_says_and_nowhere_else() {
        assert_eq!(load(""), Ok(MetricsListen::None));
        assert_eq!(load("[metrics]"), Ok(MetricsListen::None));
        let tcp = |address: &str| Ok(MetricsListen::Tcp(address.parse().unwrap()));
        assert_eq!(load("[metrics]\nlisten = \"127.0.0.1:9617\""), tcp("127.0.0.1:9617"));
        assert_eq!(load("[metrics]\nlisten = \"[::1]:9617\""), tcp("[::1]:9617"));
        assert_eq!(load("[metrics]\nlisten = \"192.0.2.1:9617\"\nremote = true"), tcp("192.0.2.1:9617"));
        let unix = MetricsListen::Unix("/run/postern/metrics.sock".into());
        assert_eq!(load("[metrics]\nlisten = \"unix:/run/postern/metrics.sock\""), Ok(unix));
    }

    #[test]
    fn what_others_could_reach_has_to_be_said_and_what_makes_no_sense_is_a_mistake() {
        for (listen, said) in [
            ("192.0.2.1:9617", "FILE:5: metrics.listen: 192.0.2.1:9617 is no address of this machine alone"),
            ("0.0.0.0:9617", "FILE:5: metrics.listen: 0.0.0.0:9617 is no address of this machine alone"),
            ("localhost:9617", "FILE:5: metrics.listen: `localhost:9617` is neither an address with a port"),
            ("127.0.0.1", "FILE:5: metrics.listen: `127.0.0.1` is neither an address with a port"),
            ("127.0.0.1:0", "FILE:5: metrics.listen: `127.0.0.1:0` has no port"),
            ("unix:metrics.sock", "FILE:5: metrics.listen: `unix:metrics.sock` names no path from the root"),
        ] {
            let mistakes = load(&format!("[metrics]\nlisten = \"{listen}\"")).unwrap_err();
            assert!(mistakes.starts_with(said), "{mistakes}");
        }
        let long = format!("[metrics]\nlisten = \"unix:/{}\"", "x".repeat(107));
        assert!(load(&long).unwrap_err().contains("108 bytes are too long for a socket"));
    }
}
