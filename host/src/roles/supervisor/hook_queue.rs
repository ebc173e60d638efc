//! HookQueue: commands of hooks that wait to be handed to the runner. Each owner of rules has places of its own: however much happens to one, it
//! keeps no event of another from its command.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use postern_core::{HookRun, TenantId};
use postern_text::panic::PastPanic;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Commands that may wait of one owner: a few times as many as may run at once.
const MOST_OF_OWNER: usize = 64;

/// How many wait, by whose events they are for. Bounded by [`MOST_OF_OWNER`] for each, which bounds the channel.
type Waiting = Arc<Mutex<HashMap<TenantId, usize>>>;

pub(super) struct HookQueue {
    waiting: Waiting,
    sender: UnboundedSender<HookRun>,
    receiver: UnboundedReceiver<HookRun>,
}

impl HookQueue {
    pub(super) fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { waiting: Waiting::default(), sender, receiver }
    }

    /// What has a command wait, and never waits itself: false if its owner has as many there as may be.
    pub(super) fn entrance(&self) -> impl Fn(HookRun) -> bool + Send + Sync + use<> {
        let (waiting, sender) = (Arc::clone(&self.waiting), self.sender.clone());
        move |run| {
            let mut waiting = waiting.lock().past_panic();
            let of_owner = waiting.entry(run.owner.clone()).or_default();
            if *of_owner >= MOST_OF_OWNER {
                return false;
            }
            *of_owner += 1;
            sender.send(run).is_ok()
        }
    }

    /// The one that has waited longest. It may be given up and called again.
    pub(super) async fn next(&mut self) -> Option<HookRun> {
        let run = self.receiver.recv().await?;
        let mut waiting = self.waiting.lock().past_panic();
        if let Some(of_owner) = waiting.get_mut(&run.owner) {
            *of_owner -= 1;
            if *of_owner == 0 {
                waiting.remove(&run.owner);
            }
        }
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run_for(owner: &TenantId) -> HookRun {
        HookRun {
            hook: 0,
            place: "p.toml:7".to_owned(),
            owner: owner.clone(),
            argv: Vec::new(),
            user: None,
            limit: Duration::ZERO,
            event: String::new(),
            environment: Vec::new(),
        }
    }

    #[test]
    fn what_waits_for_one_owner_takes_no_place_of_another() {
        let mut queue = HookQueue::new();
        let enter = queue.entrance();
        let (noisy, host) = (TenantId::new("noisy"), TenantId::host());
        let entered = (0..1000).filter(|_| enter(run_for(&noisy))).count();
        assert_eq!(entered, MOST_OF_OWNER);
        assert!(enter(run_for(&host)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut next = || runtime.block_on(queue.next()).unwrap().owner;
        assert!((0..MOST_OF_OWNER).all(|_| next() == noisy));
        assert_eq!(next(), host);
        // Its places are free again, and nothing is kept of who has none.
        assert!(queue.waiting.lock().unwrap().is_empty());
        assert!(enter(run_for(&noisy)));
    }
}
