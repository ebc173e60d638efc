//! Parts that several lists share. Each is for one purpose, so that a list reads as a sentence.

use nix::libc::*;

use super::call::{
    Call, Test, allow, allow_if, allow_if_or_fail, bits, fail, has_no_upper_half, is, is_own_process,
};

#[allow(clippy::cast_sign_loss, reason = "constants without a sign, which the C library has as int")]
const fn u(value: c_int) -> u32 {
    value as u32
}

/// Memory that holds data.
pub(super) const DATA: &[Call] =
    &[allow(SYS_brk), allow(SYS_munmap), allow(SYS_mremap), allow(SYS_madvise), allow(SYS_getrandom)];

/// Mappings that can never be executed. A library that asks for one hears no instead of dying: it says so in its own words.
pub(super) const NO_CODE: &[Call] = &[
    allow_if_or_fail(SYS_mmap, &[&[bits(2, u(PROT_EXEC), 0)]], EACCES),
    allow_if_or_fail(SYS_mprotect, &[&[bits(2, u(PROT_EXEC), 0)]], EACCES),
    fail(SYS_pkey_mprotect, EACCES),
];

/// A new thread: shares memory, files and signal handlers, and has no namespace of its own.
const THREAD: u32 = u(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM);
const NAMESPACES: u32 = u(CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET);
const IS_THREAD: &[&[Test]] = &[&[bits(0, THREAD | NAMESPACES, THREAD)]];

/// Threads of this process, their locks, names and ends.
pub(super) const THREADS: &[Call] = &[
    // A process of its own is not for us, and not worth dying for: whoever tries hears no.
    allow_if_or_fail(SYS_clone, IS_THREAD, EPERM),
    // Its flags stand in memory, where a filter cannot look. The C library falls back to clone.
    fail(SYS_clone3, ENOSYS),
    allow(SYS_set_robust_list),
    allow(SYS_rseq),
    allow(SYS_futex),
    allow(SYS_sched_yield),
    allow(SYS_sched_getaffinity),
    // Of our own threads: a receiver goes where its sender is.
    allow(SYS_sched_setaffinity),
    allow(SYS_getcpu),
    allow(SYS_exit),
    allow(SYS_exit_group),
    allow(SYS_gettid),
    allow(SYS_getpid),
    allow(SYS_getppid),
    // Names of threads and of mappings. All that gives or takes rights is over by now, but may be read.
    allow_if_or_fail(
        SYS_prctl,
        &[
            &[is(0, u(PR_SET_NAME))],
            &[is(0, u(PR_GET_NAME))],
            &[is(0, u(PR_SET_VMA))],
            &[is(0, u(PR_CAPBSET_READ))],
            &[is(0, u(PR_GET_NO_NEW_PRIVS))],
            &[is(0, u(PR_GET_DUMPABLE))],
            &[is(0, u(PR_GET_PDEATHSIG))],
            &[is(0, u(PR_GET_SECCOMP))],
        ],
        EPERM,
    ),
];

/// Handling of signals, and signals to this process itself: `abort` sends one.
pub(super) const SIGNALS: &[Call] = &[
    allow(SYS_rt_sigaction),
    allow(SYS_rt_sigprocmask),
    allow(SYS_rt_sigreturn),
    allow(SYS_sigaltstack),
    // The kernel itself calls it after a stop.
    allow(SYS_restart_syscall),
    allow_if(SYS_tgkill, &[&[is_own_process(0)]]),
    // To others it fails: that is tried to prove it.
    allow_if_or_fail(SYS_kill, &[&[is_own_process(0)]], EPERM),
];

/// What time it is, and waiting.
pub(super) const TIME: &[Call] = &[
    allow(SYS_clock_gettime),
    allow(SYS_clock_getres),
    allow(SYS_clock_nanosleep),
    allow(SYS_nanosleep),
    allow(SYS_gettimeofday),
    #[cfg(target_arch = "x86_64")]
    allow(SYS_time),
];

