//! GuardTrial: a guard that goes by itself unless it is confirmed. The kernel keeps the time: the base chains look a set up first whose elements
//! carry a timeout, and let everything pass once they are gone, whatever has become of every process.
//!
//! Nothing here is ever written with more time than is left until the end that was fixed when the trial began, so that neither a reload nor the
//! next doorman makes it longer.

use std::time::{Duration, Instant};

use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_netfilter::nftables::{NfTablesMessage, SetAttribute, SetFlags};

use crate::batch::Batch;
use crate::door_set::milliseconds;
use crate::elements::{self, message};
use crate::error::DoormanError;
use crate::expressions::{Expression, NFPROTO_IPV4, NFPROTO_IPV6, accept, is_not_in, load_version};
use crate::socket::Socket;
use crate::table::{add_set, push, set_name};

/// The name of the set; no other name in the table is this one.
pub(crate) const TRIAL: &str = "trial";

/// How much later than asked for the kernel's clock, which ticks, may end an element.
const TICKS: Duration = Duration::from_secs(1);

/// The type `nf_proto` as nft numbers it, and bytes of such a key.
const NF_PROTO: u32 = 2;
const KEY: u32 = 1;

/// The versions of IP, one element each: every packet that the base chains see is of one of them.
const VERSIONS: [u8; 2] = [NFPROTO_IPV4, NFPROTO_IPV6];

/// A guard that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardTrial {
    /// When it goes unless it is confirmed before.
    pub until: Instant,
    /// Whether it has begun, with an earlier doorman. If not, ports that are guarded for good are left so, and it does not begin: they would be
    /// open at its end.
    pub is_begun: bool,
}

/// For how long the guard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// Until it is removed.
    ForGood,
    /// It is tried.
    Tried(GuardTrial),
    /// The trial was given up: there is to be no guard any more.
    Over,
}

impl Tenure {
    /// How much is left of the trial, more than nothing; none if nothing is tried.
    ///
    /// # Errors
    /// If the trial is over.
    pub(crate) fn left(&self, now: Instant) -> Result<Option<Duration>, DoormanError> {
        match self {
            Self::ForGood => Ok(None),
            Self::Over => Err(DoormanError::TrialOver),
            Self::Tried(GuardTrial { until, .. }) => match until.saturating_duration_since(now) {
                Duration::ZERO => Err(DoormanError::TrialOver),
                left => Ok(Some(left)),
            },
        }
    }
}

/// The first instructions of a base chain that is tried: what is not in the set any more passes.
pub(crate) fn rule() -> Vec<Expression> {
    vec![load_version(), is_not_in(TRIAL), accept()]
}

/// Makes the set, unless it is there, and has its elements stay for `left` from now. `id` is its number in this batch.
pub(crate) fn write(batch: &mut Batch, id: u32, left: Duration) {
    let attributes = vec![
        SetAttribute::Flags(SetFlags::Timeout),
        SetAttribute::KeyType(NF_PROTO),
        SetAttribute::KeyLen(KEY),
    ];
    add_set(batch, TRIAL, id, attributes);
    let (set, left) = (set_name(TRIAL), milliseconds(left));
    let keys = VERSIONS.map(|version| [version]);
    let with = |timeout: Option<u64>| message(&set, keys.iter().map(|key| (key.as_slice(), timeout)));
    // As for a door: what is there already keeps its old end if it is only added.
    push(batch, NLM_F_CREATE, NfTablesMessage::NewSetElement(with(Some(left))));
    push(batch, 0, NfTablesMessage::DeleteSetElement(with(None)));
    push(batch, NLM_F_CREATE, NfTablesMessage::NewSetElement(with(Some(left))));
}

/// Reads back what was written: nothing is there that stays longer than `left`, and nothing is missing.
pub(crate) fn check(socket: &mut Socket, left: Duration) -> Result<(), DoormanError> {
    let set = set_name(TRIAL);
    let listed = socket.list(set.family, &elements::list(&set), elements::read);
    let found = listed.map_err(|errno| DoormanError::Unreachable(errno.into()))?;
    let ends =
        found.iter().filter(|element| element.remaining.is_some_and(|remaining| remaining <= left + TICKS));
    match ends.count() {
        count if count == VERSIONS.len() && count == found.len() => Ok(()),
        count => Err(DoormanError::NotAsWritten(format!(
            "{count} of the {} elements of its set {TRIAL} end in time",
            VERSIONS.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expressions::tests::hexadecimal;

    #[test]
    fn a_trial_has_no_time_left_at_its_end_and_after() {
        let now = Instant::now();
        let tried = |seconds| {
            let until = now + Duration::from_secs(seconds);
            Tenure::Tried(GuardTrial { until, is_begun: true })
        };
        assert_eq!(tried(5).left(now).unwrap(), Some(Duration::from_secs(5)));
        assert_eq!(tried(5).left(now + Duration::from_secs(4)).unwrap(), Some(Duration::from_secs(1)));
        for over in [tried(0).left(now), tried(5).left(now + Duration::from_secs(6)), Tenure::Over.left(now)]
        {
            assert!(matches!(over, Err(DoormanError::TrialOver)), "{over:?}");
        }
        assert_eq!(Tenure::ForGood.left(now).unwrap(), None);
    }

    // The bytes are those that nft 1.0.6 sends for `meta nfproto != @trial accept`, but for the number of the set in a transaction.
    #[cfg(target_endian = "little")]
    #[test]
    fn what_is_not_in_the_set_passes() {
        let version = "24000180090001006d6574610000000014000280080002000000000f0800010000000001";
        let lookup = "300001800b0001006c6f6f6b757000002000028008000200000000010a000100747269616c000000\
                      0800050000000001";
        let accept = "300001800e000100696d6d6564696174650000001c000280080001000000000010000280\
                      0c0002800800010000000001";
        assert_eq!(hexadecimal(&rule()), [version, lookup, accept].concat());
    }
}
