//! KeptConnections: what became of connections when their port became guarded.

use std::io;

/// What became of the connections whose port became guarded.
#[derive(Debug, Default)]
pub struct KeptConnections {
    /// Ports and ranges of ports that became guarded.
    pub ports: usize,
    /// TCP connections that live on, idle or not.
    pub connections: usize,
    /// TCP connections that are cut until the door is opened for their client, as `on_close` says.
    pub cut: usize,
    /// Why idle connections may be cut: the kernel could not list them, or could not track them.
    pub failed: Option<io::Error>,
}
