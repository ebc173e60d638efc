//! Recent: what was reported of each address lately, so that somebody can ask afterwards why a knock failed.
//!
//! It is bounded, and a flood must not wash out of it what somebody will ask for. So an address has [`MOST_OF_ADDRESS`] records, and a network that
//! one attacker may have (a /24, a /64) a hundredth of the room. An address is kept among those that came as far as it did: no further than a first
//! step, to a second, further. Spoofed sources can send any ports: a scan goes through some steps of a sequence whose ports ascend, and then fills
//! that part; who came further than it is not touched. Each owner of rules has such a memory of its own, since rules say themselves how far
//! somebody came.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use hashbrown::DefaultHashBuilder;
use hashbrown::hash_map::{Entry, HashMap};
use ipnet::IpNet;
use postern_core::{Client, RuleId, TenantId};
use postern_text::panic::PastPanic;

/// Records of one address.
pub(super) const MOST_OF_ADDRESS: usize = 64;
/// Records of a part of an owner's memory.
const PART: usize = 4096;
/// Parts: of those who came no further than a first step, to a second, and further.
const PARTS: usize = 3;
/// A network has at most one in so many of a part's records.
const NETWORK_SHARE: usize = 100;
/// A memory is kept in so many shards, each behind a lock of its own: who looks at all of it holds up whoever reports only for as long as one takes.
const SHARDS: usize = 16;

/// Its hasher is keyed, and no map has more than a few hundred entries: who could guess the key would not slow down much.
type Shard = HashMap<TenantId, Recent>;

/// What is remembered, of the clients of all owners' rules.
#[derive(Debug, Default)]
pub(super) struct Memories {
    shards: [Mutex<Shard>; SHARDS],
    hasher: DefaultHashBuilder,
}

impl Memories {
    /// Adds a record.
    pub(super) fn add(&self, record: Record) {
        let mut shard = self.shard(record.client.address()).lock().past_panic();
        match shard.get_mut(&record.rule.tenant) {
            Some(recent) => recent.add(record),
            None => shard.entry(record.rule.tenant.clone()).or_default().add(record),
        }
    }

    /// What is remembered of an address at rules of those owners that `shows` lets through, the oldest first.
    pub(super) fn of(&self, address: IpAddr, shows: impl Fn(&TenantId) -> bool) -> Vec<Record> {
        let shard = self.shard(address).lock().past_panic();
        let of_owners = shard.iter().filter(|(tenant, _)| shows(tenant));
        let mut of_owners: Vec<_> = of_owners.map(|(_, recent)| recent.of(address).peekable()).collect();
        let mut records = Vec::new();
        // The machine's clock may have been set back meanwhile: what an owner's rules said stays in the order in which they did.
        while let Some((_, of)) = of_owners
            .iter_mut()
            .filter_map(|of| Some((of.peek()?.time_ms, of)))
            .min_by_key(|(time_ms, _)| *time_ms)
        {
            records.extend(of.next().cloned());
        }
        records
    }

    /// What is remembered at rules of those owners, a shard after the other; of each address the oldest first.
    pub(super) fn all(&self, shows: impl Fn(&TenantId) -> bool) -> impl Iterator<Item = Vec<Record>> {
        self.shards.iter().map(move |shard| {
            let shard = shard.lock().past_panic();
            let of_owners = shard.iter().filter(|(tenant, _)| shows(tenant));
            of_owners.flat_map(|(_, recent)| recent.all()).cloned().collect()
        })
    }

    /// Forgets what is remembered of owners that are not there any more.
    pub(super) fn keep(&self, is_there: impl Fn(&TenantId) -> bool) {
        self.shards.iter().for_each(|shard| shard.lock().past_panic().retain(|tenant, _| is_there(tenant)));
    }

    /// By network, so that the part of one can be counted there.
    fn shard(&self, address: IpAddr) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(network_of(address));
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}

/// Something that was reported of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// When, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// About which rule.
    pub(super) rule: RuleId,
    /// Of which client; it has the address.
    pub(super) client: Client,
    /// What.
    pub(super) said: Said,
}

