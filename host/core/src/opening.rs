//! Opening: one door open for one client, and what each owner of rules has of that.

use std::time::Duration;

use crate::action::Why;
use crate::moment::Moment;
use crate::owner_marks::OwnerMark;
use crate::tenant::{RuleId, TenantId};

/// One door open for one client, until the last of those who opened it has it open no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// What each owner of rules has of it: one for each whose rule opened it, and one if it was found open.
    parts: Vec<OpeningPart>,
    /// Its state.
    pub state: OpeningState,
    /// The number of the newest order for it; answers to older ones change nothing.
    pub newest_order: u64,
    /// When the engine must act on it next: close it or a part of it, retry closing it, or open it again.
    pub due: Moment,
    /// Whether the door closes it by itself, as [`crate::DoorPolicy::keeps_time`] says; the same for all openings of a door.
    pub keeps_time: bool,
    /// Whether the door was found closed and has not been opened again so far.
    pub is_missing: bool,
    /// Whether the door's own clock may end it later than it should: somebody closed what was theirs, and that it is shorter now has no receipt.
    pub(crate) outlasts: bool,
}

/// What one owner of rules has of an opening. Each has its own time, and hears and sees nothing of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningPart {
    /// The rule of this owner that opened it last; none if it was found open, and nobody knows whose it is.
    pub rule: Option<RuleId>,
    /// What stands for that rule in a note. That of nobody if it was found open and had none; it may be that of an owner who is gone.
    pub(crate) mark: OwnerMark,
    /// Since when it is open for this owner; none if it is not, or was found open.
    pub since: Option<Moment>,
    /// Until when this owner's rules have it open.
    pub until: Moment,
    /// Until when it is known to be open for this owner, whatever becomes of orders under way; none if that is not known.
    pub(crate) known: Option<Moment>,
    /// For how long it is open from when the command has ended that opens it; zero if that ran already.
    pub(crate) lasts: Duration,
    /// The newest order that was given for this owner.
    pub(crate) newest_order: u64,
}

impl Opening {
    /// An opening without an order so far.
    pub(crate) fn new(part: OpeningPart, state: OpeningState, due: Moment, keeps_time: bool) -> Self {
        Self::of_parts(vec![part], state, due, keeps_time)
    }

    /// What these had open when an engine before this one ended.
    pub(crate) fn found(parts: Vec<OpeningPart>, keeps_time: bool) -> Self {
        let due = parts.iter().map(|part| part.until).min().unwrap_or_default();
        Self::of_parts(parts, OpeningState::Open, due, keeps_time)
    }

    fn of_parts(parts: Vec<OpeningPart>, state: OpeningState, due: Moment, keeps_time: bool) -> Self {
        Self { parts, state, newest_order: 0, due, keeps_time, is_missing: false, outlasts: false }
    }

    /// What each owner has of it; never empty.
    #[must_use]
    pub fn parts(&self) -> &[OpeningPart] {
        &self.parts
    }

    /// What a tenant has of it.
    #[must_use]
    pub fn part_of(&self, tenant: &TenantId) -> Option<&OpeningPart> {
        self.parts.iter().find(|part| part.is_of(tenant))
    }

    /// Until when it should be open.
    #[must_use]
    pub fn until(&self) -> Moment {
        self.parts.iter().map(|part| part.until).max().unwrap_or_default()
    }

    /// When the first part of it ends.
    pub(crate) fn first_end(&self) -> Moment {
        self.parts.iter().map(|part| part.until).min().unwrap_or_default()
    }

    pub(crate) fn parts_mut(&mut self) -> &mut Vec<OpeningPart> {
        &mut self.parts
    }

    pub(crate) fn part_mut(&mut self, tenant: &TenantId) -> Option<&mut OpeningPart> {
        self.parts.iter_mut().find(|part| part.is_of(tenant))
    }
}

impl OpeningPart {
    /// What this rule's owner will have, until then.
    pub(crate) const fn of(rule: RuleId, mark: OwnerMark, until: Moment, lasts: Duration) -> Self {
        Self { rule: Some(rule), mark, since: None, until, known: None, lasts, newest_order: 0 }
    }

    /// What was found open.
    pub(crate) const fn found(until: Moment) -> Self {
        Self {
            rule: None,
            mark: OwnerMark { tenant: 0, rule: 0 },
            since: None,
            until,
            known: Some(until),
            lasts: Duration::ZERO,
            newest_order: 0,
        }
    }

    /// Whether it is this tenant's.
    #[must_use]
    pub fn is_of(&self, tenant: &TenantId) -> bool {
        self.tenant() == Some(tenant)
    }

    /// Whether it may be anybody's.
    pub(crate) const fn is_unknown(&self) -> bool {
        self.rule.is_none() && self.mark.is_nobodys()
    }

    /// Whose it is; none if nobody knows.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.rule.as_ref().map(|rule| &rule.tenant)
    }
}

/// The state of an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpeningState {
    /// Nothing was ordered so far: it is being recorded how to close it.
    Recording {
        /// The close that it was to have before, if it was open and may be so still.
        unclosed: Option<UnheardClose>,
    },
    /// The door was told to open and has not answered.
    Opening,
    /// The door's receipt for opening has arrived.
    Open,
    /// The door was ordered to close and has not confirmed it; after a failure the engine retries at [`Opening::due`].
    Closing {
        /// Orders to close so far.
        tries: u32,
        /// Why.
        why: Why,
    },
}

/// A close that had not been confirmed when its door was to be opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnheardClose {
    /// Why.
    pub why: Why,
    /// Orders to close so far.
    pub tries: u32,
    /// The number of the newest of them.
    pub order: u64,
}
