//! PassedPackets: how many packets came through openings, for whoever asks what is open. It asks the doorman about a few at a time, so that no order
//! waits behind many questions, about none twice a second, and waits for no more than a moment: what is not answered is not known.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postern_core::OpeningKey;
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::net_doors::DoorsReply;

/// Questions that the doorman has not answered, at most. An order that comes meanwhile waits for so many, up to ten microseconds each.
const AT_ONCE: usize = 8;
/// How long an answer waits for all of them together.
const PATIENCE: Duration = Duration::from_millis(500);
/// For how long a number is told again.
const FRESH: Duration = Duration::from_secs(1);
/// Most openings that the doorman is asked about within that time.
const MOST: usize = 4000;

/// Openings, each with whom to tell.
type Questions = Vec<(OpeningKey, DoorsReply<Option<u64>>)>;

/// What the doorman said lately, and what it is still to say.
pub(super) struct PassedPackets {
    patience: Duration,
    fresh: Duration,
    known: Mutex<HashMap<OpeningKey, (Instant, Option<u64>)>>,
    /// One for each question that may be under way. It is given back when that has its answer, or can have none any more.
    places: Arc<Semaphore>,
}

impl Default for PassedPackets {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        Self { patience: PATIENCE, fresh: FRESH, known: Mutex::default(), places }
    }
}

impl PassedPackets {
    /// How many packets came through each of these openings, as far as that is known in time. `ask` passes questions on, and waits for nothing.
    pub(super) async fn of(&self, keys: &[OpeningKey], ask: impl Fn(Questions)) -> HashMap<OpeningKey, u64> {
        let deadline = Instant::now() + self.patience;
        // Whoever asks meanwhile is told what comes of this.
        let Ok(mut known) = timeout_at(deadline, self.known.lock()).await else { return HashMap::new() };
        let now = Instant::now();
        known.retain(|_, (asked, _)| now.duration_since(*asked) < self.fresh);
        let room = MOST.saturating_sub(known.len());
        let unknown = keys.iter().filter(|key| !known.contains_key(key)).take(room);
        let unknown: Vec<_> = unknown.copied().collect();
        for some in unknown.chunks(AT_ONCE) {
            let Some(answers) = self.answers(some, &ask, deadline).await else { break };
            known.extend(some.iter().zip(answers).map(|(key, packets)| (*key, (now, packets))));
        }
        let packets = |key: &OpeningKey| Some((*key, known.get(key)?.1?));
        keys.iter().filter_map(packets).collect()
    }

    /// An answer for each, in order; none if one of them does not come in time.
    async fn answers(
        &self,
        keys: &[OpeningKey],
        ask: &impl Fn(Questions),
        deadline: Instant,
    ) -> Option<Vec<Option<u64>>> {
        let (mut questions, mut answers): (Questions, _) = (Vec::new(), Vec::new());
        for key in keys {
            let place = Arc::clone(&self.places).acquire_owned();
            let place = timeout_at(deadline, place).await.ok()?.ok()?;
            let (reply, answer) = oneshot::channel();
            let reply = move |packets| {
                // If nobody waits for it any more, it is not needed.
                let _ = reply.send(packets);
                drop(place);
            };
            questions.push((*key, Box::new(reply)));
            answers.push(answer);
        }
        ask(questions);
        let mut counted = Vec::with_capacity(keys.len());
        for answer in answers {
            counted.push(timeout_at(deadline, answer).await.ok()?.ok()?);
        }
        Some(counted)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use postern_core::{Client, DoorId};

    use super::*;

    fn keys(count: u32) -> Vec<OpeningKey> {
        let client = |n: u32| Client::alone(std::net::Ipv4Addr::from(0x0A00_0000 + n).into());
        (0..count).map(|n| OpeningKey { door: DoorId(1), client: client(n), occurrence: 0 }).collect()
    }

    fn counts(patience: Duration, fresh: Duration) -> PassedPackets {
        PassedPackets { patience, fresh, ..PassedPackets::default() }
    }

    fn on_runtime(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    #[test]
    fn a_few_are_asked_about_at_once_and_none_twice_while_its_number_is_fresh() {
        on_runtime(async {
            let counts = counts(Duration::from_mins(1), Duration::from_mins(10));
            let asked = RefCell::new(Vec::new());
            let ask = |questions: Questions| {
                assert!(questions.len() <= AT_ONCE);
                for (key, reply) in questions {
                    asked.borrow_mut().push(key);
                    // Every third has no counter.
                    let number = asked.borrow().len() as u64;
                    reply((!number.is_multiple_of(3)).then_some(number));
                }
            };
            let keys = keys(100);
            let told = counts.of(&keys[..60], ask).await;
            assert_eq!(told.len(), 40);
            assert_eq!((told.get(&keys[0]), told.get(&keys[2])), (Some(&1), None));
            assert_eq!(counts.of(&keys[..60], ask).await, told);
            assert_eq!(asked.borrow().len(), 60);
            let more = counts.of(&keys[50..], ask).await;
            assert_eq!(*asked.borrow(), keys);
            assert_eq!(more.get(&keys[99]), Some(&100));
        });
    }

    #[test]
    fn a_number_that_is_old_is_asked_for_again() {
        on_runtime(async {
            let counts = counts(Duration::from_mins(1), Duration::ZERO);
            for expected in 1..4 {
                let ask = |questions: Questions| {
                    questions.into_iter().for_each(|(_, reply)| reply(Some(expected)));
                };
                assert_eq!(counts.of(&keys(1), ask).await.into_values().collect::<Vec<_>>(), [expected]);
            }
        });
    }

    #[test]
    fn not_too_many_are_asked_about_in_a_time() {
        on_runtime(async {
            let counts = counts(Duration::from_mins(1), Duration::from_mins(10));
            let ask = |questions: Questions| questions.into_iter().for_each(|(_, reply)| reply(Some(1)));
            assert_eq!(counts.of(&keys(5000), ask).await.len(), MOST);
            assert_eq!(counts.of(&keys(5001)[5000..], ask).await.len(), 0);
        });
    }

    #[test]
    fn what_is_not_answered_in_time_is_not_known_and_what_waits_at_the_doorman_is_bounded() {
        on_runtime(async {
            let counts = counts(Duration::from_millis(20), Duration::ZERO);
            let hanging = RefCell::new(Vec::new());
            let hang = |questions: Questions| hanging.borrow_mut().extend(questions);
            for _ in 0..5 {
                assert_eq!(counts.of(&keys(100), hang).await, HashMap::new());
                assert_eq!(hanging.borrow().len(), AT_ONCE);
            }
            // Some are answered too late, and others never.
            let late = hanging.borrow_mut().split_off(AT_ONCE / 2);
            late.into_iter().for_each(|(_, reply)| reply(Some(1)));
            hanging.borrow_mut().clear();
            let counts = PassedPackets { patience: Duration::from_mins(1), ..counts };
            let ask = |questions: Questions| questions.into_iter().for_each(|(_, reply)| reply(Some(2)));
            assert_eq!(counts.of(&keys(100), ask).await.len(), 100);
        });
    }
}
