//! Whose openings are, beyond the life of an engine: what is noted of an opening, and what an engine that finds it open reads in that.

use std::time::Duration;

use super::Engine;
use crate::action::Action;
use crate::door::OpeningKey;
use crate::moment::Moment;
use crate::opening::OpeningPart;
use crate::opening_note::{NotedPart, OpeningNote};

impl Engine {
    /// Has it written down for how long from now an opening that only a command closes lasts, and whose it is.
    pub(super) fn write_down(&mut self, key: OpeningKey, lasts: Duration, now: Moment) {
        let note = self.note(key, now.plus(lasts), now);
        self.actions.push(Action::Note { key, lasts, note });
    }

    /// What is to be noted of an opening that ends at `end`, if what is under way succeeds.
    pub(super) fn note(&self, key: OpeningKey, end: Moment, now: Moment) -> OpeningNote {
        let Some(opening) = self.openings.find(key) else { return OpeningNote::default() };
        let noted = |part: &OpeningPart| {
            // What is not open so far is so from now on.
            let began = part.since.or_else(|| part.known.is_none().then_some(now));
            NotedPart {
                mark: part.mark,
                ends_before: end.since(part.until),
                began_before: began.map(|began| end.since(began)),
            }
        };
        OpeningNote::of(opening.parts().iter().map(noted))
    }

    /// What each owner has of an opening that was found and ends at `end`; never empty. What nobody is noted to have until then, nobody is known
    /// to own.
    pub(super) fn noted_parts(&self, note: &OpeningNote, end: Moment, now: Moment) -> Vec<OpeningPart> {
        let mut parts: Vec<OpeningPart> = Vec::new();
        for NotedPart { mark, ends_before, began_before } in note.parts() {
            let until = Moment(end.0.saturating_sub(ends_before));
            if until <= now && until < end {
                // It has ended meanwhile. What lasts to the end is closed now, for its owner.
                continue;
            }
            let part = OpeningPart {
                rule: self.policy.marks.rule(mark),
                mark,
                since: began_before.map(|before| Moment(end.0.saturating_sub(before)).min(now)),
                ..OpeningPart::found(until)
            };
            // An owner has one part.
            let own = part.tenant().and_then(|tenant| parts.iter_mut().find(|other| other.is_of(tenant)));
            match own {
                Some(own) => own.until = own.until.max(until),
                None => parts.push(part),
            }
        }
        if parts.iter().all(|part| part.until < end) {
            parts.push(OpeningPart::found(end));
        }
        parts
    }
}