/// What was reported. The first four are so frequent that they have no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It came so far, which is remembered for so long.
    Stage(u32, Duration),
    /// It took too long after this stage.
    TimedOut(u32),
    /// The rule let it start over, and why.
    Forgot(Box<str>),
    /// The knock was right: doors are to be closed, or else opened.
    Solved { closes: bool },
    /// Anything else: its kind in logs, what it was in words, and the door.
    Other { kind: &'static str, text: Box<str>, door: Option<Box<str>> },
}

impl Said {
    /// The part for those who came so far.
    const fn part(&self) -> usize {
        match self {
            Self::Stage(0 | 1, _) | Self::TimedOut(0 | 1) | Self::Forgot(_) => 0,
            Self::Stage(2, _) | Self::TimedOut(2) => 1,
            _ => PARTS - 1,
        }
    }
}

/// What a shard remembers of the clients of one owner's rules.
#[derive(Debug)]
struct Recent {
    addresses: Addresses,
    parts: [Part; PARTS],
}

/// What is remembered of an address.
#[derive(Debug)]
struct OfAddress {
    /// Where it is: in the part of those who came as far.
    part: usize,
    records: VecDeque<Record>,
    /// Whether something was added since its last turn to make room.
    is_used: bool,
}

/// How much room a part has, and who makes it.
#[derive(Debug)]
struct Part {
    most: usize,
    most_of_network: usize,
    records: usize,
    networks: HashMap<IpNet, OfNetwork>,
    /// Each network once, in the order in which they make room.
    turns: VecDeque<IpNet>,
}

#[derive(Debug, Default)]
struct OfNetwork {
    records: usize,
    /// Each of its addresses once, in the order in which they make room: one that was used since its last turn gets another.
    turns: VecDeque<IpAddr>,
}

type Addresses = HashMap<IpAddr, OfAddress>;

impl Default for Recent {
    fn default() -> Self {
        Self::of_size(PART / SHARDS, PART / NETWORK_SHARE)
    }
}

impl Recent {
    fn of_size(most: usize, most_of_network: usize) -> Self {
        Self {
            addresses: HashMap::default(),
            parts: std::array::from_fn(|_| Part::new(most, most_of_network)),
        }
    }

    /// Adds a record.
    fn add(&mut self, record: Record) {
        let (address, wanted) = (record.client.address(), record.said.part());
        let Some(known) = self.addresses.get_mut(&address) else {
            return self.parts[wanted].add(record, wanted, &mut self.addresses);
        };
        known.is_used = true;
        let before = known.part;
        if before < wanted {
            let records = self.parts[before].take(address, &mut self.addresses);
            records
                .into_iter()
                .for_each(|record| self.parts[wanted].add(record, wanted, &mut self.addresses));
        } else if known.records.len() == MOST_OF_ADDRESS {
            // So it is in a flood: nobody else's room changes.
            known.records.pop_front();
            return known.records.push_back(record);
        }
        let part = before.max(wanted);
        self.parts[part].add(record, part, &mut self.addresses);
    }

    /// What is remembered of an address, the oldest first.
    fn of(&self, address: IpAddr) -> impl Iterator<Item = &Record> {
        self.addresses.get(&address).into_iter().flat_map(|of| &of.records)
    }

    /// What is remembered, of each address the oldest first.
    fn all(&self) -> impl Iterator<Item = &Record> {
        self.addresses.values().flat_map(|of| &of.records)
    }
}

impl Part {
    fn new(most: usize, most_of_network: usize) -> Self {
        Self { most, most_of_network, records: 0, networks: HashMap::default(), turns: VecDeque::new() }
    }

    /// Adds a record of an address that is in this part, which has this number, or in none.
    fn add(&mut self, record: Record, part: usize, addresses: &mut Addresses) {
        let address = record.client.address();
        let network = network_of(address);
        if self.networks.get(&network).is_some_and(|of| of.records >= self.most_of_network) {
            while !self.make_room_in(network, addresses) {}
        } else if self.records >= self.most {
            self.make_room(addresses);
        }
        let of_network = self.networks.entry(network).or_insert_with(|| {
            self.turns.push_back(network);
            OfNetwork::default()
        });
        let of_address = addresses.entry(address).or_insert_with(|| {
            of_network.turns.push_back(address);
            OfAddress { part, records: VecDeque::new(), is_used: false }
        });
        if of_address.records.len() == MOST_OF_ADDRESS {
            of_address.records.pop_front();
        } else {
            of_network.records += 1;
            self.records += 1;
        }
        of_address.records.push_back(record);
    }

