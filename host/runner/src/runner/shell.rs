//! A command as knockd runs it: a line for `/bin/sh`, with `%IP%` filled in, in the daemon's own environment.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use postern_core::{Act, Client, KNOCKD_DAEMON_VAR, Observer, Report, ShellDoor, What};
use tokio::process::Command;

use crate::journal::Close;

/// knockd does not run command lines of this many bytes or more.
const TOO_LONG: usize = 4096;

/// How a door is closed for a client; none if nothing is run for it, or nothing to close it.
pub(super) fn close(door: &ShellDoor, client: Client) -> Option<Close> {
    let (start, stop) = door.commands(client.address().is_ipv6());
    start.filter(|start| !start.is_empty())?;
    Some(Close::Shell { line: fill(stop?, client.address()).into_vec() })
}

/// Closes what an earlier daemon recorded.
pub(super) async fn run_recorded(
    line: &[u8],
    client: IpAddr,
    door: &str,
    observer: &dyn Observer,
    stdin: CommandInput,
) {
    observer.report(&Report::of_door(door, What::StopCommandDue).with_client(Client::alone(client)));
    run(&OsString::from_vec(line.to_vec()), door, observer, stdin).await;
}

/// What a command gets as its standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommandInput {
    /// This process's.
    Inherited,
    /// Nothing: this process's is its link to the one that started it.
    None,
}

/// One run of a command.
pub(super) struct ShellCommand {
    start: Option<OsString>,
    stop: Option<OsString>,
    client: Client,
    act: Act,
    name: String,
}

impl ShellCommand {
    pub(super) fn new(door: &ShellDoor, client: Client, act: Act, name: &str) -> Self {
        let (start, stop) = door.commands(client.address().is_ipv6());
        Self { start: start.cloned(), stop: stop.cloned(), client, act, name: name.to_owned() }
    }

    /// Runs it. A command that fails is reported and changes nothing: what was started is stopped all the same.
    pub(super) async fn perform(&self, observer: &dyn Observer, stdin: CommandInput) -> Result<(), String> {
        let ip = self.client.address();
        let Some(start) = self.start.as_ref().filter(|start| !start.is_empty()) else { return Ok(()) };
        let (start, stop) = (fill(start, ip), self.stop.as_ref().map(|stop| fill(stop, ip)));
        let door = &*self.name;
        let report = |what| observer.report(&Report::of_door(door, what).with_client(Client::alone(ip)));
        for (line, what) in
            [(Some(&start), What::StartCommandTooLong), (stop.as_ref(), What::StopCommandTooLong)]
        {
            if line.is_some_and(|line| line.len() >= TOO_LONG) {
                if matches!(self.act, Act::Open(_)) {
                    report(what);
                }
                return Ok(());
            }
        }
        match (self.act, stop) {
            (Act::Open(_), _) => run(&start, door, observer, stdin).await,
            (Act::Close | Act::Expire, Some(stop)) => {
                report(What::StopCommandDue);
                run(&stop, door, observer, stdin).await;
            }
            (Act::Close | Act::Expire, None) | (Act::Extend(_), _) => {}
        }
        Ok(())
    }
}

async fn run(line: &OsString, door: &str, observer: &dyn Observer, stdin: CommandInput) {
    let report = |what| observer.report(&Report::of_door(door, what));
    report(What::CommandRuns { line: line.to_string_lossy() });
    let mut command = Command::new("/bin/sh");
    // A process group of its own, so that a signal to the daemon's group does not reach it; knockd's children have their own session.
    command.arg("-c").arg(line).process_group(0);
    if std::env::var_os(KNOCKD_DAEMON_VAR).is_some() {
        // The daemon's standard input is its pipe to the process that launched it; a command must not get it.
        command.env_remove(KNOCKD_DAEMON_VAR).stdin(Stdio::null());
    }
    if stdin == CommandInput::None {
        command.stdin(Stdio::null());
    }
    match command.status().await {
        Ok(status) if status.success() => {}
        Ok(status) => {
            // As shells count: 128 and the number of the signal.
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
            report(What::CommandFailed { code });
        }
        Err(error) => report(What::CommandNotStarted { error: error.to_string().into() }),
    }
}

/// Every `%IP%` becomes the address.
fn fill(line: &OsString, ip: IpAddr) -> OsString {
    const PLACE: &[u8] = b"%IP%";
    let ip = ip.to_string();
    let mut filled = Vec::with_capacity(line.len() + ip.len());
    let mut rest = line.as_bytes();
    while let Some(at) = rest.windows(PLACE.len()).position(|window| window == PLACE) {
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(ip.as_bytes());
        rest = &rest[at + PLACE.len()..];
    }
    filled.extend_from_slice(rest);
    OsString::from_vec(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_filled_in_wherever_it_stands() {
        let fill = |line: &str| fill(&line.into(), [192, 0, 2, 1].into()).into_string().unwrap();
        assert_eq!(fill("a %IP%%IP% %ip% %IP b%IP%"), "a 192.0.2.1192.0.2.1 %ip% %IP b192.0.2.1");
        assert_eq!(fill(""), "");
        assert_eq!(fill("%%IP%%"), "%192.0.2.1%");
    }
}
