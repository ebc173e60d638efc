//! EngineEnd: the runner's end of the order link. It takes no more than it can answer, and drops no answer.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use postern_core::OpeningNote;
use postern_link::{Hello, LARGEST_ANSWER, OrderLink, Received, RunnerAnswer, RunnerRequest, Sent};
use rustix::event::PollFlags;

/// With so many answers that the engine has not taken, no further request is.
const MOST_WAITING: usize = 1024;
/// Most requests that are taken before anything else is looked at.
const BATCH: usize = 64;

/// Why the link ended; none if the engine is gone.
pub(super) type End = Option<String>;

/// The link to one engine.
pub(super) struct EngineEnd {
    number: u64,
    link: OrderLink,
    inbox: Box<[u8; LARGEST_ANSWER]>,
    /// What the engine has not taken, in order. Answers to what is under way come on top of the bound, and that is bounded as well.
    outbox: VecDeque<Vec<u8>>,
    hello: Hello,
    /// The engine's hello has come.
    is_known: bool,
}

impl EngineEnd {
    /// Greets the engine of this number.
    pub(super) fn new(number: u64, link: OrderLink) -> io::Result<Self> {
        let hello = Hello::of_this_process()?;
        let mut end = Self {
            number,
            link,
            inbox: Box::new([0; LARGEST_ANSWER]),
            outbox: VecDeque::new(),
            hello,
            is_known: false,
        };
        end.say(&RunnerAnswer::Hello(hello));
        Ok(end)
    }

    /// That of the engine.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Sends an answer now, or when the engine has taken those before it.
    pub(super) fn say(&mut self, answer: &RunnerAnswer) {
        self.outbox.push_back(answer.encode());
        // An end is noticed when something is received.
        let _ = self.flush();
    }

    /// For what to wait.
    pub(super) fn wanted(&self) -> PollFlags {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.outbox.len() < MOST_WAITING);
        wanted.set(PollFlags::OUT, !self.outbox.is_empty());
        wanted
    }

    /// Sends and takes what there is; `answer` acts on each request with its note, and says what is to be answered at once.
    ///
    /// # Errors
    /// If the link has ended.
    pub(super) fn serve(
        &mut self,
        mut answer: impl FnMut(u64, RunnerRequest, OpeningNote) -> Option<RunnerAnswer>,
    ) -> Result<(), End> {
        self.flush()?;
        for _ in 0..BATCH {
            if self.outbox.len() >= MOST_WAITING {
                return Ok(());
            }
            let (request, note) = match self.link.receive(&mut self.inbox) {
                Received::Message(length) => {
                    let message = self.inbox.get(..length).unwrap_or(&self.inbox[..]);
                    RunnerRequest::decode_noted(message)
                        .map_err(|odd| Some(format!("engine to runner: {odd}")))?
                }
                Received::Nothing => return Ok(()),
                Received::Ended => return Err(None),
            };
            match request {
                RunnerRequest::Hello(hello) if !self.is_known && hello == self.hello => self.is_known = true,
                RunnerRequest::Hello(_) if !self.is_known => {
                    return Err(Some("engine and runner are not the same program".to_owned()));
                }
                _ if !self.is_known => {
                    return Err(Some("engine to runner: it did not say hello first".to_owned()));
                }
                RunnerRequest::Hello(_) => {
                    return Err(Some("engine to runner: it said hello twice".to_owned()));
                }
                request => {
                    if let Some(answer) = answer(self.number, request, note) {
                        self.say(&answer);
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), End> {
        while let Some(message) = self.outbox.front() {
            match self.link.send(message) {
                Sent::Sent => drop(self.outbox.pop_front()),
                Sent::Full => return Ok(()),
                Sent::Ended => return Err(None),
            }
        }
        Ok(())
    }
}

impl AsFd for EngineEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}
