//! LeftRunning: a command that is not this process's child, since the runner that started it has ended.

use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::spawn_blocking;

use crate::process_identity::ProcessIdentity;
use crate::tree;

/// How long the end of a command that is killed may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A command with all that came from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftRunning {
    /// Its shim, alone in its process group.
    pub(crate) shim: ProcessIdentity,
    /// The command, which leads another one; none if it has not been started yet.
    pub(crate) command: Option<ProcessIdentity>,
    /// Until when it may run, in milliseconds since the machine was started; 0 once it is being ended.
    pub(crate) until: u64,
}

impl LeftRunning {
    /// That of this process, which is a shim; it may run for so long from now. None if there is no `/proc`.
    pub(crate) fn this_process(limit: Duration) -> Option<Self> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let shim = ProcessIdentity::of(std::process::id())?;
        Some(Self { shim, command: None, until: uptime().saturating_add(limit) })
    }

    /// Ends these, within two seconds or not; how many there were.
    pub(crate) fn end_all(all: &[Self]) -> usize {
        // Where the shim was killed the command is not beneath it any more.
        let processes = |running: &Self| {
            [Some(running.shim), running.command]
                .into_iter()
                .flatten()
                .filter(ProcessIdentity::has_group)
                .collect()
        };
        let left: Vec<Vec<_>> = all.iter().map(processes).filter(|left: &Vec<_>| !left.is_empty()).collect();
        tree::end(&left.concat(), PATIENCE);
        let until = Instant::now() + PATIENCE;
        // Nobody waits for a shim that was killed but the process that adopted it.
        while left.iter().flatten().any(ProcessIdentity::is_alive) && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
        left.len()
    }

    /// Waits until the shim has ended, at most until its time is over; whether it has.
    pub(crate) async fn ended(&self) -> bool {
        self.ends_within(Duration::from_millis(self.until.saturating_sub(uptime()))).await
    }

    /// Ends it, within two seconds or not.
    pub(crate) async fn end(&self) {
        let running = *self;
        // An error is a panic there.
        let _ = spawn_blocking(move || Self::end_all(&[running])).await;
    }

    async fn ends_within(&self, most: Duration) -> bool {
        let Some(process) = self.open() else { return true };
        // Readable once it has ended. There are as many threads for it as commands were running.
        let ended = spawn_blocking(move || {
            let until = Instant::now() + most;
            loop {
                let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
                match poll(&mut [PollFd::new(&process, PollFlags::IN)], left.as_ref()) {
                    Err(Errno::INTR) => {}
                    // If it cannot be waited for, it counts as one whose time is over.
                    ended => return ended.is_ok_and(|count| count > 0),
                }
            }
        });
        ended.await.unwrap_or(false)
    }

    /// A descriptor of the leader, if that runs.
    fn open(&self) -> Option<OwnedFd> {
        let process = pidfd_open(self.shim.pid()?, PidfdFlags::empty()).ok()?;
        // Looked at after it was opened: that is of no later process.
        self.shim.is_alive().then_some(process)
    }
}

/// Milliseconds since the machine was started.
fn uptime() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let [seconds, nanoseconds] =
        [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).unwrap_or_default());
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    /// A group that sleeps for so many seconds, with this limit.
    pub(crate) fn sleeper(seconds: &str, limit: Duration) -> (Child, LeftRunning) {
        let child = Command::new("sleep").arg(seconds).process_group(0).spawn().unwrap();
        let until = uptime() + u64::try_from(limit.as_millis()).unwrap();
        let shim = ProcessIdentity::of(child.id()).unwrap();
        (child, LeftRunning { shim, command: None, until })
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn another_process_of_the_same_number_is_not_killed() {
        let (mut child, running) = sleeper("60", LONG);
        let other = ProcessIdentity { started: running.shim.started + 1, ..running.shim };
        assert_eq!(LeftRunning::end_all(&[LeftRunning { shim: other, ..running }]), 0);
        assert!(child.try_wait().unwrap().is_none());
        assert_eq!(LeftRunning::end_all(&[running]), 1);
        assert!(child.wait().unwrap().code().is_none(), "it was killed");
        assert_eq!(LeftRunning::end_all(&[running]), 0);
    }

    #[tokio::test]
    async fn it_is_left_to_end_by_itself_until_its_time_is_over() {
        let (mut child, running) = sleeper("0.2", LONG);
        assert!(running.ended().await);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(running.ended().await);
        let (mut child, running) = sleeper("60", Duration::from_millis(50));
        assert!(!running.ended().await);
        running.end().await;
        assert!(child.wait().unwrap().code().is_none(), "it was killed");
    }
}
