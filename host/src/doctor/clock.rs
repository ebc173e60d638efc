//! Clock: whether this machine's clock is set by others. Rules get the time of day with each knock, and one-time codes depend on it.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::finding::{Finding, Looked, NotLooked};

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);
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
        None => Err(NotLooked::new("no systemd here that would know", REMEDY)),
    }
}

fn is_synchronised() -> Option<bool> {
    if Path::new(SET_BY_TIMESYNCD).exists() {
        return Some(true);
    }
    // Without systemd it would wait for an answer.
    Path::new("/run/systemd/system").exists().then_some(())?;
    let mut asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + PATIENCE;
    while let Ok(None) = asked.try_wait() {
        if Instant::now() >= deadline {
            let _ = asked.kill();
        }
        thread::sleep(LOOK);
    }
    let mut said = String::new();
    asked.stdout.take()?.read_to_string(&mut said).ok()?;
    match said.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
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
}
