//! Tries what must fail now. Owns the attempts: what succeeds is a missing barrier, whatever was put up before. Nothing that is tried leaves
//! a trace if it succeeds, and no packet.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, Stat, fstat, open, stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Uid, getpid, getppid, pidfd_getfd, pidfd_open, test_kill_process,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities, set_thread_res_uid};

use crate::confinement::{Capabilities, Confinement, Files};
use crate::held::{Barrier, Held};
use crate::status::Status;

/// Stands in no file system.
const NOWHERE: &str = "/proc/self/this program does not exist";

/// What is tried, with what had to be prepared for it.
pub(crate) struct Proof {
    /// `None` if capabilities were no subject.
    kept: Option<CapabilitySet>,
    has_list: bool,
    /// No file but what was left to it may be opened; `None` if files were no subject.
    files: Option<FilesProof>,
    may_gain_privileges: bool,
    /// Whoever started this process, if this process can see it at all.
    parent: Option<Parent>,
    /// An abstract socket from before.
    abstract_socket: Option<(SocketAddr, UnixListener)>,
}

struct FilesProof {
    /// The root itself is among what may be read.
    may_read_root: bool,
}

struct Parent {
    process: Pid,
    /// Kernels before 5.3 have none.
    descriptor: Option<OwnedFd>,
}

impl Proof {
    /// Before anything is given up.
    pub(crate) fn prepare(confinement: &Confinement) -> Self {
        let files = match &confinement.files {
            Files::All => None,
            Files::Readable(folders) => Some(FilesProof { may_read_root: contains_root(folders) }),
        };
        let abstract_socket = files.is_some().then(listen).flatten();
        let parent = getppid()
            .map(|process| Parent { process, descriptor: pidfd_open(process, PidfdFlags::empty()).ok() });
        let kept = match confinement.capabilities {
            Capabilities::All => None,
            Capabilities::Only(kept) => Some(kept),
        };
        Self {
            kept,
            has_list: confinement.system_calls.is_some(),
            files,
            may_gain_privileges: confinement.may_gain_privileges,
            parent,
            abstract_socket,
        }
    }

    /// What user, capabilities and Landlock refuse, before a list of system calls would refuse it in their stead.
    pub(crate) fn try_rights(&self, held: &mut Held) {
        if held.holding().contains(&Barrier::Account) {
            let root = Uid::ROOT;
            must_fail(
                held,
                Barrier::Account,
                set_thread_res_uid(root, root, root),
                "it can become root again",
            );
        }
        if let Some(kept) = self.kept
            && held.holding().contains(&Barrier::Capabilities)
        {
            must_fail(held, Barrier::Capabilities, regain(kept), "it can take capabilities again");
        }
        if let Some(files) = &self.files
            && held.holding().contains(&Barrier::Landlock)
        {
            must_fail(held, Barrier::Landlock, files.try_to_open(), "is on, and other files can be opened");
        }
    }

    /// What it can reach in the end, whichever barrier stops it.
    pub(crate) fn try_reach(&self, held: &mut Held) {
        if self.kept.is_some_and(|kept| !kept.contains(CapabilitySet::NET_RAW)) {
            let packets = socket(AddressFamily::PACKET, SocketType::RAW);
            must_fail(held, Barrier::PacketSockets, packets, "one can be opened");
        }
        if let Some(files) = &self.files {
            must_fail(held, Barrier::Files, files.try_to_open(), "other files can be opened");
            self.try_outside(held);
        }
        if self.has_list || self.files.is_some() {
            must_fail(held, Barrier::Tcp, try_tcp(), "connections can be made");
        }
        if self.has_list {
            try_to_start(held);
        }
    }

