//! Changes: notices when another program changes the nftables ruleset. It only listens and changes nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::SocketAddr;
use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;

use crate::error::DoormanError;
use crate::socket::{messages_of, receive, set_receive_buffer};

/// The multicast group for changes of the ruleset (`NFNLGRP_NFTABLES` of include/uapi/linux/netfilter/nfnetlink.h).
const NFTABLES_GROUP: u32 = 7;

/// Room for some twenty thousand changes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Bytes that one datagram may have.
const INBOX: usize = 1 << 16;

/// How many datagrams are read at once; more of them are a change in any case.
const ENOUGH: usize = 4096;

// include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h
const NFNL_SUBSYS_NFTABLES: u8 = 10;
const NFT_MSG_NEWSETELEM: u8 = 12;
const NFT_MSG_NEWGEN: u8 = 15;

/// The kernel's notifications of changes to the ruleset of one network namespace: that of the thread which called [`Changes::watch`].
///
/// An element that expires is not notified.
pub struct Changes {
    socket: netlink_sys::Socket,
    ours: u32,
    inbox: Vec<u8>,
}

impl Changes {
    /// Begins to watch for changes that `ours`, see [`crate::Doorman::port_id`], did not make.
    ///
    /// # Errors
    ///
    /// [`DoormanError::Unreachable`]; needs CAP_NET_ADMIN.
    pub fn watch(ours: u32) -> Result<Self, DoormanError> {
        let open = || -> io::Result<netlink_sys::Socket> {
            let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            set_receive_buffer(&socket, RECEIVE_BUFFER)?;
            socket.add_membership(NFTABLES_GROUP)?;
            Ok(socket)
        };
        Ok(Self { socket: open().map_err(DoormanError::Unreachable)?, ours, inbox: vec![0; INBOX] })
    }

    /// Reads all pending notifications, without waiting for more, and says whether another program may have removed something of ours.
    /// Additions to sets do not count: on some machines there are many a second, and they take nothing away.
    ///
    /// Lost notifications count as such a change.
    pub fn drain(&mut self) -> bool {
        let mut changed = false;
        for _ in 0..ENOUGH {
            match receive(&self.socket, &mut self.inbox) {
                Ok(length) => changed |= self.has_change(length),
                Err(Errno::AGAIN) => return changed,
                Err(Errno::INTR) => {}
                Err(_) => changed = true,
            }
        }
        true
    }

    fn has_change(&self, length: usize) -> bool {
        messages_of(&self.inbox[..length]).any(|message| {
            let [kind, subsystem] = message.message_type().to_le_bytes();
            subsystem == NFNL_SUBSYS_NFTABLES
                && !matches!(kind, NFT_MSG_NEWSETELEM | NFT_MSG_NEWGEN)
                && message.port_number() != self.ours
        })
    }
}

impl AsFd for Changes {
    /// Readable when a notification is pending.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