    /// Takes all records of an address out.
    fn take(&mut self, address: IpAddr, addresses: &mut Addresses) -> VecDeque<Record> {
        let Some(OfAddress { records, .. }) = addresses.remove(&address) else { return VecDeque::new() };
        let network = network_of(address);
        self.records -= records.len();
        if let Some(of_network) = self.networks.get_mut(&network) {
            of_network.records -= records.len();
            of_network.turns.retain(|other| *other != address);
            if of_network.records == 0 {
                self.networks.remove(&network);
                self.turns.retain(|other| *other != network);
            }
        }
        records
    }

    /// The network whose turn it is makes room; one whose addresses were all used gives its turn to the next, once.
    fn make_room(&mut self, addresses: &mut Addresses) {
        while let Some(network) = self.turns.pop_front() {
            let has_made_room = self.make_room_in(network, addresses);
            match self.networks.get(&network) {
                Some(OfNetwork { records: 0, .. }) => drop(self.networks.remove(&network)),
                Some(_) => self.turns.push_back(network),
                None => {}
            }
            if has_made_room {
                return;
            }
        }
    }

    /// An address of the network that was not used since its last turn goes, if there is one. If not, there is one the next time.
    fn make_room_in(&mut self, network: IpNet, addresses: &mut Addresses) -> bool {
        // Without one there is nothing that could be in the way.
        let Some(of_network) = self.networks.get_mut(&network) else { return true };
        for _ in 0..of_network.turns.len() {
            let Some(address) = of_network.turns.pop_front() else { break };
            if let Entry::Occupied(mut entry) = addresses.entry(address) {
                if std::mem::take(&mut entry.get_mut().is_used) {
                    of_network.turns.push_back(address);
                    continue;
                }
                let records = entry.remove().records.len();
                of_network.records -= records;
                self.records -= records;
                return true;
            }
        }
        of_network.turns.is_empty()
    }
}