/// Reading, writing and closing what is open, and looking at it.
pub(super) const OPEN_DESCRIPTORS: &[Call] = &[
    allow(SYS_read),
    allow(SYS_readv),
    allow(SYS_write),
    allow(SYS_writev),
    allow(SYS_pread64),
    allow(SYS_pwrite64),
    allow(SYS_lseek),
    allow(SYS_close),
    allow(SYS_dup),
    allow(SYS_dup3),
    // Copies, flags and locks, not who gets signals of a descriptor.
    allow_if_or_fail(
        SYS_fcntl,
        &[
            &[is(1, u(F_DUPFD))],
            &[is(1, u(F_DUPFD_CLOEXEC))],
            &[is(1, u(F_GETFD))],
            &[is(1, u(F_SETFD))],
            &[is(1, u(F_GETFL))],
            &[is(1, u(F_SETFL))],
            &[is(1, u(F_GETLK))],
            &[is(1, u(F_SETLK))],
            &[is(1, u(F_OFD_GETLK))],
            &[is(1, u(F_OFD_SETLK))],
            &[is(1, u(F_GET_SEALS))],
            &[is(1, u(F_ADD_SEALS))],
        ],
        EPERM,
    ),
    allow(SYS_fstat),
    #[cfg(target_arch = "x86_64")]
    allow(SYS_poll),
    allow(SYS_ppoll),
    allow(SYS_eventfd2),
    allow(SYS_pipe2),
    // Is it a terminal, may it block, how much is there, and which name has this interface.
    allow_if_or_fail(
        SYS_ioctl,
        &[
            &[is(1, IOCTL_TCGETS)],
            &[is(1, IOCTL_TIOCGWINSZ)],
            &[is(1, IOCTL_FIONBIO)],
            &[is(1, IOCTL_FIONREAD)],
            &[is(1, IOCTL_FIOCLEX)],
            &[is(1, IOCTL_SIOCGIFNAME)],
            // libpcap looks whether an interface that fails is down or gone.
            &[is(1, IOCTL_SIOCGIFFLAGS)],
            &[is(1, IOCTL_SIOCGIFINDEX)],
        ],
        EPERM,
    ),
];

// The C library has these in types of many widths; on both processors they are the same.
const IOCTL_TCGETS: u32 = 0x5401;
const IOCTL_TIOCGWINSZ: u32 = 0x5413;
const IOCTL_FIONREAD: u32 = 0x541b;
const IOCTL_FIONBIO: u32 = 0x5421;
const IOCTL_FIOCLEX: u32 = 0x5451;
const IOCTL_SIOCGIFNAME: u32 = 0x8910;
const IOCTL_SIOCGIFFLAGS: u32 = 0x8913;
const IOCTL_SIOCGIFINDEX: u32 = 0x8933;

/// Sending and receiving on sockets that are open already.
pub(super) const OPEN_SOCKETS: &[Call] = &[
    allow(SYS_recvfrom),
    allow(SYS_recvmsg),
    allow(SYS_recvmmsg),
    allow(SYS_sendto),
    allow(SYS_sendmsg),
    allow(SYS_sendmmsg),
    allow(SYS_getsockname),
    allow(SYS_getpeername),
    allow(SYS_getsockopt),
    allow(SYS_setsockopt),
    allow(SYS_shutdown),
];

/// The bits of a socket's type that say what it is; the others say how it is opened.
const SOCKET_KIND: u32 = 0xf;

/// What an asynchronous runtime needs beside descriptors.
pub(super) const RUNTIME: &[Call] = &[
    allow(SYS_epoll_create1),
    allow(SYS_epoll_ctl),
    #[cfg(target_arch = "x86_64")]
    allow(SYS_epoll_wait),
    allow(SYS_epoll_pwait),
    allow(SYS_epoll_pwait2),
    allow(SYS_timerfd_create),
    allow(SYS_timerfd_settime),
    allow(SYS_timerfd_gettime),
    // Signals reach it through a pair of its own. Of streams: with one of datagrams every service that has a path could be written to.
    allow_if_or_fail(SYS_socketpair, &[&[is(0, u(AF_UNIX)), bits(1, SOCKET_KIND, u(SOCK_STREAM))]], EPERM),
];

/// Who and what this process is, and how much it uses.
pub(super) const SELF: &[Call] = &[
    allow(SYS_getuid),
    allow(SYS_geteuid),
    allow(SYS_getgid),
    allow(SYS_getegid),
    allow(SYS_getresuid),
    allow(SYS_getresgid),
    allow(SYS_getgroups),
    allow(SYS_capget),
    allow(SYS_getrusage),
    allow(SYS_sysinfo),
    allow(SYS_uname),
    allow(SYS_umask),
    // A panic with a backtrace asks for it, to shorten paths.
    allow(SYS_getcwd),
    // Reads limits of this process, and sets none.
    allow_if_or_fail(
        SYS_prlimit64,
        &[&[is(0, 0), is(2, 0), has_no_upper_half(2)], &[is_own_process(0), is(2, 0), has_no_upper_half(2)]],
        EPERM,
    ),
    #[cfg(target_arch = "x86_64")]
    allow(SYS_getrlimit),
];

