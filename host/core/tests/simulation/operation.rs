//! Operation: what may happen to the engine's world, and how often it does.

use proptest::option;
use proptest::prelude::*;

use crate::claims::Mood;
use crate::configuration::{CLIENTS, DOORS, RULES, Setup};

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// A packet comes, and a rule judges it.
    Knock {
        client: usize,
        rule: usize,
        ask: Ask,
        /// The rule is still the one of the generation before.
        is_stale: bool,
    },
    /// Time passes, and everything happens when it is due.
    Advance(u64),
    /// Time passes, and the engine hears of nothing meanwhile.
    Stall(u64),
    /// Answers of this kind take so many milliseconds from now on, or are lost.
    Pace(Kind, Option<u64>),
    /// Orders to this door fail from now on, or do not any more.
    Fail { door: usize, fails: bool },
    /// Openings cannot be recorded any more, or can again.
    Disk { is_full: bool },
    /// How claims are answered from now on.
    Claims(Mood),
    /// Answers that came already come once more.
    Repeat,
    /// Another configuration is put in place.
    Reload(Setup),
    /// The files of these rules are gone, by their bits.
    Withdraw { rules: u8, is_reloading: bool },
    /// Somebody removes an element from the packet filter.
    Remove { client: usize },
    /// Somebody flushes the packet filter.
    Flush,
    /// The engine dies; what it had ordered is carried out or not.
    KillEngine { orders_live: bool },
    /// The doorman dies; orders that have no answer were carried out or not.
    KillDoorman { orders_live: bool },
    /// The runner dies; commands that run are done or not.
    KillRunner { orders_live: bool },
    /// The daemon is stopped, and started again after so many milliseconds.
    Stop(u64),
}

/// What a verdict asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Open { door: Option<usize>, seconds: Option<u64>, is_wide: bool, once: Option<Use> },
    Close { door: Option<usize>, is_wide: bool },
}

/// What makes an opening happen once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    Token(u8),
    Counter(u64),
}

/// Answers that are late, or lost, together.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Filter,
    Command,
    Record,
    Claim,
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        30 => knock(),
        20 => (0..9000_u64).prop_map(Operation::Advance),
        2 => (0..15_000_u64).prop_map(Operation::Stall),
        5 => (kind(), pace()).prop_map(|(kind, pace)| Operation::Pace(kind, pace)),
        6 => (0..DOORS.len(), any::<bool>()).prop_map(|(door, fails)| Operation::Fail { door, fails }),
        2 => any::<bool>().prop_map(|is_full| Operation::Disk { is_full }),
        2 => mood().prop_map(Operation::Claims),
        2 => Just(Operation::Repeat),
        4 => setup().prop_map(Operation::Reload),
        2 => (0..8_u8, any::<bool>())
            .prop_map(|(rules, is_reloading)| Operation::Withdraw { rules, is_reloading }),
        1 => (0..CLIENTS.len()).prop_map(|client| Operation::Remove { client }),
        1 => Just(Operation::Flush),
        2 => any::<bool>().prop_map(|orders_live| Operation::KillEngine { orders_live }),
        2 => any::<bool>().prop_map(|orders_live| Operation::KillDoorman { orders_live }),
        4 => any::<bool>().prop_map(|orders_live| Operation::KillRunner { orders_live }),
        1 => (0..9000_u64).prop_map(Operation::Stop),
    ]
}

fn knock() -> impl Strategy<Value = Operation> {
    let stale = prop_oneof![9 => Just(false), 1 => Just(true)];
    // What goes on for one client is what is difficult.
    let client = prop_oneof![3 => Just(0), 1 => 0..CLIENTS.len()];
    let rule = prop_oneof![2 => Just(0), 1 => 0..RULES.len()];
    (client, rule, ask(), stale).prop_map(|(client, rule, ask, is_stale)| Operation::Knock {
        client,
        rule,
        ask,
        is_stale,
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    let door = || option::weighted(0.8, 0..DOORS.len());
    let once = || {
        option::weighted(0.2, prop_oneof![(0..6_u8).prop_map(Use::Token), (0..6_u64).prop_map(Use::Counter)])
    };
    let seconds = || option::of(prop_oneof![9 => 1..20_u64, 1 => Just(0), 1 => Just(100_000)]);
    let is_wide = || prop_oneof![5 => Just(false), 1 => Just(true)];
    prop_oneof![
        5 => (door(), seconds(), is_wide(), once())
            .prop_map(|(door, seconds, is_wide, once)| Ask::Open { door, seconds, is_wide, once }),
        2 => (door(), is_wide()).prop_map(|(door, is_wide)| Ask::Close { door, is_wide }),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Filter), Just(Kind::Command), Just(Kind::Record), Just(Kind::Claim)]
}

fn pace() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![4 => Just(Some(0)), 6 => (1..14_000_u64).prop_map(Some), 1 => Just(None)]
}

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![4 => Just(Mood::Well), 1 => Just(Mood::Full), 1 => Just(Mood::Busy), 1 => Just(Mood::Broken)]
}

fn setup() -> impl Strategy<Value = Setup> {
    let mostly = || prop_oneof![3 => Just(0xff_u8), 1 => any::<u8>()];
    (mostly(), mostly(), any::<bool>(), 0..2_u8).prop_map(|(doors, grants, is_wide, lamp)| Setup {
        doors,
        grants,
        is_wide,
        lamp,
    })
}
