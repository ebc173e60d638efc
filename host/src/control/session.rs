//! Session: one who asks, from the first request to the last answer.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use postern_protocol::{
    Answer, Call, CallError, LONGEST_REQUEST, MessageReader, Refusal, Reply, Request, message,
};
use postern_sandbox::thread_cpu_time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::access::Asker;
use super::clients::Clients;
use super::desk::{Answered, Desk, Subscription};
use super::subscribers::MOST_PACKETS;

/// How long somebody may leave an answer unread.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long somebody may ask nothing; and of whom nothing is known yet.
const IDLE: Duration = Duration::from_secs(3600);
const IDLE_STRANGER: Duration = Duration::from_secs(5);
/// The same of one who listens.
const LISTENING: Duration = Duration::from_secs(1 << 30);
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
        self.may_ask().await?;
        let (done, spent) = match Call::read(&request) {
            Ok(call) => Metered::new(self.answer(call)).await,
            Err(error) => {
                let is_over = matches!(error, CallError::Malformed(_));
                let sent = Metered::new(self.send(&Answer::Refusal(error.into()))).await;
                if is_over { (Err(Over), sent.1) } else { (sent.0.map(|()| None), sent.1) }
            }
        };
        self.clients.charge(self.uid, spent);
        match done? {
            Some(mut subscription) => self.stream_events(&mut subscription).await,
            None => Ok(()),
        }
    }

    /// Waits until this user may ask once more, or is gone. Those who ask as the same user take turns: one that asks without end does not keep
    /// another from asking at all.
    async fn may_ask(&mut self) -> Result<(), Over> {
        let mut turn = pin!(self.clients.turn_of(self.uid).lock_owned());
        let _turn = loop {
            tokio::select! {
                turn = &mut turn => break turn,
                // What it asks meanwhile waits; but it must not wait without bound.
                read = self.read(), if !self.requests.is_full() => read?,
            }
        };
        loop {
            let wait = self.clients.may_ask(self.uid);
            if wait.is_zero() {
                return Ok(());
            }
            tokio::select! {
                () = sleep(wait) => {}
                read = self.read(), if !self.requests.is_full() => read?,
            }
        }
    }

    /// Reads what comes next, if it comes soon.
    async fn read(&mut self) -> Result<(), Over> {
        self.read_patiently(if self.is_known { IDLE } else { IDLE_STRANGER }).await
    }

    async fn read_patiently(&mut self, patience: Duration) -> Result<(), Over> {
        let mut bytes = [0; AT_ONCE];
        let read = timeout(patience, self.stream.read(&mut bytes)).await.map_err(|_| Over)??;
        self.requests.push(bytes.get(..read).unwrap_or_default());
        if read == 0 { Err(Over) } else { Ok(()) }
    }

    /// Answers a request; what there is to listen to then, if it asked for that.
    async fn answer(&mut self, Call { request, more, oneway }: Call) -> Result<Option<Subscription>, Over> {
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
            _ if oneway => Ok(None),
            Answered::Refused(refusal) => {
                self.send(&Answer::Refusal(refusal)).await?;
                // A stranger has nothing more to ask.
                if self.is_known { Ok(None) } else { Err(Over) }
            }
            Answered::Reply(reply) => {
                self.send(&Answer::Reply { reply, continues: false }).await.map(|()| None)
            }
            Answered::Several(replies) => {
                let last = replies.len().saturating_sub(1);
                for (n, reply) in replies.into_iter().enumerate() {
                    self.send(&Answer::Reply { reply, continues: n < last }).await?;
                }
                Ok(None)
            }
            Answered::Events(subscription) => Ok(Some(subscription)),
        }
    }

    /// Says that it listens, and then tells events until whoever listens goes.
    async fn stream_events(&mut self, subscription: &mut Subscription) -> Result<(), Over> {
        let Subscription { events, subscriber, .. } = subscription;
        let begun = Reply::Event { event: None, left_out: 0 };
        self.send(&Answer::Reply { reply: begun, continues: true }).await?;
        loop {
            tokio::select! {
                // What it asks meanwhile waits; but it must not wait without bound.
                read = self.read_patiently(LISTENING) => {
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
                () = subscriber.is_flooded() => {
                    let why = format!(
                        "more than {MOST_PACKETS} packets a second come from it, and all of them would pass the kernel's filter; follow \
                         it when there are fewer"
                    );
                    self.send(&Answer::Refusal(Refusal::NotDone { why })).await?;
                    return Ok(());
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

/// Something that is done, with the CPU time that it takes itself, whatever else this thread does meanwhile.
struct Metered<F> {
    work: Pin<Box<F>>,
    spent: Duration,
}

impl<F: Future> Metered<F> {
    fn new(work: F) -> Self {
        Self { work: Box::pin(work), spent: Duration::ZERO }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let begun = thread_cpu_time();
        let done = self.work.as_mut().poll(context);
        self.spent += thread_cpu_time().saturating_sub(begun);
        let spent = self.spent;
        done.map(|done| (done, spent))
    }
}

/// Refuses one whom there is no place for; it may not hear it.
pub(super) fn refuse(stream: &UnixStream, refusal: Refusal) {
    let _ = stream.try_write(&message(&Answer::Refusal(refusal).to_value()));
}
