//! The messages between the daemon's processes, and the sockets that carry them.
