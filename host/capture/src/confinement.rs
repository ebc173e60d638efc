//! Confinement: what a thread of a test gives up, as a process that captures without capabilities does.

use std::collections::BTreeMap;

use nix::libc;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// This thread and those that it starts have no capability from now on, and end if they open a socket.
pub(crate) fn confine() {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
    let refused = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None);
    assert_eq!(refused.err(), Some(Errno::PERM), "the capability is gone");
    let (allow, end) = (SeccompAction::Allow, SeccompAction::KillThread);
    let rules = BTreeMap::from([(libc::SYS_socket, Vec::new())]);
    let filter = SeccompFilter::new(rules, allow, end, std::env::consts::ARCH.try_into().unwrap()).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}
