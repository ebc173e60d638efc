//! Filter: the packet filter of this world, which keeps time by itself, and the doorman that carries orders out in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use postern_core::{Act, Client, DoorId, ListedOpening, Listing, OpeningNote, Order, OrderError, Receipt};

use crate::configuration::{Plan, SSH};

/// What is open in the packet filter, and what the doorman has to do.
pub(crate) struct Filter {
    /// Until when each element is there, and what is noted with it.
    elements: BTreeMap<(DoorId, Client), (Duration, OpeningNote)>,
    /// The set that is there, if there is one.
    set: Option<DoorId>,
    /// Whether the set holds prefixes.
    is_wide: bool,
    /// Whether the set was made anew since it was listed.
    is_anew: bool,
    jobs: VecDeque<(Duration, Job)>,
    /// How long an order takes; none: it is carried out at once, and its answer is lost.
    pub(crate) pace: Option<Duration>,
    pub(crate) fails: bool,
    /// Whether any order failed so far: what is there may not be what the engine wanted.
    pub(crate) has_failed: bool,
}

/// What the doorman does next.
#[derive(Clone, Debug)]
enum Job {
    Order(Order, OpeningNote),
    PutInPlace(Plan),
    List,
    /// It was told already that it failed.
    Answer(Receipt),
}

/// What the doorman says.
pub(crate) enum Said {
    Answered(Receipt),
    InPlace(Plan),
    Listed(Listing),
    /// It has done something and nobody hears of it.
    Nothing,
}

impl Filter {
    pub(crate) const fn new() -> Self {
        Self {
            elements: BTreeMap::new(),
            set: None,
            is_wide: false,
            is_anew: true,
            jobs: VecDeque::new(),
            pace: Some(Duration::ZERO),
            fails: false,
            has_failed: false,
        }
    }

    pub(crate) fn order(&mut self, order: Order, note: OpeningNote, now: Duration) {
        self.enqueue(Job::Order(order, note), now);
    }

    pub(crate) fn put_in_place(&mut self, plan: Plan, now: Duration) {
        self.enqueue(Job::PutInPlace(plan), now);
    }

    pub(crate) fn list(&mut self, now: Duration) {
        self.enqueue(Job::List, now);
    }

    fn enqueue(&mut self, job: Job, now: Duration) {
        let last = self.jobs.back().map_or(now, |(at, _)| *at);
        self.jobs.push_back((last.max(now + self.pace.unwrap_or_default()), job));
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.jobs.front().map(|(at, _)| *at)
    }

    /// Does the next job.
    pub(crate) fn work(&mut self, now: Duration) -> Said {
        self.expire(now);
        match self.jobs.pop_front().map(|(_, job)| job) {
            None => Said::Nothing,
            Some(Job::Order(order, note)) => {
                let outcome = self.carry_out(order, note, now);
                match self.pace {
                    Some(_) => Said::Answered(Receipt { serial: order.serial, outcome }),
                    None => Said::Nothing,
                }
            }
            Some(Job::PutInPlace(plan)) => {
                self.put(&plan);
                Said::InPlace(plan)
            }
            Some(Job::List) => Said::Listed(self.listing(now)),
            Some(Job::Answer(receipt)) => Said::Answered(receipt),
        }
    }

    fn carry_out(&mut self, order: Order, note: OpeningNote, now: Duration) -> Result<(), OrderError> {
        if self.set != Some(order.door) {
            return Err("no such door".to_owned().into());
        }
        if self.fails {
            self.has_failed = true;
            return Err("broken".to_owned().into());
        }
        let place = (order.door, order.client);
        match order.act {
            Act::Open(lasts) | Act::Extend(lasts) => {
                assert!(order.client.is_single() || self.is_wide, "{order:?} is for a prefix");
                self.elements.insert(place, (now + lasts, note));
            }
            Act::Close | Act::Expire => drop(self.elements.remove(&place)),
        }
        Ok(())
    }

    /// Elements of a set that is there under another number live on, if it can hold them.
    fn put(&mut self, plan: &Plan) {
        let set = plan.ids.get(&SSH).copied();
        if set == self.set {
            return;
        }
        let is_wide = set.is_some_and(|set| !plan.policy.doors[&set].prefixes.is_empty());
        self.is_wide = is_wide;
        let elements = std::mem::take(&mut self.elements);
        if let (Some(set), Some(_)) = (set, self.set) {
            let fits = |client: &Client| client.is_single() || is_wide;
            let kept = elements.into_iter().filter(|((_, client), _)| fits(client));
            self.elements = kept.map(|((_, client), element)| ((set, client), element)).collect();
        } else {
            self.is_anew = true;
        }
        self.set = set;
    }

    fn listing(&mut self, now: Duration) -> Listing {
        let openings = self.elements.iter().map(|((door, client), (until, note))| ListedOpening {
            door: *door,
            client: *client,
            remaining: until.saturating_sub(now),
            note: note.clone(),
        });
        let lived_on = self.set.filter(|_| !std::mem::take(&mut self.is_anew));
        Listing { openings: openings.collect(), lived_on: lived_on.into_iter().collect::<BTreeSet<_>>() }
    }

    /// Whether the doorman has nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// What is open now.
    pub(crate) fn open(&mut self, now: Duration) -> usize {
        self.expire(now);
        self.elements.len()
    }

    /// Until when what is open is open.
    pub(crate) fn elements(&self) -> impl Iterator<Item = (Client, Duration)> {
        self.elements.iter().map(|((_, client), (until, _))| (*client, *until))
    }

    fn expire(&mut self, now: Duration) {
        self.elements.retain(|_, (until, _)| *until > now);
    }

    /// Somebody removes what is open for a client.
    pub(crate) fn remove(&mut self, removed: Client, now: Duration) {
        self.elements.retain(|(_, client), _| *client != removed);
        self.list(now);
    }

    /// Somebody flushes everything, and the doorman makes it anew.
    pub(crate) fn flush(&mut self, now: Duration) {
        self.elements.clear();
        self.is_anew = true;
        self.list(now);
    }

    /// Orders under way are carried out or not, and no answer of them comes.
    fn end(&mut self, orders_live: bool, now: Duration) -> Vec<u64> {
        self.expire(now);
        let mut serials = Vec::new();
        for (_, job) in std::mem::take(&mut self.jobs) {
            match job {
                Job::Order(order, note) => {
                    if orders_live {
                        drop(self.carry_out(order, note, now));
                    }
                    serials.push(order.serial);
                }
                Job::Answer(receipt) => serials.push(receipt.serial),
                Job::PutInPlace(_) | Job::List => {}
            }
        }
        serials
    }

    /// The engine is gone.
    pub(crate) fn lose_engine(&mut self, orders_live: bool, now: Duration) {
        self.end(orders_live, now);
        self.is_anew = true;
    }

    /// The doorman dies, and another one takes its place: every order under way is answered with an error, and what was to be put in
    /// place is.
    pub(crate) fn die(&mut self, orders_live: bool, now: Duration) {
        let plans = self.jobs.iter().filter_map(|(_, job)| match job {
            Job::PutInPlace(plan) => Some(plan.clone()),
            _ => None,
        });
        let plans = plans.collect::<Vec<_>>();
        self.is_anew = true;
        for serial in self.end(orders_live, now) {
            let outcome = Err("the doorman is being restarted".to_owned().into());
            self.jobs.push_back((now, Job::Answer(Receipt { serial, outcome })));
        }
        plans.into_iter().for_each(|plan| self.put_in_place(plan, now));
        self.list(now);
    }
}
