//! LeftRunning: the process group of a command that is not this process's child, since the runner that started it has ended.

use std::fs;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::spawn_blocking;

/// How long the end of killed commands may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The leader of a group, a shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftRunning {
    /// Its number, which is that of the group.
    pub(crate) process: u32,
    /// When it was started, as the kernel counts.
    pub(crate) started: u64,
    /// Until when it may run, in milliseconds since the machine was started.
    pub(crate) until: u64,
}

impl LeftRunning {
    /// This process, which may run for so long from now; none if there is no `/proc`.
    pub(crate) fn this_process(limit: Duration) -> Option<Self> {
        let process = std::process::id();
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Some(Self { process, started: start_of(process)?, until: uptime().saturating_add(limit) })
    }

    /// Kills the group; false if there is none any more.
    pub(crate) fn kill(&self) -> bool {
        // A group keeps its number as long as anything is in it, so one without its leader is not another.
        let is_it = start_of(self.process).is_none_or(|start| start == self.started);
        let group = self.pid().filter(|_| is_it);
        group.is_some_and(|group| kill_process_group(group, Signal::KILL).is_ok())
    }

    /// Waits until the leaders of these groups have ended, at most two seconds.
    pub(crate) fn wait_for_all(groups: &[Self]) {
        let deadline = Instant::now() + PATIENCE;
        while groups.iter().any(Self::is_alive) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the leader has ended, at most until its time is over; whether it has.
    pub(crate) async fn ended(&self) -> bool {
        self.ends_within(Duration::from_millis(self.until.saturating_sub(uptime()))).await
    }

    /// Kills the group, and waits until the leader has ended, at most two seconds.
    pub(crate) async fn end(&self) {
        self.kill();
        self.ends_within(PATIENCE).await;
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
        let process = pidfd_open(self.pid()?, PidfdFlags::empty()).ok()?;
        // Looked at after it was opened: that is of no later process.
        self.is_alive().then_some(process)
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.process).ok().and_then(Pid::from_raw)
    }

    fn is_alive(&self) -> bool {
        fields(self.process).is_some_and(|fields| {
            // One that has ended stays until its parent notices.
            let is_running = fields.first().is_some_and(|state| !["Z", "X"].contains(&state.as_str()));
            is_running && fields.get(19).and_then(|start| start.parse().ok()) == Some(self.started)
        })
    }
}

/// Milliseconds since the machine was started.
fn uptime() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let [seconds, nanoseconds] =
        [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).unwrap_or_default());
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}

/// When a process was started; none if there is none of this number.
fn start_of(process: u32) -> Option<u64> {
    fields(process)?.get(19)?.parse().ok()
}

/// What the kernel says of a process, from its state on.
fn fields(process: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Its name is in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
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
        let (process, started) = (child.id(), start_of(child.id()).unwrap());
        (child, LeftRunning { process, started, until })
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn another_process_of_the_same_number_is_not_killed() {
        let (mut child, running) = sleeper("60", LONG);
        assert!(!LeftRunning { started: running.started + 1, ..running }.kill());
        assert!(child.try_wait().unwrap().is_none());
        assert!(running.kill());
        LeftRunning::wait_for_all(&[running]);
        assert!(child.wait().unwrap().code().is_none(), "it was killed");
        assert!(!running.kill());
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
