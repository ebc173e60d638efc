//! Hook: where a base chain is asked, and on which side of redirections that is.

/// A hook of the families ip, ip6 and inet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// NF_IP_PRI_CONNTRACK: from where on a packet belongs to a connection.
const TRACKING: i32 = -200;
/// NF_IP_PRI_NAT_DST and NF_IP_PRI_NAT_SRC: where redirections are, and where answers get back the port that was dialled.
const REDIRECTIONS: i32 = -100;
const BACK: i32 = 100;

impl Hook {
    /// As the kernel numbers them (include/uapi/linux/netfilter.h); none for hooks of network devices.
    pub(super) const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Prerouting),
            1 => Some(Self::Input),
            2 => Some(Self::Forward),
            3 => Some(Self::Output),
            4 => Some(Self::Postrouting),
            _ => None,
        }
    }

    /// Whether a packet belongs to a connection here.
    pub(super) const fn is_tracked(self, priority: i32) -> bool {
        !matches!(self, Self::Prerouting | Self::Output) || priority >= TRACKING
    }

    /// Whether the first packet of a connection has come by redirections here.
    pub(super) const fn is_behind_redirections(self, priority: i32) -> bool {
        !matches!(self, Self::Prerouting) || priority > REDIRECTIONS
    }

    /// Whether what answers it has the address and port again that were dialled.
    pub(super) const fn is_changed_back(self, priority: i32) -> bool {
        matches!(self, Self::Postrouting) && priority > BACK
    }
}
