//! Session: one who asks, from the first request to the last answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::{
    Answer, Call, CallError, LONGEST_REQUEST, MessageReader, Refusal, Reply, Request, message,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::access::Asker;
use super::desk::{Answered, Desk};
use super::server::Clients;
use super::subscribers::Events;

/// How long somebody may leave an answer unread.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long somebody may ask nothing; and of whom nothing is known yet.
const IDLE: Duration = Duration::from_secs(3600);
const IDLE_STRANGER: Duration = Duration::from_secs(5);
/// How much is read at once, in bytes.
const AT_ONCE: usize = 4096;

/// One who asks.
pub(super) struct Session {
    stream: UnixStream,
    uid: u32,
    desk: Arc<Desk>,
    clients: Arc<Clients>,
    requests: MessageReader,
    /// Whether it may ask anything, as far as was seen.
    is_known: bool,
}

/// Why it ends.
struct Over;

impl From<io::Error> for Over {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Session {
    pub(super) fn new(stream: UnixStream, uid: u32, desk: Arc<Desk>, clients: Arc<Clients>) -> Self {
        Self { stream, uid, desk, clients, requests: MessageReader::new(LONGEST_REQUEST), is_known: false }
    }

    /// Answers until it goes, or makes no sense, or does not read.
    pub(super) async fn run(mut self) {
        while self.turn().await.is_ok() {}
    }

    async fn turn(&mut self) -> Result<(), Over> {
        let request = match self.requests.take() {
            Ok(Some(request)) => request,
            Ok(None) => return self.read().await,
            Err(cut) => {
                let parameter = format!("{cut}; a request is shorter");
                self.send(&Answer::Refusal(Refusal::InvalidParameter { parameter })).await?;
                return Err(Over);
            }
        };
        self.clients.may_ask(self.uid).await;
        let begun = thread_cpu_time();
        let done = match Call::read(&request) {
            Ok(call) => self.answer(call).await,
            Err(error) => {
                let is_over = matches!(error, CallError::Malformed(_));
                self.send(&Answer::Refusal(error.into())).await?;
                if is_over { Err(Over) } else { Ok(()) }
            }
        };
        // What was done for others meanwhile counts, too; that is seldom, and only makes it slower.
        self.clients.charge(self.uid, thread_cpu_time().saturating_sub(begun));
        done
    }

    /// Reads what comes next.
    async fn read(&mut self) -> Result<(), Over> {
        let mut bytes = [0; AT_ONCE];
        let patience = if self.is_known { IDLE } else { IDLE_STRANGER };
        let read = timeout(patience, self.stream.read(&mut bytes)).await.map_err(|_| Over)??;
        self.requests.push(bytes.get(..read).unwrap_or_default());
        if read == 0 { Err(Over) } else { Ok(()) }
    }

    async fn answer(&mut self, Call { request, more, oneway }: Call) -> Result<(), Over> {
        // Each time anew: a reload may change whose tenant somebody is.
        let asker = Asker::of(self.uid, self.desk.own_uid, &self.desk.feed.in_force.load().users);
        let answered = match asker.view(&request) {
            Err(refusal) => Answered::Refused(refusal),
            Ok(view) => {
                let has_end = !matches!(&request, Request::Tail(_))
                    && !matches!(&request, Request::Explain(of) if of.follow);
                if !more && (!has_end || matches!(request, Request::Explain(_))) {
                    Answered::Refused(Refusal::ExpectedMore {})
                } else {
                    self.desk.answer(request, view, &asker).await
                }
            }
        };
        self.is_known = asker.is_known();
        match answered {
            _ if oneway => Ok(()),
            Answered::Refused(refusal) => {
                self.send(&Answer::Refusal(refusal)).await?;
                // A stranger has nothing more to ask.
                if self.is_known { Ok(()) } else { Err(Over) }
            }
            Answered::Reply(reply) => self.send(&Answer::Reply { reply, continues: false }).await,
            Answered::Several(replies) => {
                let last = replies.len().saturating_sub(1);
                for (n, reply) in replies.into_iter().enumerate() {
                    self.send(&Answer::Reply { reply, continues: n < last }).await?;
                }
                Ok(())
            }
            Answered::Events(mut subscription) => self.stream_events(&mut subscription.events).await,
        }
    }

    /// Tells events until whoever listens goes.
    async fn stream_events(&mut self, events: &mut Events) -> Result<(), Over> {
        loop {
            tokio::select! {
                // What it asks meanwhile waits; but it must not wait without bound.
                read = self.read() => {
                    read?;
                    if self.requests.is_full() {
                        return Err(Over);
                    }
                }
                event = events.recv() => {
                    let Some((event, left_out)) = event else { return Err(Over) };
                    let reply = Reply::Event { event: Some(Box::new(event)), left_out };
                    self.send(&Answer::Reply { reply, continues: true }).await?;
                }
            }
        }
    }

    async fn send(&mut self, answer: &Answer) -> Result<(), Over> {
        let bytes = message(&answer.to_value());
        timeout(PATIENCE, self.stream.write_all(&bytes)).await.map_err(|_| Over)??;
        Ok(())
    }
}

/// The CPU time of this thread.
fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Refuses one whom there is no place for; it may not hear it.
pub(super) fn refuse(stream: &UnixStream, refusal: Refusal) {
    let _ = stream.try_write(&message(&Answer::Refusal(refusal).to_value()));
}
