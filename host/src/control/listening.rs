//! Listening: how somebody listens.

use std::net::IpAddr;

/// How somebody listens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Listening {
    /// To reports, for as long as it likes.
    ToReports,
    /// To reports, for an answer that comes soon.
    Briefly,
    /// To all that becomes of packets from this address.
    Follows(IpAddr),
}
