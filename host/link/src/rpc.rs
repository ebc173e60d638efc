//! Rpc: requests and their answers over a talk, any number under way at once, and notices that were not asked for.
//!
//! A [`RpcClient`] has one thread that receives; whoever calls waits for the answer, for as long as the talk lasts and no longer. The other end
//! is [`serve`], whose handler may answer at any time and from any thread.

use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use postern_text::panic::PastPanic;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::talk::{TalkReceiver, TalkSender};

/// The number of a request that gets no answer.
const UNANSWERED: u64 = 0;

#[derive(Serialize, Deserialize)]
struct Asked<Q> {
    id: u64,
    request: Q,
}

#[derive(Serialize, Deserialize)]
enum Told<A, N> {
    Answer(u64, A),
    /// There will be no answer.
    Dropped(u64),
    Notice(N),
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The other end is gone, does not take requests, or sent what is no answer.
    #[error("the other process is gone")]
    Ended,
    /// As many calls are waiting as may wait.
    #[error("too many requests wait for an answer")]
    Busy,
    /// The other end gave the request up; what failed there was said there.
    #[error("the other process gave the request up")]
    Dropped,
}

/// An answer, and the descriptors beside it.
pub type Answered<A> = Result<(A, Vec<OwnedFd>), CallError>;

type Then<A> = Box<dyn FnOnce(Answered<A>) + Send>;

/// The end that makes requests `Q` and gets answers `A`.
pub struct RpcClient<Q, A> {
    sender: TalkSender,
    waiting: Arc<Mutex<Waiting<A>>>,
    /// Most calls that wait at once.
    most_waiting: usize,
    requests: PhantomData<fn(Q)>,
}

struct Waiting<A> {
    last: u64,
    calls: HashMap<u64, Then<A>>,
    has_ended: bool,
}

impl<Q: Serialize, A: DeserializeOwned + Send + 'static> RpcClient<Q, A> {
    /// Begins, on a talk that nobody else uses. At most `most_waiting` calls wait at once, and no answer is longer than `most_bytes`. On the
    /// thread that receives, `notice` gets each notice, and `end` is called once the talk has ended: no call waits any more then.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start<N: DeserializeOwned>(
        (sender, mut receiver): (TalkSender, TalkReceiver),
        most_waiting: usize,
        most_bytes: usize,
        mut notice: impl FnMut(N) + Send + 'static,
        end: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let waiting = Waiting { last: UNANSWERED, calls: HashMap::new(), has_ended: false };
        let waiting = Arc::new(Mutex::new(waiting));
        let client = Self {
            sender: sender.clone(),
            waiting: Arc::clone(&waiting),
            most_waiting,
            requests: PhantomData,
        };
        thread::Builder::new().name("answers".to_owned()).spawn(move || {
            while let Ok(Some((told, descriptors))) = receiver.receive::<Told<A, N>>(most_bytes) {
                let take = |id| lock(&waiting).calls.remove(&id);
                match told {
                    Told::Answer(id, answer) => {
                        if let Some(then) = take(id) {
                            then(Ok((answer, descriptors)));
                        }
                    }
                    Told::Dropped(id) => {
                        if let Some(then) = take(id) {
                            then(Err(CallError::Dropped));
                        }
                    }
                    Told::Notice(told) => notice(told),
                }
            }
            // The other end may still be there, if it sent what is no answer.
            sender.end();
            let calls = {
                let mut waiting = lock(&waiting);
                waiting.has_ended = true;
                std::mem::take(&mut waiting.calls)
            };
            calls.into_values().for_each(|then| then(Err(CallError::Ended)));
            end();
        })?;
        Ok(client)
    }

    /// Waits for the answer, until the talk ends.
    ///
    /// # Errors
    /// If there will be none.
    pub fn call(&self, request: &Q) -> Answered<A> {
        let (answer, answered) = sync_channel(1);
        self.call_then(request, move |result| drop(answer.send(result)));
        answered.recv().unwrap_or(Err(CallError::Ended))
    }

    /// Has the answer handed to `then`, once and on the thread that receives; on this one if there will be none. It must not wait there.
    pub fn call_then(&self, request: &Q, then: impl FnOnce(Answered<A>) + Send + 'static) {
        let id = {
            let mut waiting = lock(&self.waiting);
            let refused = match () {
                () if waiting.has_ended => Some(CallError::Ended),
                () if waiting.calls.len() >= self.most_waiting => Some(CallError::Busy),
                () => None,
            };
            if let Some(error) = refused {
                drop(waiting);
                return then(Err(error));
            }
            waiting.last += 1;
            let id = waiting.last;
            waiting.calls.insert(id, Box::new(then));
            id
        };
        // If that fails the talk has ended, and the thread that receives says so.
        let _ = self.sender.send(&Asked { id, request }, &[]);
    }

    /// Makes a request that gets no answer; lost if the talk has ended.
    pub fn tell(&self, request: &Q) {
        let _ = self.sender.send(&Asked { id: UNANSWERED, request }, &[]);
    }
}

impl<Q, A> Drop for RpcClient<Q, A> {
    fn drop(&mut self) {
        self.sender.end();
    }
}

/// Where the answer to a request goes. If it is dropped the caller learns that there will be none.
pub struct Reply {
    id: u64,
    sender: TalkSender,
}

