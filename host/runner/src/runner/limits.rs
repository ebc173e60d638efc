//! CommandLimits: how many commands run at once.
//!
//! Bounds are per door, and closing has its own, so that commands that hang neither block another door's, nor keep any door from
//! being closed on time. All doors share a common pool of permits; besides, each door has a few of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use postern_text::panic::PastPanic;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The number of counted doors from which on those without a running command are forgotten.
const ENOUGH_DOORS: usize = 1024;

/// How many commands of one kind run at once, to open; and as many more to close.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandBounds {
    /// Of one door.
    door: usize,
    /// Of these, how many it can always run, whatever other doors do.
    own: usize,
    /// In the pool that all doors share, besides their own.
    shared: usize,
}

/// Commands of our own configuration; they have a time limit.
pub(super) const ARGV: CommandBounds = CommandBounds { door: 32, own: 4, shared: 256 };
/// knockd's commands; some sleep until it is time to close what they opened.
pub(super) const SHELL: CommandBounds = CommandBounds { door: 1024, own: 16, shared: 4096 };

/// Counts the commands of one kind.
#[derive(Debug)]
pub(super) struct CommandLimits {
    bounds: CommandBounds,
    opening: Arc<Semaphore>,
    closing: Arc<Semaphore>,
    doors: Mutex<HashMap<Arc<str>, Arc<DoorLimits>>>,
}

/// What one door may run.
#[derive(Debug)]
struct DoorLimits {
    opening: Lane,
    closing: Lane,
}

#[derive(Debug)]
struct Lane {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// The right to run one command, until it is dropped.
#[derive(Debug)]
pub(super) struct CommandPermit {
    _door: Arc<DoorLimits>,
    _all: OwnedSemaphorePermit,
    _one: OwnedSemaphorePermit,
}

impl CommandLimits {
    pub(super) fn new(bounds: CommandBounds) -> Self {
        let shared = || Arc::new(Semaphore::new(bounds.shared));
        Self { bounds, opening: shared(), closing: shared(), doors: Mutex::default() }
    }

    /// Waits until one more command of a door may run, to open it or to close it. None if the daemon ends.
    pub(super) async fn acquire(&self, door: &Arc<str>, is_closing: bool) -> Option<CommandPermit> {
        let door = self.door(door);
        let (lane, shared) = match is_closing {
            true => (&door.closing, &self.closing),
            false => (&door.opening, &self.opening),
        };
        let all = Arc::clone(&lane.all).acquire_owned().await.ok()?;
        let one = tokio::select! {
            biased;
            own = Arc::clone(&lane.own).acquire_owned() => own,
            shared = Arc::clone(shared).acquire_owned() => shared,
        };
        Some(CommandPermit { _all: all, _one: one.ok()?, _door: door })
    }

    fn door(&self, name: &Arc<str>) -> Arc<DoorLimits> {
        let mut doors = self.doors.lock().past_panic();
        if doors.len() >= ENOUGH_DOORS {
            doors.retain(|_, door| Arc::strong_count(door) > 1);
        }
        let bounds = self.bounds;
        let lane =
            || Lane { all: Arc::new(Semaphore::new(bounds.door)), own: Arc::new(Semaphore::new(bounds.own)) };
        let door = doors
            .entry(Arc::clone(name))
            .or_insert_with(|| Arc::new(DoorLimits { opening: lane(), closing: lane() }));
        Arc::clone(door)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: CommandBounds = CommandBounds { door: 4, own: 1, shared: 5 };

    /// How many permits there are at once.
    async fn count(limits: &CommandLimits, door: &str, is_closing: bool) -> Vec<CommandPermit> {
        let mut permits = Vec::new();
        let door = Arc::from(door);
        // What can be had is had at the first poll.
        loop {
            tokio::select! {
                biased;
                permit = tokio::task::unconstrained(limits.acquire(&door, is_closing)) => permits.extend(permit),
                () = std::future::ready(()) => return permits,
            }
        }
    }

    #[tokio::test]
    async fn a_door_has_its_bound_and_closing_another() {
        let limits = CommandLimits::new(BOUNDS);
        let hung = count(&limits, "a", false).await;
        assert_eq!(hung.len(), 4);
        let closing = count(&limits, "a", true).await;
        assert_eq!(closing.len(), 4);
        assert_eq!(count(&limits, "a", true).await.len(), 0);
        drop(closing);
        assert_eq!(count(&limits, "a", true).await.len(), 4);
        drop(hung);
        assert_eq!(count(&limits, "a", false).await.len(), 4);
    }

    #[tokio::test]
    async fn doors_whose_commands_hang_leave_every_other_its_own() {
        let limits = CommandLimits::new(BOUNDS);
        let mut hung = Vec::new();
        for n in 0..100 {
            hung.extend(count(&limits, &format!("door {n}"), false).await);
        }
        // One of each, and five that are shared.
        assert_eq!(hung.len(), 100 + 5);
        assert_eq!(count(&limits, "another", false).await.len(), 1);
        assert_eq!(count(&limits, "another", true).await.len(), 4);
    }

    #[tokio::test]
    async fn doors_of_which_nothing_runs_are_forgotten() {
        let limits = CommandLimits::new(BOUNDS);
        let held = limits.acquire(&"held".into(), false).await;
        for n in 0..3 * ENOUGH_DOORS {
            limits.acquire(&format!("door {n}").into(), false).await;
        }
        let doors = limits.doors.lock().unwrap();
        assert!(doors.len() <= ENOUGH_DOORS && doors.contains_key("held"), "{}", doors.len());
        drop(held);
    }
}
