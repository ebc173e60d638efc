//! Server: accepts those who ask, as many as it can serve, on a thread of its own.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use postern_protocol::Refusal;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::access::Asker;
use super::clients::{Clients, Place};
use super::desk::Desk;
use super::session::{Session, refuse};
use crate::pace::Pace;

/// Those who connect: so many at once, and then one each so often. More wait in the queue of the socket, where they cost nothing.
const ARRIVALS: u32 = 100;
const ARRIVAL: Duration = Duration::from_millis(5);
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
            let place = Place::new(clients, uid);
            let session = Session::new(stream, uid, Arc::clone(desk), Arc::clone(clients));
            tokio::spawn(async move {
                let _place = place;
                session.run().await;
            });
        }
        Err(why) => refuse(&stream, Refusal::Busy { why: format!("{why}; try again later") }),
    }
}