impl Reply {
    /// Answers.
    pub fn send(mut self, answer: &impl Serialize, descriptors: &[BorrowedFd<'_>]) {
        let id = std::mem::replace(&mut self.id, UNANSWERED);
        if id != UNANSWERED {
            // If the other end is gone the answer is not needed.
            let _ = self.sender.send(&Told::<_, ()>::Answer(id, answer), descriptors);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.id != UNANSWERED {
            let _ = self.sender.send(&Told::<(), ()>::Dropped(self.id), &[]);
        }
    }
}

/// Hands each request to `handle`, which must not wait, until the other end is gone. No request is longer than `most_bytes`.
///
/// # Errors
/// If the other end sends what is no request; the talk is ended then.
pub fn serve<Q: DeserializeOwned>(
    sender: &TalkSender,
    mut receiver: TalkReceiver,
    most_bytes: usize,
    mut handle: impl FnMut(Q, Reply),
) -> io::Result<()> {
    loop {
        match receiver.receive::<Asked<Q>>(most_bytes) {
            // Nobody sends descriptors in this direction; they are closed.
            Ok(Some((Asked { id, request }, _))) => handle(request, Reply { id, sender: sender.clone() }),
            Ok(None) => return Ok(()),
            Err(error) => {
                sender.end();
                return Err(error);
            }
        }
    }
}

/// Sends a notice to the client at the other end.
///
/// # Errors
/// If it is gone.
pub fn notify(sender: &TalkSender, notice: &impl Serialize) -> io::Result<()> {
    sender.send(&Told::<(), _>::Notice(notice), &[])
}

/// What waits, also after a panic: each change of it is a single insertion or removal.
fn lock<A>(waiting: &Mutex<Waiting<A>>) -> MutexGuard<'_, Waiting<A>> {
    waiting.lock().past_panic()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::talk::Talk;

    const A_WHILE: Duration = Duration::from_secs(20);

    type Client = RpcClient<u32, String>;

    /// A client, and what its requests come out of.
    fn both(
        most_waiting: usize,
        handle: impl FnMut(u32, Reply) + Send + 'static,
    ) -> (Client, TalkSender, std::sync::mpsc::Receiver<String>) {
        let (one, other) = Talk::pair().unwrap();
        let (sender, receiver) = other.split(None).unwrap();
        let serving = sender.clone();
        thread::spawn(move || serve(&serving, receiver, 100, handle));
        let (told, notices) = channel();
        let ended = told.clone();
        let notice = move |text: String| told.send(text).unwrap();
        let end = move || drop(ended.send("end".to_owned()));
        (Client::start(one.split(None).unwrap(), most_waiting, 100, notice, end).unwrap(), sender, notices)
    }

    fn text(answered: Answered<String>) -> Result<String, CallError> {
        answered.map(|(text, _)| text)
    }

    #[test]
    fn answers_find_who_asked_in_whatever_order_they_come() {
        let mut held = Vec::new();
        let (client, sender, notices) = both(8, move |request, reply: Reply| {
            if request > 0 {
                return held.push((request, reply));
            }
            while let Some((request, reply)) = held.pop() {
                reply.send(&format!("to {request}"), &[]);
            }
            reply.send(&"done", &[]);
        });
        let client = Arc::new(client);
        let (asked, answers) = channel();
        for n in [1, 2, 3] {
            let asked = asked.clone();
            client.call_then(&n, move |answer| asked.send((n, text(answer))).unwrap());
        }
        client.tell(&4);
        assert_eq!(text(client.call(&0)), Ok("done".to_owned()));
        let answers: Vec<_> = answers.iter().take(3).collect();
        let expected = [3, 2, 1].map(|n| (n, Ok(format!("to {n}"))));
        assert_eq!(answers, expected);
        notify(&sender, &"news").unwrap();
        assert_eq!(notices.recv_timeout(A_WHILE).unwrap(), "news");
    }

    #[test]
    fn who_gets_no_answer_learns_why() {
        let mut held = Vec::new();
        let (client, sender, notices) = both(2, move |request, reply| {
            if request > 0 {
                held.push(reply);
            }
        });
        // A handler that drops its reply, as one does that panics.
        assert_eq!(text(client.call(&0)), Err(CallError::Dropped));
        let (asked, answers) = channel();
        for n in [1, 2, 3] {
            let asked = asked.clone();
            client.call_then(&n, move |answer| asked.send((n, text(answer))).unwrap());
        }
        assert_eq!(answers.recv_timeout(A_WHILE).unwrap(), (3, Err(CallError::Busy)));
        sender.end();
        let mut ended: Vec<_> = answers.iter().take(2).collect();
        ended.sort_by_key(|(n, _)| *n);
        assert_eq!(ended, [(1, Err(CallError::Ended)), (2, Err(CallError::Ended))]);
        assert_eq!(notices.recv_timeout(A_WHILE).unwrap(), "end");
        assert_eq!(text(client.call(&4)), Err(CallError::Ended));
    }

    #[test]
    fn what_is_no_request_and_no_answer_ends_the_talk() {
        let (one, other) = Talk::pair().unwrap();
        let (sender, receiver) = one.split(None).unwrap();
        sender.send(&"no request", &[]).unwrap();
        let (serving, requests) = other.split(None).unwrap();
        assert!(serve(&serving, requests, 100, |_: u32, _| panic!("of this test")).is_err());
        drop(receiver);
        let (client, sender, notices) = both(2, |_, _| {});
        sender.send(&"no answer", &[]).unwrap();
        assert_eq!(notices.recv_timeout(A_WHILE).unwrap(), "end");
        assert_eq!(text(client.call(&1)), Err(CallError::Ended));
    }
}
