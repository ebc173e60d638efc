//! Clock: whether this machine's clock is set by others. Rules get the time of day with each knock, and one-time codes depend on it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;

use super::finding::{Finding, Looked, NotLooked};

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer, in bytes.
const LONGEST: usize = 64;
/// Where the program that asks systemd is; what else is called so is not run.
const TIMEDATECTL: [&str; 2] = ["/usr/bin/timedatectl", "/bin/timedatectl"];
/// Made by systemd-timesyncd once it has set the clock.
const SET_BY_TIMESYNCD: &str = "/run/systemd/timesync/synchronized";

pub(super) fn look() -> Looked {
    judge(is_synchronised())
}

/// Whether it is synchronised; none if nobody says so.
fn judge(is_synchronised: Option<bool>) -> Looked {
    const REMEDY: &str = "enable a time service, such as systemd-timesyncd or chrony";
    match is_synchronised {
        Some(true) => Ok(Vec::new()),
        Some(false) => Ok(vec![Finding::warning(
            "the clock is not synchronised: rules that go by the time, such as one-time codes and office hours, may refuse who is right",
            REMEDY,
        )]),
        None => Err(NotLooked::new("there is no systemd, or it does not say", REMEDY)),
    }
}

fn is_synchronised() -> Option<bool> {
    if Path::new(SET_BY_TIMESYNCD).exists() {
        return Some(true);
    }
    // Without systemd it would wait for an answer.
    Path::new("/run/systemd/system").exists().then_some(())?;
    // It asks the kernel, which knows of every service that sets the clock.
    let program = TIMEDATECTL.into_iter().find(|program| Path::new(program).exists())?;
    let mut asked = Command::new(program);
    asked.args(["show", "--property=NTPSynchronized", "--value"]);
    match answer(asked, PATIENCE)?.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The first line that a command says, if it comes within this time and is not too long. The command is ended then.
fn answer(mut command: Command, patience: Duration) -> Option<String> {
    let deadline = Instant::now() + patience;
    let command = command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut asked = command.spawn().ok()?;
    let said = asked.stdout.take().and_then(|out| first_line(OwnedFd::from(out), deadline));
    let _ = asked.kill();
    let _ = asked.wait();
    said
}

/// A process may live on that holds the other end, so its end is not waited for.
fn first_line(out: OwnedFd, deadline: Instant) -> Option<String> {
    let mut out = File::from(out);
    let (mut said, mut some) = (Vec::new(), [0; LONGEST]);
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        let left = Timespec::try_from(left).ok()?;
        if poll(&mut [PollFd::new(&out, PollFlags::IN)], Some(&left)).ok()? == 0 {
            return None;
        }
        let read = out.read(&mut some).ok()?;
        said.extend_from_slice(some.get(..read)?);
        if let Some(end) = said.iter().position(|byte| *byte == b'\n') {
            said.truncate(end);
        } else if read > 0 && said.len() <= LONGEST {
            continue;
        }
        return String::from_utf8(said).ok().filter(|said| said.len() <= LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_its_own_is_a_warning_and_one_that_nobody_knows_a_note() {
        assert_eq!(judge(Some(true)), Ok(Vec::new()));
        let found = judge(Some(false)).unwrap();
        assert!(matches!(&found[..], [one] if one.what.contains("not synchronised")), "{found:?}");
        assert!(judge(None).is_err());
    }

    #[test]
    fn a_program_that_says_too_much_or_never_ends_is_not_waited_for() {
        let begin = Instant::now();
        let said = |script: &str, patience| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", script]);
            answer(shell, patience)
        };
        let long = Duration::from_secs(60);
        assert_eq!(said("echo yes", long).as_deref(), Some("yes"));
        assert_eq!(said("printf no", long).as_deref(), Some("no"));
        assert_eq!(
            said("printf n; /bin/sleep 0.1; echo o; exec /bin/sleep 600", long).as_deref(),
            Some("no")
        );
        assert_eq!(said("/bin/sleep 5 & echo yes", long).as_deref(), Some("yes"), "another holds the pipe");
        assert_eq!(said("exit 1", long).as_deref(), Some(""));
        assert_eq!(said("while printf yesyesyes; do :; done", long), None);
        assert_eq!(said("exec /bin/sleep 600", Duration::from_millis(50)), None);
        assert_eq!(answer(Command::new("/nowhere/timedatectl"), long), None);
        assert!(begin.elapsed() < long);
    }
}
