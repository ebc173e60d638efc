//! OrderPolicy: holds every order to the doorman's own table, whatever has become of the engine that sends it. It carries nothing out, and
//! reads no clock.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use postern_core::{
    Act, Client, DoorId, DoorsTable, DropReason, Family, Listing, NetDoor, Order, OrderError, OrderLimits,
    SetName, Width,
};

use crate::order_rate::OrderRate;

/// What is open so far, by what was ordered, and how much more may be.
#[derive(Debug)]
pub struct OrderPolicy {
    doors: HashMap<DoorId, NetDoor>,
    limits: OrderLimits,
    rate: OrderRate,
    /// Until when what a table before this one allowed may still be open.
    before: Option<Instant>,
    open: HashMap<(DoorId, Client), Instant>,
    /// The same by time. As many as in `open`, which the limit bounds.
    deadlines: BTreeSet<(Instant, DoorId, Client)>,
}

impl OrderPolicy {
    /// Goes by this table, with nothing open.
    #[must_use]
    pub fn new(table: &DoorsTable, now: Instant) -> Self {
        let limits = table.limits;
        Self {
            doors: table.doors.iter().cloned().collect(),
            limits,
            rate: OrderRate::new(limits.orders_per_second, burst(&limits), now),
            before: None,
            open: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Goes by another table from now on. What is open stays so for the time that it has, and may be opened again for the rest of that if
    /// another program removes it.
    pub fn change(&mut self, table: &DoorsTable, now: Instant) {
        let until = now + self.limits.longest;
        self.before = Some(self.before.map_or(until, |before| before.max(until)));
        self.limits = table.limits;
        self.rate.change(self.limits.orders_per_second, burst(&self.limits), now);
        self.doors = table.doors.iter().cloned().collect();
    }

    /// Counts what an earlier doorman left open, as far as the limit goes.
    pub fn count_in(&mut self, listing: &Listing, now: Instant) {
        for opening in &listing.openings {
            if self.open.len() >= self.limits.most_openings {
                break;
            }
            self.note(opening.door, opening.client, now + opening.remaining);
        }
    }

    /// Whether an order may be carried out; if so it counts.
    ///
    /// # Errors
    /// What it is beyond, by name.
    pub fn admit(&mut self, order: &Order, now: Instant) -> Result<(), OrderError> {
        let refused = |reason, words: String| Err(OrderError::new(reason, words));
        if !self.rate.take(now) {
            let most = self.limits.orders_per_second;
            return refused(DropReason::OrdersTooFast, format!("the doorman takes {most} orders a second"));
        }
        let door = self.doors.get(&order.door);
        if let Err(words) = door.map_or_else(|| Err(NO_DOOR.to_owned()), |door| fits(door, order.client)) {
            return refused(DropReason::BeyondTable, words);
        }
        match order.act {
            Act::Open(lasts) | Act::Extend(lasts) => {
                self.expire(now);
                let until = now + lasts;
                if lasts > self.limits.longest && self.before.is_none_or(|before| until > before) {
                    let longest = self.limits.longest.as_secs_f64();
                    let words = format!("the doorman opens for {longest} s at most");
                    return refused(DropReason::BeyondTable, words);
                }
                let is_new = !self.open.contains_key(&(order.door, order.client));
                if is_new && self.open.len() >= self.limits.most_openings {
                    let words = format!("the doorman keeps {} openings at once", self.limits.most_openings);
                    return refused(DropReason::OpeningsFull, words);
                }
                self.note(order.door, order.client, until);
            }
            Act::Close | Act::Expire => self.forget(order.door, order.client),
        }
        Ok(())
    }

    /// An order that was admitted failed: what it was to open is not open.
    pub fn failed(&mut self, order: &Order) {
        if matches!(order.act, Act::Open(_)) {
            self.forget(order.door, order.client);
        }
    }

    /// How many are open, as far as this knows.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    fn note(&mut self, door: DoorId, client: Client, until: Instant) {
        if let Some(before) = self.open.insert((door, client), until) {
            self.deadlines.remove(&(before, door, client));
        }
        self.deadlines.insert((until, door, client));
    }

    fn forget(&mut self, door: DoorId, client: Client) {
        if let Some(until) = self.open.remove(&(door, client)) {
            self.deadlines.remove(&(until, door, client));
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((until, door, client)) = self.deadlines.first().copied()
            && until <= now
        {
            self.forget(door, client);
        }
        self.before = self.before.filter(|before| *before > now);
    }
}

const NO_DOOR: &str = "the doorman has no such door in its table";

/// All openings may be lost at once, and are ordered again then, while those that expired are ordered closed.
fn burst(limits: &OrderLimits) -> u32 {
    let openings = u32::try_from(limits.most_openings).unwrap_or(u32::MAX);
    openings.saturating_mul(2).max(limits.orders_per_second)
}

/// Whether a door can be open for such a client.
fn fits(door: &NetDoor, client: Client) -> Result<(), String> {
    let is_ipv6 = client.address().is_ipv6();
    match door {
        NetDoor::Guard(_) if client.is_single() => Ok(()),
        NetDoor::Guard(door) => match Width::of(client.net()).filter(|width| door.prefixes.contains(width)) {
            Some(_) => Ok(()),
            None => {
                Err(format!("the doorman's table allows no prefixes of {} bits at this door", client.width()))
            }
        },
        NetDoor::Set { .. } if !client.is_single() || client.link() != 0 => {
            Err("the door is a set of single addresses without a link".to_owned())
        }
        NetDoor::Set { sets } if !sets.iter().any(|set| may_hold(set, is_ipv6)) => {
            Err(format!("the door has no set for {} clients", if is_ipv6 { "IPv6" } else { "IPv4" }))
        }
        NetDoor::Set { .. } => Ok(()),
    }
}

/// Whether a set can be for addresses of a family; one in a table for both families can be for either.
const fn may_hold(set: &SetName, is_ipv6: bool) -> bool {
    match set.family {
        Family::Inet => true,
        Family::Ip => !is_ipv6,
        Family::Ip6 => is_ipv6,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_core::{GuardDoor, GuardProtocol, ListedOpening, OnClose, OpeningNote, PortRange};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);
    const SSH: u32 = 1;
    const WEB: u32 = 2;

    fn table(most_openings: usize) -> DoorsTable {
        let guard = NetDoor::Guard(GuardDoor {
            name: "ssh".into(),
            ports: vec![PortRange::single(GuardProtocol::Tcp, 22)],
            always: Vec::new(),
            prefixes: vec!["ipv6/64".parse().unwrap()],
            on_close: OnClose::Keep,
        });
        let set = NetDoor::Set { sets: vec!["ip filter web".parse().unwrap()] };
        let limits = OrderLimits { longest: LONGEST, most_openings, orders_per_second: 100 };
        DoorsTable { number: 1, doors: vec![(DoorId(SSH), guard), (DoorId(WEB), set)], limits }
    }

    fn order(door: u32, client: &str, act: Act) -> Order {
        Order { serial: 1, door: DoorId(door), client: client.parse().unwrap(), occurrence: 0, act }
    }

    fn open(seconds: u64) -> Act {
        Act::Open(Duration::from_secs(seconds))
    }

    /// A policy, and what it says at so many seconds.
    struct Trial(OrderPolicy, Instant);

    impl Trial {
        fn new(most_openings: usize) -> Self {
            let now = Instant::now();
            Self(OrderPolicy::new(&table(most_openings), now), now)
        }

        fn at(&self, seconds: u64) -> Instant {
            self.1 + Duration::from_secs(seconds)
        }

        fn says(&mut self, seconds: u64, door: u32, client: &str, act: Act) -> Option<DropReason> {
            let now = self.at(seconds);
            self.0.admit(&order(door, client, act), now).err().map(|error| error.reason())
        }
    }

    #[test]
    fn only_doors_of_the_table_for_clients_that_fit() {
        let mut trial = Trial::new(10);
        for (door, client) in [
            (SSH, "192.0.2.7"),
            (SSH, "2001:db8::7"),
            (SSH, "2001:db8::/64"),
            (SSH, "fe80::1%3"),
            (WEB, "192.0.2.7"),
        ] {
            assert_eq!(trial.says(0, door, client, open(60)), None, "{client}");
            assert_eq!(trial.says(0, door, client, Act::Close), None, "{client}");
        }
        for (door, client) in [
            (3, "192.0.2.7"),
            (SSH, "192.0.2.0/24"),
            (SSH, "2001:db8::/48"),
            (SSH, "::/16"),
            (WEB, "192.0.2.0/24"),
            (WEB, "2001:db8::7"),
            (WEB, "fe80::1%3"),
        ] {
            assert_eq!(trial.says(0, door, client, open(60)), Some(DropReason::BeyondTable), "{client}");
            assert_eq!(trial.says(0, door, client, Act::Close), Some(DropReason::BeyondTable), "{client}");
        }
    }

    #[test]
    fn nothing_is_open_longer_than_the_table_says() {
        let mut trial = Trial::new(10);
        for act in [open(61), Act::Extend(Duration::from_millis(60_001)), open(1 << 40)] {
            assert_eq!(trial.says(0, SSH, "192.0.2.7", act), Some(DropReason::BeyondTable));
        }
        assert_eq!(trial.says(0, SSH, "192.0.2.7", open(60)), None);
    }

    #[test]
    fn what_a_table_before_allowed_may_be_opened_again_for_the_rest_of_its_time() {
        let mut trial = Trial::new(10);
        assert_eq!(trial.says(0, SSH, "192.0.2.7", open(60)), None);
        let mut shorter = table(10);
        shorter.limits.longest = Duration::from_secs(10);
        let now = trial.at(1);
        trial.0.change(&shorter, now);
        assert_eq!(trial.says(2, SSH, "192.0.2.7", open(59)), None);
        assert_eq!(trial.says(2, SSH, "192.0.2.7", open(60)), Some(DropReason::BeyondTable));
        assert_eq!(trial.says(62, SSH, "192.0.2.7", open(11)), Some(DropReason::BeyondTable));
        assert_eq!(trial.says(62, SSH, "192.0.2.7", open(10)), None);
    }

    #[test]
    fn as_many_openings_at_once_as_the_table_says() {
        let mut trial = Trial::new(2);
        assert_eq!(trial.says(0, SSH, "192.0.2.1", open(10)), None);
        assert_eq!(trial.says(0, SSH, "192.0.2.2", open(20)), None);
        assert_eq!(trial.says(1, SSH, "192.0.2.3", open(10)), Some(DropReason::OpeningsFull));
        // One that is open already is no further one.
        assert_eq!(trial.says(1, SSH, "192.0.2.1", Act::Extend(Duration::from_secs(20))), None);
        assert_eq!(trial.says(11, SSH, "192.0.2.3", open(10)), Some(DropReason::OpeningsFull));
        // By its time, by an order, and because it did not open.
        assert_eq!(trial.says(20, SSH, "192.0.2.3", open(10)), None);
        assert_eq!(trial.says(20, SSH, "192.0.2.4", open(10)), Some(DropReason::OpeningsFull));
        assert_eq!(trial.says(20, SSH, "192.0.2.3", Act::Close), None);
        assert_eq!(trial.says(20, SSH, "192.0.2.4", open(10)), None);
        trial.0.failed(&order(SSH, "192.0.2.4", open(10)));
        assert_eq!(trial.says(20, SSH, "192.0.2.5", open(10)), None);
        assert_eq!(trial.0.open(), 2);
    }

    #[test]
    fn what_was_open_before_counts_within_the_limit() {
        let mut trial = Trial::new(2);
        let opening = |client: &str, seconds| ListedOpening {
            door: DoorId(SSH),
            client: client.parse().unwrap(),
            remaining: Duration::from_secs(seconds),
            note: OpeningNote::default(),
        };
        let openings = (1..=9).map(|n| opening(&format!("192.0.2.{n}"), n * 10)).collect();
        let now = trial.at(0);
        trial.0.count_in(&Listing { openings, ..Listing::default() }, now);
        assert_eq!(trial.0.open(), 2);
        assert_eq!(trial.says(5, SSH, "192.0.2.77", open(10)), Some(DropReason::OpeningsFull));
        assert_eq!(trial.says(10, SSH, "192.0.2.77", open(10)), None);
    }

    #[test]
    fn orders_have_a_rate_whatever_they_are_for() {
        let mut trial = Trial::new(10);
        let admitted = (0..1000).filter(|_| trial.says(0, SSH, "192.0.2.7", open(1)).is_none()).count();
        assert_eq!(admitted, 100);
        assert_eq!(trial.says(0, 99, "192.0.2.7", Act::Close), Some(DropReason::OrdersTooFast));
        assert_eq!(trial.says(1, SSH, "192.0.2.7", Act::Close), None);
    }
}
