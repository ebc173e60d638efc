//! Verdict: what a rule says of one knock. A verdict is a wish; the host cuts it to what the rule's file grants.

use std::borrow::Cow;
use std::time::Duration;

use crate::{Prefix, Timestamp};

/// What a rule says of one knock. `M` is the rule's [`Rule::Memory`](crate::Rule::Memory).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<M> {
    /// Nothing happened; what is remembered of the client stays.
    Ignore,
    /// Remember this of the client instead of what was.
    Remember(Progress<M>),
    /// The client starts over: forget it. The reason, at most 200 bytes, is for people who ask why a knock failed.
    Forget(Cow<'static, str>),
    /// Open doors, and remember something else of the client, or nothing.
    Open {
        /// At most 8.
        doors: Vec<Opening>,
        /// What to remember of the client from then on.
        after: Option<Progress<M>>,
    },
    /// Close doors, and remember something else of the client, or nothing.
    Close {
        /// At most 8.
        doors: Vec<Closing>,
        /// What to remember of the client from then on.
        after: Option<Progress<M>>,
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
        Self::open_doors([Opening::default()])
    }

    /// Open these doors, at most 8, and forget the client's progress.
    #[must_use]
    pub fn open_doors(doors: impl Into<Vec<Opening>>) -> Self {
        Self::Open { doors: doors.into(), after: None }
    }

    /// Close the rule's first door for the source of the knock.
    #[must_use]
    pub fn close() -> Self {
        Self::close_doors([Closing::default()])
    }

    /// Close these doors, at most 8, and forget the client's progress.
    #[must_use]
    pub fn close_doors(doors: impl Into<Vec<Closing>>) -> Self {
        Self::Close { doors: doors.into(), after: None }
    }

    /// Having opened or closed doors, remember `memory` of the client until then, such as that it was right a moment ago. It is not on
    /// its way through a knock (stage 0): the other rules of its group get its packets, and it is kept before any that are. Changes no other
    /// verdict.
    #[must_use]
    pub fn and_remember(mut self, memory: M, until: Timestamp) -> Self {
        if let Self::Open { after, .. } | Self::Close { after, .. } = &mut self {
            *after = Some(Progress { stage: 0, memory, until });
        }
        self
    }
}

/// One door to be opened: `Opening::default()` is the rule's first door, for the source of the knock, as long as the rule's file says.
///
/// ```
/// use std::time::Duration;
/// use postern_sdk::{Once, Opening, Prefix, Verdict};
///
/// let source = std::net::IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
/// let verdict = Verdict::<()>::open_doors([
///     Opening::door("ssh").lasting(Duration::from_secs(30)).once(Once::token(*b"used up")),
///     Opening::door("web"),
///     Opening::door("mail").client(Prefix::new(source, 64)),
/// ]);
/// # drop(verdict);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    pub(crate) door: Option<String>,
    pub(crate) client: Option<Prefix>,
    pub(crate) lasts: Option<u32>,
    pub(crate) once: Option<Once>,
}

impl Opening {
    /// A door by the name that the rule's file gives.
    #[must_use]
    pub fn door(name: impl Into<String>) -> Self {
        Self { door: Some(name.into()), ..Self::default() }
    }

    /// For these addresses instead of the source of the knock alone: a prefix that holds the source, [`Prefix::new`] with its address,
    /// of a length that the door and the rule's file allow. Anything else is refused.
    #[must_use]
    pub fn client(self, client: impl Into<Prefix>) -> Self {
        Self { client: Some(client.into()), ..self }
    }

    /// For so long, in seconds, a part of one counted as a whole; cut to the ceiling that the host has.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        Self { lasts: Some(u32::try_from(seconds).unwrap_or(u32::MAX)), ..self }
    }

    /// Only if this was never used before, so that a recorded knock is worth nothing.
    #[must_use]
    pub fn once(self, once: Once) -> Self {
        Self { once: Some(once), ..self }
    }
}

/// One door to be closed before its time; [`Closing::default`] is the rule's first door for the source of the knock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    pub(crate) door: Option<String>,
    pub(crate) client: Option<Prefix>,
}

impl Closing {
    /// A door by the name that the rule's file gives.
    #[must_use]
    pub fn door(name: impl Into<String>) -> Self {
        Self { door: Some(name.into()), ..Self::default() }
    }

    /// For these addresses instead of the source of the knock alone: a prefix that holds the source, [`Prefix::new`] with its address,
    /// of a length that the door and the rule's file allow. Anything else is refused.
    #[must_use]
    pub fn client(self, client: impl Into<Prefix>) -> Self {
        Self { client: Some(client.into()), ..self }
    }
}

/// Makes an opening happen at most once. Tokens and keys belong to the rule: another rule's are other ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    /// 1 to 64 bytes that were never used before.
    Token(Vec<u8>),
    /// A number that must be above every one used before with this key.
    Counter {
        /// Whose counter, 1 to 64 bytes.
        key: Vec<u8>,
        /// At most 2^53 - 1.
        value: u64,
    },
}

impl Once {
    /// 1 to 64 bytes that were never used before.
    #[must_use]
    pub fn token(token: impl Into<Vec<u8>>) -> Self {
        Self::Token(token.into())
    }

    /// A number, at most 2^53 - 1, that must be above every one used before with this key of 1 to 64 bytes.
    #[must_use]
    pub fn counter(key: impl Into<Vec<u8>>, value: u64) -> Self {
        Self::Counter { key: key.into(), value }
    }
}
