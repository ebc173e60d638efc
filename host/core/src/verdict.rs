//! Verdict: what a rule says of one knock.

use std::time::Duration;

use crate::knock::Timestamp;

/// What a rule says of one knock. The host decides what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing happened; what is remembered of the client stays.
    Ignore,
    /// Remember this of the client instead of what was.
    Remember(Progress),
    /// Forget the client; the reason is for people who ask why a knock failed.
    Forget(Box<str>),
    /// Open doors, and remember of the client what is there instead of its progress.
    Open {
        /// Which ones.
        requests: Vec<OpenRequest>,
        /// None: nothing.
        remember: Option<Progress>,
    },
    /// Close doors, and remember of the client what is there instead of its progress.
    Close {
        /// Which ones.
        requests: Vec<CloseRequest>,
        /// None: nothing.
        remember: Option<Progress>,
    },
}

/// What the host keeps of a client between two knocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How far the client has come; 0: it is not half way through a knock, but there is something else to remember.
    pub stage: u32,
    /// Handed back to the rule with the client's next knock.
    pub bytes: Box<[u8]>,
    /// When to drop it.
    pub until: Timestamp,
}

/// A rule's wish to open a door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRequest {
    /// The door's name; none: the first that the rule was granted.
    pub door: Option<Box<str>>,
    /// For whom; none: the source of the knock alone. Else all addresses that share so many first bits with it, if both the door and the
    /// rule's grant have that width.
    pub prefix_length: Option<u8>,
    /// For how long; none: what the rule's file or the door says.
    pub lasts: Option<Duration>,
    /// What makes it happen at most once.
    pub once: Option<Once>,
}

/// A rule's wish to close a door before its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseRequest {
    /// As in [`OpenRequest`].
    pub door: Option<Box<str>>,
    /// As in [`OpenRequest`].
    pub prefix_length: Option<u8>,
}

/// What makes an opening happen at most once. Keys and tokens belong to the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    /// Bytes that were never used before.
    Token {
        /// 1 to 64 of them.
        bytes: Box<[u8]>,
        /// The last moment, on the clock of [`crate::Knock::time`], at which the rule could accept this token: the ledger may forget it
        /// afterwards. None: the rule may accept it at any time, so it must never be forgotten.
        until: Option<Timestamp>,
    },
    /// A number above every one used before with this key.
    Counter {
        /// Whose counter.
        key: Box<[u8]>,
        /// The number.
        value: u64,
    },
}