/// What one attacker may have of addresses: a /24, or a /64.
fn network_of(address: IpAddr) -> IpNet {
    let width = if address.is_ipv4() { 24 } else { 64 };
    IpNet::new_assert(address, width).trunc()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const MOST: usize = 1000;

    fn of_size(most: usize) -> Recent {
        Recent::of_size(most, most / NETWORK_SHARE)
    }

    fn record(address: impl Into<IpAddr>, said: Said) -> Record {
        let rule = RuleId { tenant: TenantId::host(), name: "ssh".into() };
        Record { time_ms: 1, rule, client: Client::alone(address.into()), said }
    }

    fn stage(stage: u32) -> Said {
        Said::Stage(stage, Duration::from_secs(1))
    }

    fn v4(n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(n)
    }

    /// That the counts are those of what is there.
    fn check(recent: &Recent) {
        for (number, part) in recent.parts.iter().enumerate() {
            let addresses: Vec<_> = recent.addresses.values().filter(|of| of.part == number).collect();
            let records: usize = addresses.iter().map(|of| of.records.len()).sum();
            assert_eq!(part.records, records);
            assert!(records <= part.most, "{records}");
            assert_eq!(part.networks.values().map(|of| of.records).sum::<usize>(), records);
            assert_eq!(part.turns.len(), part.networks.len());
            assert_eq!(part.networks.values().map(|of| of.turns.len()).sum::<usize>(), addresses.len());
            assert!(addresses.iter().all(|of| of.records.len() <= MOST_OF_ADDRESS));
            assert!(part.networks.values().all(|of| of.records <= MOST / NETWORK_SHARE + MOST_OF_ADDRESS));
        }
    }

    #[test]
    fn an_address_keeps_its_newest_records() {
        let mut recent = of_size(100 * MOST);
        let address = v4(7);
        for n in 0..100 {
            recent.add(Record { time_ms: n, ..record(address, stage(1)) });
        }
        let times: Vec<_> = recent.of(address.into()).map(|record| record.time_ms).collect();
        assert_eq!(times, (100 - MOST_OF_ADDRESS as u64..100).collect::<Vec<_>>());
        check(&recent);
    }

    #[test]
    fn a_flood_from_everywhere_does_not_wash_out_who_came_far() {
        let mut recent = of_size(MOST);
        let client = v4(0x0a00_0001);
        recent.add(record(client, stage(1)));
        recent.add(record(client, stage(2)));
        recent.add(record(client, Said::TimedOut(2)));
        let further = v4(0x0a00_0102);
        recent.add(record(further, stage(3)));
        for n in 0..100_000_u32 {
            // Spread over all networks.
            let address = v4(n.wrapping_mul(2_654_435_761));
            recent.add(record(address, stage(1)));
            recent.add(record(address, Said::TimedOut(1)));
        }
        let said: Vec<_> = recent.of(client.into()).map(|record| record.said.clone()).collect();
        assert_eq!(said, [stage(1), stage(2), Said::TimedOut(2)]);
        // A scan that goes through the first two steps washes out who came no further, and nobody else.
        for n in 0..100_000_u32 {
            recent.add(record(v4(n.wrapping_mul(2_654_435_761)), stage(2)));
        }
        assert_eq!(recent.of(further.into()).count(), 1);
        check(&recent);
    }

    #[test]
    fn owners_have_memories_of_their_own() {
        let memories = Memories::default();
        let rule = |tenant: &str| RuleId { tenant: TenantId::new(tenant), name: "ssh".into() };
        let address = v4(7).into();
        for (time_ms, tenant) in [(2, "web"), (1, "ops")] {
            memories.add(Record { time_ms, rule: rule(tenant), ..record(v4(7), stage(1)) });
        }
        let times = |records: &[Record]| records.iter().map(|record| record.time_ms).collect::<Vec<_>>();
        assert_eq!(times(&memories.of(address, |_| true)), [1, 2]);
        assert_eq!(times(&memories.of(address, |tenant| tenant.as_str() == "web")), [2]);
        assert_eq!(times(&memories.all(|_| true).flatten().collect::<Vec<_>>()).len(), 2);
        // The clock is set back, for both.
        for (time_ms, tenant) in [(9, "web"), (3, "web"), (4, "ops"), (5, "web")] {
            memories.add(Record { time_ms, rule: rule(tenant), ..record(v4(7), stage(1)) });
        }
        assert_eq!(times(&memories.of(address, |_| true)), [1, 2, 4, 9, 3, 5]);
        memories.keep(|tenant| tenant.as_str() == "ops");
        assert_eq!(times(&memories.of(address, |_| true)), [1, 4]);
    }

    #[test]
    fn a_network_has_its_part_and_no_more() {
        let mut recent = of_size(MOST);
        let others: Vec<_> = (0..50).map(|n| v4(0xc000_0000 + n * 256)).collect();
        others.iter().for_each(|address| recent.add(record(*address, stage(2))));
        for n in 0..10_000 {
            recent.add(record(v4(0x0a00_0000 + n % 256), stage(2)));
            let address = u128::from(n) << 40 | 0x2001_0db8 << 96;
            recent.add(record(Ipv6Addr::from_bits(address & !(0xffff << 64)), stage(2)));
        }
        check(&recent);
        assert!(others.iter().all(|address| recent.of((*address).into()).count() == 1));
    }

    #[test]
    fn who_asks_again_and_again_stays_while_others_make_room() {
        let mut recent = of_size(MOST);
        let client = v4(0x0a00_0001);
        for n in 0..20_000_u32 {
            recent.add(record(v4(n.wrapping_mul(2_654_435_761)), stage(1)));
            if n % 100 == 0 {
                recent.add(record(client, stage(1)));
            }
        }
        assert!(recent.of(client.into()).count() > 1);
        check(&recent);
    }
}
