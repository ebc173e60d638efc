//! Names: the names of sources by reverse DNS, looked up on a thread of its own, so that no other thread waits for an answer.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use postern_text::panic::PastPanic;

use crate::log::{Channels, KnockdMessage};

/// Messages that may wait for a name; beyond that they are said without names.
const WAITING: usize = 256;
/// How long an answer, or that there is no name, is cached.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// Most addresses in the cache.
const MAX_KNOWN: usize = 4096;
/// How long the daemon's last messages wait for those before them.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Says messages with names, in their order.
pub(crate) struct Names {
    queue: SyncSender<(Vec<KnockdMessage>, Option<Sender<()>>)>,
}

impl Names {
    /// Looks names up from now on, and says on `channels`.
    pub(crate) fn start(channels: Arc<Mutex<Channels>>) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(WAITING);
        thread::Builder::new().name("names".to_owned()).spawn(move || run(&waiting, &channels))?;
        Ok(Self { queue })
    }

    /// Has messages said when their names are known; gives them back if too many wait already.
    pub(crate) fn say(&self, messages: Vec<KnockdMessage>) -> Result<(), Vec<KnockdMessage>> {
        self.queue.try_send((messages, None)).map_err(|refused| match refused {
            std::sync::mpsc::TrySendError::Full((messages, _))
            | std::sync::mpsc::TrySendError::Disconnected((messages, _)) => messages,
        })
    }

    /// Waits for the queue to be written, for at most a moment: the process may be about to end.
    pub(crate) fn flush(&self) {
        let (done, heard) = channel();
        if self.queue.try_send((Vec::new(), Some(done))).is_ok() {
            // Too late is no harm.
            let _ = heard.recv_timeout(LAST_WORDS);
        }
    }
}

fn run(waiting: &Receiver<(Vec<KnockdMessage>, Option<Sender<()>>)>, channels: &Mutex<Channels>) {
    let mut known: HashMap<IpAddr, (Option<String>, Instant)> = HashMap::new();
    for (mut messages, done) in waiting {
        for source in messages.iter_mut().filter_map(KnockdMessage::source_mut) {
            source.host = name(source.address, &mut known);
        }
        let mut channels = channels.lock().past_panic();
        messages.iter().for_each(|message| channels.say(message));
        drop(channels);
        if let Some(done) = done {
            let _ = done.send(());
        }
    }
}

fn name(address: IpAddr, known: &mut HashMap<IpAddr, (Option<String>, Instant)>) -> Option<String> {
    let now = Instant::now();
    if let Some((name, since)) = known.get(&address)
        && now.duration_since(*since) < KNOWN_FOR
    {
        return name.clone();
    }
    // Where there is no name the resolver answers with the address itself.
    let name = dns_lookup::lookup_addr(&address).ok().filter(|name| name.parse::<IpAddr>().is_err());
    if known.len() >= MAX_KNOWN {
        known.clear();
    }
    known.insert(address, (name.clone(), now));
    name
}