/// What would write, cut or create.
const CHANGES: u32 = u(O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & !O_DIRECTORY));

/// Files are opened to be read. Which ones is for Landlock to say: a filter sees no path.
pub(super) const READ_FILES: &[Call] = &[
    allow_if_or_fail(SYS_openat, &[&[bits(2, CHANGES, 0)]], EACCES),
    #[cfg(target_arch = "x86_64")]
    allow_if_or_fail(SYS_open, &[&[bits(1, CHANGES, 0)]], EACCES),
    allow(SYS_newfstatat),
    allow(SYS_statx),
    allow(SYS_getdents64),
    allow(SYS_readlinkat),
    #[cfg(target_arch = "x86_64")]
    allow(SYS_readlink),
    #[cfg(target_arch = "x86_64")]
    allow(SYS_stat),
    #[cfg(target_arch = "x86_64")]
    allow(SYS_lstat),
    allow(SYS_faccessat),
    allow(SYS_faccessat2),
    #[cfg(target_arch = "x86_64")]
    allow(SYS_access),
    allow(SYS_fadvise64),
];

/// How a folder is left is said in a structure, where a filter cannot look.
pub(super) const NO_STRUCTURED_OPEN: &[Call] = &[fail(SYS_openat2, ENOSYS)];

/// No file is opened or looked at by its name. Libraries try in passing (a backtrace wants the symbols), so they hear no.
pub(super) const NO_FILES: &[Call] = &[
    fail(SYS_openat, EACCES),
    fail(SYS_openat2, EACCES),
    #[cfg(target_arch = "x86_64")]
    fail(SYS_open, EACCES),
    // Of an open descriptor the C library asks like this.
    allow_if_or_fail(SYS_newfstatat, &[&[bits(3, u(AT_EMPTY_PATH), u(AT_EMPTY_PATH))]], EACCES),
    allow_if_or_fail(SYS_statx, &[&[bits(2, u(AT_EMPTY_PATH), u(AT_EMPTY_PATH))]], EACCES),
    fail(SYS_getdents64, EACCES),
    fail(SYS_readlinkat, EACCES),
    #[cfg(target_arch = "x86_64")]
    fail(SYS_readlink, EACCES),
    #[cfg(target_arch = "x86_64")]
    fail(SYS_stat, EACCES),
    #[cfg(target_arch = "x86_64")]
    fail(SYS_lstat, EACCES),
    fail(SYS_faccessat, EACCES),
    fail(SYS_faccessat2, EACCES),
    #[cfg(target_arch = "x86_64")]
    fail(SYS_access, EACCES),
];

/// Nothing changes in a folder. A library that tries hears no.
pub(super) const NO_CHANGES: &[Call] = &[
    fail(SYS_unlinkat, EACCES),
    fail(SYS_renameat2, EACCES),
    fail(SYS_mkdirat, EACCES),
    #[cfg(target_arch = "x86_64")]
    fail(SYS_unlink, EACCES),
    #[cfg(target_arch = "x86_64")]
    fail(SYS_rename, EACCES),
    #[cfg(target_arch = "x86_64")]
    fail(SYS_mkdir, EACCES),
];

/// No file without a name, which would be a place to write a program to.
pub(super) const NO_MEMORY_FILES: &[Call] = &[fail(SYS_memfd_create, EACCES)];

/// No new socket, and none of the old ones goes elsewhere.
pub(super) const NO_SOCKETS: &[Call] = &[fail(SYS_socket, EPERM), fail(SYS_connect, EPERM)];

/// What is tried at start to prove that it fails; it fails for everybody.
pub(super) const PROVED: &[Call] = &[
    fail(SYS_execve, EPERM),
    fail(SYS_execveat, EPERM),
    fail(SYS_setresuid, EPERM),
    fail(SYS_capset, EPERM),
    fail(SYS_pidfd_open, EPERM),
    fail(SYS_pidfd_getfd, EPERM),
];