    /// What the kernel says of this process, against what was done.
    pub(crate) fn compare(&self, status: Option<&Status>, held: &mut Held) {
        let Some(status) = status else { return };
        let mut expect = |barrier, name: &str, wanted: &str| {
            let is = status.value(name);
            // A kernel that does not say was said to have none before.
            let is_wrong = is.as_deref().is_some_and(|is| is != wanted);
            if is_wrong && held.holding().contains(&barrier) {
                let is = is.unwrap_or_default();
                held.note(barrier, Err(format!("the kernel says {name} {is} where it should say {wanted}")));
            }
        };
        if self.has_list {
            expect(Barrier::SystemCalls, "Seccomp", "2");
        }
        if !self.may_gain_privileges {
            expect(Barrier::NoNewPrivileges, "NoNewPrivs", "1");
        }
        if let Some(kept) = self.kept
            && let Some(left) = status.value("CapPrm")
        {
            expect(Barrier::Capabilities, "CapEff", &left);
            if u64::from_str_radix(&left, 16).is_ok_and(|left| left & !kept.bits() != 0) {
                held.note(Barrier::Capabilities, Err(format!("the kernel says that {left} are left")));
            }
        }
    }

    fn try_outside(&self, held: &mut Held) {
        if let Some((address, _)) = &self.abstract_socket {
            let connection = UnixStream::connect_addr(address);
            must_fail(held, Barrier::AbstractSockets, connection, "those of others can be connected to");
        }
        let Some(parent) = &self.parent else { return };
        let signal = test_kill_process(parent.process);
        must_fail(held, Barrier::Signals, signal, "the process that started it can be signalled");
        if let Some(descriptor) = &parent.descriptor {
            // Standard input; that it may be closed is an answer of somebody who would have looked.
            let taken = match pidfd_getfd(descriptor, 0, PidfdGetfdFlags::empty()) {
                Err(Errno::BADF) => Ok(()),
                other => other.map(drop),
            };
            must_fail(
                held,
                Barrier::Tracing,
                taken,
                "descriptors of the process that started it can be taken",
            );
        }
    }
}

impl FilesProof {
    /// `Ok` if anything could be opened that must not be.
    fn try_to_open(&self) -> Result<(), Errno> {
        // Both are there, and open to everybody, on every system.
        let write = || open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).map(drop);
        let read =
            || open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(drop);
        if self.may_read_root { write() } else { read().or_else(|_| write()) }
    }
}

/// Notes an attempt that should have failed.
fn must_fail<T, E>(held: &mut Held, barrier: Barrier, attempt: Result<T, E>, what: &str) {
    let outcome = match attempt {
        Ok(_) => Err(what.to_owned()),
        Err(_) => Ok(()),
    };
    held.note(barrier, outcome);
}

/// Tries to be permitted one more than what is kept.
fn regain(kept: CapabilitySet) -> Result<(), Errno> {
    let more = CapabilitySet::from_bits_retain(1 << (!kept.bits()).trailing_zeros());
    let mut sets = capabilities(None)?;
    sets.permitted |= more;
    sets.effective |= more;
    set_capabilities(None, sets)
}

/// A socket of TCP is bound, and connected to an address that no connection goes to, so that the kernel refuses it after Landlock has.
fn try_tcp() -> Result<(), Errno> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM)?;
    if bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).is_ok() {
        return Ok(());
    }
    match connect(&socket, &SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), 9)) {
        Err(error @ (Errno::ACCESS | Errno::PERM)) => Err(error),
        // The network said no, so Landlock did not.
        _ => Ok(()),
    }
}

/// A program that does not exist: where processes can be made, that is what is missing.
fn try_to_start(held: &mut Held) {
    let streams = || Stdio::inherit();
    let started = Command::new(NOWHERE).stdin(streams()).stdout(streams()).stderr(streams()).spawn();
    let outcome = match started {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Ok(()),
        Err(_) | Ok(_) => Err("processes can be started"),
    };
    held.note(Barrier::Execution, outcome.map_err(str::to_owned));
}

fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// Where others could be met, made while that is allowed.
fn listen() -> Option<(SocketAddr, UnixListener)> {
    let name = format!("proof-of-confinement-{}", getpid().as_raw_pid());
    let address = SocketAddr::from_abstract_name(name).ok()?;
    let listener = UnixListener::bind_addr(&address).ok()?;
    Some((address, listener))
}

fn contains_root(folders: &[OwnedFd]) -> bool {
    let is_same = |a: &Stat, b: &Stat| a.st_dev == b.st_dev && a.st_ino == b.st_ino;
    let Ok(root) = stat("/") else { return false };
    folders.iter().any(|folder| fstat(folder).is_ok_and(|folder| is_same(&folder, &root)))
}
