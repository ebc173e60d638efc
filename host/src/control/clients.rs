//! Clients: who is connected to the control socket, and how much each user may ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;
use tokio::sync::Mutex as Turn;

use crate::pace::Pace;

/// Who may be connected at the same time, and of one user but root.
const MOST_CLIENTS: usize = 64;
const MOST_OF_USER: usize = 8;
/// Requests of one user: so many at once, and then one each so often. More wait.
const BURST: u32 = 100;
const EACH: Duration = Duration::from_millis(20);
/// For how long a user has to wait after an answer, in times that it took: whoever asks without end gets a twentieth of a processor.
const IDLE_FOR_WORK: u32 = 19;
/// And at most for so long.
const LONGEST_DEBT: Duration = Duration::from_secs(2);
/// Strangers who may be connected, all together.
const MOST_STRANGERS: usize = 8;

/// Who is connected, and how much they ask.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<HashMap<u32, OfUser>>);

#[derive(Debug)]
struct OfUser {
    connected: usize,
    is_stranger: bool,
    /// Held by the one who asks next.
    turn: Arc<Turn<()>>,
    requests: Pace,
}

impl Clients {
    /// One more of a user, who may be one that may ask nothing.
    ///
    /// # Errors
    /// If there are too many, in words.
    pub(super) fn enter(&self, uid: u32, is_stranger: bool) -> Result<(), String> {
        let now = Instant::now();
        let mut users = self.0.lock().past_panic();
        users.retain(|_, user| user.connected > 0 || !user.requests.is_paid(now));
        let all: usize = users.values().map(|user| user.connected).sum();
        let strangers: usize =
            users.values().filter(|user| user.is_stranger).map(|user| user.connected).sum();
        let new = || OfUser {
            connected: 0,
            is_stranger,
            turn: Arc::default(),
            requests: Pace::one_each(EACH, BURST),
        };
        let user = users.entry(uid).or_insert_with(new);
        // Root gets in beside those of others, who are too few to fill all places by themselves but not together.
        if uid != 0 && user.connected >= MOST_OF_USER {
            return Err(format!("user {uid} has {MOST_OF_USER} connections already"));
        }
        let most = if uid == 0 { MOST_CLIENTS } else { MOST_CLIENTS / 2 };
        if all >= most {
            return Err(format!("{all} clients are connected already"));
        }
        if is_stranger && strangers >= MOST_STRANGERS {
            return Err(format!("{strangers} strangers are connected already"));
        }
        user.is_stranger = is_stranger;
        user.connected += 1;
        Ok(())
    }

    fn leave(&self, uid: u32) {
        if let Some(user) = self.0.lock().past_panic().get_mut(&uid) {
            user.connected -= 1;
        }
    }

    /// An answer to a user took so much of a processor.
    pub(super) fn charge(&self, uid: u32, time: Duration) {
        if let Some(user) = self.0.lock().past_panic().get_mut(&uid) {
            user.requests.charge(time * IDLE_FOR_WORK, LONGEST_DEBT, Instant::now());
        }
    }

    /// Who of a user asks next: whoever has this.
    pub(super) fn turn_of(&self, uid: u32) -> Arc<Turn<()>> {
        self.0.lock().past_panic().get(&uid).map(|user| Arc::clone(&user.turn)).unwrap_or_default()
    }

    /// How long until a user may ask once more; nothing if it may now, which is counted.
    pub(super) fn may_ask(&self, uid: u32) -> Duration {
        let now = Instant::now();
        let mut users = self.0.lock().past_panic();
        let Some(user) = users.get_mut(&uid) else { return Duration::ZERO };
        if user.requests.try_take(now) { Duration::ZERO } else { user.requests.wait(now) }
    }
}

/// A place among the clients, given back when this is gone.
pub(super) struct Place {
    clients: Arc<Clients>,
    uid: u32,
}

impl Place {
    /// That of a user who was let in.
    pub(super) fn new(clients: &Arc<Clients>, uid: u32) -> Self {
        Self { clients: Arc::clone(clients), uid }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.leave(self.uid);
    }
}
