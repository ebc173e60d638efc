//! Verdict: what a rule says of one knock. A verdict is a wish; the host cuts it to what the rule's file grants.

use std::borrow::Cow;
use std::time::Duration;

use crate::Timestamp;

/// What a rule says of one knock. `M` is the rule's [`Rule::Memory`](crate::Rule::Memory).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<M> {
    /// No change: what is remembered of the client stays.
    Ignore,
    /// Remember this of the client instead of what was.
    Remember(Progress<M>),
    /// The client starts over: forget it. The reason, at most 200 bytes, goes to the debug log.
    Forget(Cow<'static, str>),
    /// Open doors, and remember something else of the client, or nothing.
    Open {
        /// At most 8.
        requests: Vec<OpenRequest>,
        /// What to remember of the client from then on.
        remember: Option<Progress<M>>,
    },
    /// Close doors, and remember something else of the client, or nothing.
    Close {
        /// At most 8.
        requests: Vec<CloseRequest>,
        /// What to remember of the client from then on.
        remember: Option<Progress<M>>,
    },
}

/// What the host keeps of a client until its next knock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<M> {
    /// How far the client has come: 1 after the first right knock, and so on. Where the host can keep no more clients, those that have come
    /// further stay. 0 is for what is remembered beyond a knock: see [`Verdict::and_remember`].
    pub stage: u32,
    /// Handed back with the client's next knock.
    pub memory: M,
    /// When to drop it; the host cuts it to one hour after the knock. A time not after the knock's own drops it at once.
    pub until: Timestamp,
}

impl<M> Verdict<M> {
    /// Remember `memory` of the client until then; see [`Progress`].
    #[must_use]
    pub fn remember(stage: u32, memory: M, until: Timestamp) -> Self {
        Self::Remember(Progress { stage, memory, until })
    }

    /// The client starts over, for this reason of at most 200 bytes.
    #[must_use]
    pub fn forget(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Forget(reason.into())
    }

    /// Open the rule's first door for the source of the knock, as long as the rule's file says.
    #[must_use]
    pub fn open() -> Self {
        Self::open_doors([OpenRequest::default()])
    }

    /// Open these doors, at most 8, and forget the client's progress.
    #[must_use]
    pub fn open_doors(requests: impl Into<Vec<OpenRequest>>) -> Self {
        Self::Open { requests: requests.into(), remember: None }
    }

    /// Close the rule's first door for the source of the knock.
    #[must_use]
    pub fn close() -> Self {
        Self::close_doors([CloseRequest::default()])
    }

    /// Close these doors, at most 8, and forget the client's progress.
    #[must_use]
    pub fn close_doors(requests: impl Into<Vec<CloseRequest>>) -> Self {
        Self::Close { requests: requests.into(), remember: None }
    }

    /// Having opened or closed doors, remember `memory` of the client until then, such as that it was right a moment ago. It is not on
    /// its way through a knock (stage 0): the other rules of its group get its packets, and it is kept before any that are. Changes no other
    /// verdict.
    #[must_use]
    pub fn and_remember(mut self, memory: M, until: Timestamp) -> Self {
        if let Self::Open { remember, .. } | Self::Close { remember, .. } = &mut self {
            *remember = Some(Progress { stage: 0, memory, until });
        }
        self
    }
}

/// A wish to open a door: `OpenRequest::default()` is the rule's first door, for the source of the knock, as long as the rule's file says.
///
/// ```
/// use std::time::Duration;
/// use postern_sdk::{Once, OpenRequest, Verdict};
///
/// let verdict = Verdict::<()>::open_doors([
///     OpenRequest::door("ssh").lasting(Duration::from_secs(30)).once(Once::token(*b"used up")),
///     OpenRequest::door("web"),
///     OpenRequest::door("mail").prefix_length(64),
/// ]);
/// # drop(verdict);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRequest {
    pub(crate) door: Option<String>,
    pub(crate) prefix_length: Option<u8>,
    pub(crate) seconds: Option<u32>,
    pub(crate) once: Option<Once>,
}

impl OpenRequest {
    /// A door by the name that the rule's file gives.
    #[must_use]
    pub fn door(name: impl Into<String>) -> Self {
        Self { door: Some(name.into()), ..Self::default() }
    }

    /// For all addresses that share so many first bits with the source of the knock, instead of the source alone. The door and the rule's
    /// file must allow that length for the source's family, or it is refused.
    #[must_use]
    pub fn prefix_length(self, bits: u8) -> Self {
        Self { prefix_length: Some(bits), ..self }
    }

    /// For so long, in seconds, a part of one counted as a whole; cut to the ceiling that the host has.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        Self { seconds: Some(u32::try_from(seconds).unwrap_or(u32::MAX)), ..self }
    }

    /// Only if this was never used before, so that a recorded knock is worth nothing.
    #[must_use]
    pub fn once(self, once: Once) -> Self {
        Self { once: Some(once), ..self }
    }
}

/// A wish to close a door before its time; [`CloseRequest::default`] is the rule's first door for the source of the knock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseRequest {
    pub(crate) door: Option<String>,
    pub(crate) prefix_length: Option<u8>,
}

impl CloseRequest {
    /// A door by the name that the rule's file gives.
    #[must_use]
    pub fn door(name: impl Into<String>) -> Self {
        Self { door: Some(name.into()), ..Self::default() }
    }

    /// For all addresses that share so many first bits with the source of the knock, instead of the source alone. The door and the rule's
    /// file must allow that length for the source's family, or it is refused.
    #[must_use]
    pub fn prefix_length(self, bits: u8) -> Self {
        Self { prefix_length: Some(bits), ..self }
    }
}

/// Makes an opening happen at most once. Tokens and keys belong to the rule: another rule's are other ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    /// Bytes that were never used before.
    Token {
        /// 1 to 64 of them.
        bytes: Vec<u8>,
        /// The last moment at which the rule could accept this token, and not before the knock's own time: the host may forget the token
        /// afterwards. None: the rule could accept it at any time, and the host never forgets it.
        until: Option<Timestamp>,
    },
    /// A number that must be above every one used before with this key.
    Counter {
        /// Which counter, 1 to 64 bytes.
        key: Vec<u8>,
        /// At most 2^53 - 1.
        value: u64,
    },
}

impl Once {
    /// 1 to 64 bytes that were never used before. The host never forgets them: say [`Once::token_until`] if the rule would refuse them
    /// some day anyway.
    #[must_use]
    pub fn token(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Token { bytes: bytes.into(), until: None }
    }

    /// 1 to 64 bytes that were never used before. `until` is the last moment at which the rule could accept them; too early a one makes a
    /// recorded knock good again.
    #[must_use]
    pub fn token_until(bytes: impl Into<Vec<u8>>, until: Timestamp) -> Self {
        Self::Token { bytes: bytes.into(), until: Some(until) }
    }

    /// A number, at most 2^53 - 1, that must be above every one used before with this key of 1 to 64 bytes.
    #[must_use]
    pub fn counter(key: impl Into<Vec<u8>>, value: u64) -> Self {
        Self::Counter { key: key.into(), value }
    }
}
