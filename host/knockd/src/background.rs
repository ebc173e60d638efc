//! Background: with `-d`, how the daemon leaves the terminal that it was started from.
//!
//! A launcher starts this program once more and lends it its own standard output and error. The daemon writes its messages there until it
//! gives them back; then the launcher ends with status 0. If the daemon ends before, the launcher ends with its status. The daemon is a new
//! process, not a fork of the launcher.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use postern_core::KNOCKD_DAEMON_VAR;
use postern_text::terminal;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, recvmsg, send, sendmsg, shutdown,
};

use crate::log::Terminal;

/// What the daemon is called, for `pidof` and `killall`.
const NAME: &str = "knockd";
/// The status of a daemon that has said what is wrong.
const FAILED: i32 = 1;
/// What is sent over the link in either direction: only that something arrives counts.
const WORD: &[u8] = b".";

/// Whether this process is the one that stays.
pub(crate) fn is_daemon() -> bool {
    env::var_os(KNOCKD_DAEMON_VAR).is_some()
}

/// Starts the daemon with these arguments, and waits until it is in the background. The status is then 0, else the daemon's own.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn launch(args: &[OsString]) -> io::Result<ExitCode> {
    let (mut link, of_daemon) = UnixStream::pair()?;
    lend(&link)?;
    let mut daemon = {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(name()).args(args).env(KNOCKD_DAEMON_VAR, "1");
        command.stdin(OwnedFd::from(of_daemon)).stdout(Stdio::null()).stderr(Stdio::null());
        // Dropping `command` closes our copy of the daemon's end, so the link ends with the daemon.
        command.spawn()?
    };
    if link.read_exact(&mut [0; WORD.len()]).is_ok() {
        return Ok(ExitCode::SUCCESS);
    }
    let status = daemon.wait()?;
    // With that status the daemon has said why.
    if status.code() != Some(FAILED) {
        // If standard error is gone there is no place left to say it.
        drop(terminal::err(format_args!(
            "knockd: the daemon ended before it was in the background: {status}"
        )));
    }
    Ok(code(status))
}

/// Takes, in the process that stays, the terminal that the launcher lends.
///
/// # Errors
/// If this process was not started by a launcher.
pub(crate) fn borrow() -> io::Result<Terminal> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0; WORD.len()];
    // Commands must not inherit them.
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(io::stdin(), &mut [IoSliceMut::new(&mut word)], &mut control, flags)?;
    let mut streams = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(streams) => streams.collect(),
        _ => Vec::new(),
    });
    match (streams.next(), streams.next()) {
        (Some(stdout), Some(stderr)) => Ok(Terminal { stdout, stderr }),
        _ => Err(io::Error::other("nothing was lent")),
    }
}

/// Becomes a process without a terminal of its own: another session, the root folder, knockd's name.
pub(crate) fn detach() {
    // These fail only where they are not needed.
    let _ = rustix::process::setsid();
    let _ = env::set_current_dir("/");
    // It was executed as `/proc/self/exe`, and is called after that.
    let _ = fs::write("/proc/self/comm", NAME);
}

/// The connection to the launcher: the daemon's standard input, so that no other process has either end of it.
#[derive(Debug)]
pub(crate) struct LauncherLink(());

impl LauncherLink {
    /// That of this process, which stays.
    pub(crate) const fn of_daemon() -> Self {
        Self(())
    }

    /// Lets the launcher end, with success. False if it was stopped meanwhile: then no daemon is wanted.
    pub(crate) fn release(self) -> bool {
        let is_released = send(io::stdin(), WORD, SendFlags::NOSIGNAL).is_ok();
        // From now on a read from standard input finds its end, as from the null device.
        let _ = shutdown(io::stdin(), Shutdown::Both);
        is_released
    }
}

/// The name that the daemon is started by: as this process's own was, if that is knockd.
fn name() -> OsString {
    let own = env::args_os().next().unwrap_or_default();
    let is_knockd = Path::new(&own).file_name() == Some(OsStr::new(NAME));
    if is_knockd { own } else { NAME.into() }
}

/// As shells count: 128 and the number of the signal.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn lend(link: &UnixStream) -> io::Result<()> {
    let Terminal { stdout, stderr } = Terminal::own()?;
    let streams = [stdout.as_fd(), stderr.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&streams));
    sendmsg(link, &[IoSlice::new(WORD)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
