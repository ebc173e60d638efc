//! What can go wrong at doors in the packet filter, in words that an operator can act on.

use std::fmt;
use std::io;

use postern_core::{ConfigIdentity, DoorId, DoorMistake, SetName};

use crate::identity::remedy;

/// Why the doorman could not do something. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DoormanError {
    /// Doors that cannot work, with every mistake that was found. The caller that numbered the doors knows their names.
    #[error("{}", MistakeList(.0))]
    Doors(Vec<(DoorId, RulesetMistake)>),
    /// The table belongs to a living process.
    #[error("another posternd owns the table inet postern{}; stop it first", .0.as_ref().map_or_else(String::new, |identity| format!(" for the configuration {identity}")))]
    Owned(Option<ConfigIdentity>),
    /// The table was made for another configuration, whose daemon is not running.
    #[error(
        "the table inet postern guards ports for another configuration, {0}; start its daemon, or give its ports up with {remedy}", remedy = remedy(.0)
    )]
    OtherConfiguration(ConfigIdentity),
    /// The guard is to be tried, and stands for good already.
    #[error(
        "an earlier run has left the guard of this configuration: its ports are closed, and a trial would open them at its end; \
         `posternd run` goes on with it, or open the ports first: {remedy}", remedy = .0.as_ref().map_or_else(|| "`nft delete table inet postern`".to_owned(), remedy)
    )]
    GuardedForGood(Option<ConfigIdentity>),
    /// The guard was tried, and its time is over.
    #[error("the guard was tried, and its time is over")]
    TrialOver,
    /// No answer from nf_tables.
    #[error("cannot talk to nftables; posternd needs CAP_NET_ADMIN and a kernel with nf_tables")]
    Unreachable(#[source] io::Error),
    /// The kernel refused something.
    #[error("the kernel refused {what}")]
    Refused {
        /// To what, in a few words.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Reading back gave something else than was written.
    #[error("the table inet postern is not as it was written: {0}; does another program change it?")]
    NotAsWritten(String),
}

/// What is wrong with a door.
#[derive(Debug, thiserror::Error)]
pub enum RulesetMistake {
    /// It can be seen without looking at the ruleset.
    #[error(transparent)]
    Door(#[from] DoorMistake),
    /// Two sets for the same kind of address.
    #[error("the sets {first} and {second} are both for {1} addresses; name one for IPv4 and one for IPv6", first = .0[0], second = .0[1])]
    SameFamily(Box<[SetName; 2]>, &'static str),
    /// No such set.
    #[error("there is no set {0}; declare it in your ruleset: type ipv4_addr (or ipv6_addr), flags timeout")]
    SetMissing(SetName),
    /// A set whose elements never expire.
    #[error("the set {0} has no timeouts, so an opening would never end; declare it with: flags timeout")]
    NoTimeout(SetName),
    /// A set of ranges.
    #[error("the set {0} holds intervals, which are slow to change; declare it without: flags interval")]
    Interval(SetName),
    /// A set that cannot be changed.
    #[error("the set {0} is constant; declare it without: flags constant")]
    Constant(SetName),
    /// Not a set but a map.
    #[error("{0} is a map, not a set; declare a set")]
    Map(SetName),
    /// Elements that are not single addresses.
    #[error("the set {0} does not hold plain addresses; declare it with: type ipv4_addr, or: type ipv6_addr")]
    NotAddresses(SetName),
    /// A table that only its owner can change.
    #[error(
        "the table of the set {0} is owned by another program, so posternd cannot change it; use a table of your own"
    )]
    TableOwned(SetName),
    /// The set could not be looked at.
    #[error("cannot look at the set {name}; reading nftables needs CAP_NET_ADMIN")]
    Unreadable {
        /// Which set.
        name: SetName,
        /// What the kernel said.
        source: io::Error,
    },
}

struct MistakeList<'a>(&'a [(DoorId, RulesetMistake)]);

impl fmt::Display for MistakeList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (_, mistake)) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}
