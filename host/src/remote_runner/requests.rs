//! Requests: what the engine has asked of a runner, in order: what is still to be sent, and what has no answer yet. Bounded.

use std::collections::{BTreeMap, VecDeque};

use postern_core::{OpeningKey, OpeningNote};
use postern_link::RunnerRequest;

/// Most requests that wait to be sent.
const MOST_WAITING: usize = 8192;

/// A request, and the note that goes with what is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotedRequest {
    pub(super) request: RunnerRequest,
    pub(super) note: OpeningNote,
}

impl From<RunnerRequest> for NotedRequest {
    /// Without a note.
    fn from(request: RunnerRequest) -> Self {
        Self { request, note: OpeningNote::default() }
    }
}

/// Requests to a runner.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: VecDeque<NotedRequest>,
    /// By serial, which orders and records have from one series, so in the order in which they were asked for.
    sent: BTreeMap<u64, SentRequest>,
}

#[derive(Debug)]
enum SentRequest {
    Order,
    Record(OpeningKey),
}

/// What was sent and is never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The serial of an order.
    Order(u64),
    /// That of a record.
    Record(u64),
}

impl Requests {
    /// Adds a request behind all others; it comes back if there is no room.
    pub(super) fn push(&mut self, request: NotedRequest) -> Result<(), NotedRequest> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(request);
        }
        self.waiting.push_back(request);
        Ok(())
    }

    /// What is to be sent next.
    pub(super) fn next(&self) -> Option<&NotedRequest> {
        self.waiting.front()
    }

    /// That is on its way.
    pub(super) fn sent(&mut self) {
        let sent = match self.waiting.pop_front().map(|sent| sent.request) {
            Some(RunnerRequest::Run { order, .. }) => (order.serial, SentRequest::Order),
            Some(RunnerRequest::Record { serial, key, .. }) => (serial, SentRequest::Record(key)),
            _ => return,
        };
        self.sent.insert(sent.0, sent.1);
    }

    /// Notes an answer; false if nothing with this serial waits for one.
    pub(super) fn answered(&mut self, serial: u64) -> bool {
        self.sent.remove(&serial).is_some()
    }

    /// Whether nothing waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether anything that waits to be sent is to be answered.
    pub(super) fn is_any_asked(&self) -> bool {
        self.waiting.iter().any(is_asked)
    }

    /// The runner is gone: what was sent is not answered any more. The next one is first asked to strike out what may have been recorded, since
    /// the engine takes it for not recorded, and does not open it.
    pub(super) fn lose(&mut self) -> Vec<Unanswered> {
        let mut unanswered = Vec::new();
        let mut strike = Vec::new();
        for (serial, sent) in std::mem::take(&mut self.sent) {
            match sent {
                SentRequest::Order => unanswered.push(Unanswered::Order(serial)),
                SentRequest::Record(key) => {
                    strike.push(RunnerRequest::StrikeOut(key));
                    unanswered.push(Unanswered::Record(serial));
                }
            }
        }
        strike.into_iter().rev().for_each(|request| self.waiting.push_front(request.into()));
        unanswered
    }

    /// Takes out all that waits for an answer; the rest goes on waiting for a runner.
    pub(super) fn take_waiting(&mut self) -> Vec<NotedRequest> {
        let (asked, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(is_asked);
        self.waiting = rest.into();
        asked
    }
}

fn is_asked(NotedRequest { request, .. }: &NotedRequest) -> bool {
    matches!(request, RunnerRequest::Run { .. } | RunnerRequest::Record { .. })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_core::{Act, Client, DoorId, Order};

    use super::*;

    fn key(occurrence: u64) -> OpeningKey {
        OpeningKey { door: DoorId(1), client: Client::alone([192, 0, 2, 1].into()), occurrence }
    }

    fn run(serial: u64) -> RunnerRequest {
        let OpeningKey { door, client, occurrence } = key(0);
        RunnerRequest::Run {
            table: 1,
            rule: None,
            order: Order { serial, door, client, occurrence, act: Act::Close },
        }
    }

    fn record(serial: u64) -> RunnerRequest {
        RunnerRequest::Record {
            table: 1,
            rule: None,
            serial,
            key: key(serial),
            lasts: Duration::from_secs(1),
        }
    }

    #[test]
    fn what_a_lost_runner_was_sent_is_never_answered_and_its_records_are_struck_out_first() {
        let mut requests = Requests::default();
        for request in [record(1), run(2), record(3), run(4)] {
            requests.push(request.into()).unwrap();
        }
        (0..3).for_each(|_| requests.sent());
        assert!(requests.answered(1) && !requests.answered(1) && !requests.answered(4));
        assert_eq!(requests.lose(), [Unanswered::Order(2), Unanswered::Record(3)]);
        let strike_out = NotedRequest::from(RunnerRequest::StrikeOut(key(3)));
        assert_eq!(requests.next(), Some(&strike_out));
        assert_eq!(requests.take_waiting(), [run(4).into()]);
        assert_eq!(requests.next(), Some(&strike_out), "it waits for a runner");
        assert!(!requests.answered(2));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut requests = Requests::default();
        let count = (0..).take_while(|serial| requests.push(run(*serial).into()).is_ok()).count();
        assert_eq!(count, MOST_WAITING);
    }
}
