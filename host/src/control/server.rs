//! Server: accepts those who ask, as many as it can serve, on a thread of its own.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postern_protocol::Refusal;
use postern_text::panic::PastPanic;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::Mutex as Turn;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::access::Asker;
use super::desk::Desk;
use super::session::{Session, refuse};
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
/// Those who connect: so many at once, and then one each so often. More wait in the queue of the socket, where they cost nothing.
const ARRIVALS: u32 = 100;
const ARRIVAL: Duration = Duration::from_millis(5);
/// Strangers who may be connected, all together.
const MOST_STRANGERS: usize = 8;
/// By how much this thread gives way to those that see packets.
const NICENESS: i32 = 10;
/// How long after a failure to accept the next try is.
const RETRY: Duration = Duration::from_millis(200);
/// How often drops are noted, so that those of the last minute are known.
const NOTED: Duration = Duration::from_secs(5);

/// Serves those who connect to `listener`, until the process ends.
///
/// # Errors
/// If there can be no thread.
pub(crate) fn start(listener: StdListener, desk: Desk) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    desk.feed.switch_on();
    let desk = Arc::new(desk);
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        // Of this thread alone. Without it, it is no worse than any other.
        let _ = rustix::process::setpriority_process(None, NICENESS);
        runtime.block_on(async move {
            let Ok(listener) = UnixListener::from_std(listener) else { return };
            tokio::join!(serve(listener, Arc::clone(&desk)), note_drops(desk));
        });
    })?;
    Ok(())
}

async fn note_drops(desk: Arc<Desk>) {
    let mut ticks = interval(NOTED);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        desk.note_drops(Instant::now());
    }
}

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
    fn enter(&self, uid: u32, is_stranger: bool) -> Result<(), String> {
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
struct Place {
    clients: Arc<Clients>,
    uid: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.leave(self.uid);
    }
}

async fn serve(listener: UnixListener, desk: Arc<Desk>) {
    let clients = Arc::new(Clients::default());
    let mut arrivals = Pace::one_each(ARRIVAL, ARRIVALS);
    loop {
        sleep(arrivals.take(1, Instant::now())).await;
        match listener.accept().await {
            Ok((stream, _)) => admit(stream, &desk, &clients),
            // Out of descriptors, perhaps; it must not become a loop that does nothing else.
            Err(_) => sleep(RETRY).await,
        }
        // A crowd at the door must not keep out those who are in.
        yield_now().await;
    }
}

fn admit(stream: UnixStream, desk: &Arc<Desk>, clients: &Arc<Clients>) {
    // Of a process that is gone nothing is known.
    let Ok(peer) = stream.peer_cred() else { return };
    let uid = peer.uid();
    let asker = Asker::of(uid, desk.own_uid, &desk.feed.in_force.load().users);
    match clients.enter(uid, !asker.is_known()) {
        Ok(()) => {
            let place = Place { clients: Arc::clone(clients), uid };
            let session = Session::new(stream, uid, Arc::clone(desk), Arc::clone(clients));
            tokio::spawn(async move {
                let _place = place;
                session.run().await;
            });
        }
        Err(why) => refuse(&stream, Refusal::Busy { why: format!("{why}; try again later") }),
    }
}
