//! DoormanAnswers: puts what the doorman says together again, and says what does not fit. It belongs to one link.

use std::collections::HashMap;

use postern_core::{Client, DoorId, Listing, Posture, Receipt};
use postern_link::{Hello, LinkAnswer, NotInPlace};

/// Most openings of one listing; the doorman tells of no more.
const MOST_LISTED: usize = 1 << 18;
/// Most listings and refusals that are under way at once. The doorman sends them one after the other.
const MOST_BEGUN: usize = 16;

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DoormanAnswer {
    Receipt(Receipt),
    PutInPlace(u64, Result<Posture, NotInPlace>),
    Listed(u64, Result<Listing, String>),
    /// Another program changed the ruleset.
    Changed(Listing),
    Probed(u64, Result<(), String>),
    Counted(u64, Option<u64>),
    CameIn(DoorId, Client),
}

/// What has come in pieces so far.
#[derive(Debug)]
pub(super) struct DoormanAnswers {
    hello: Hello,
    is_known: bool,
    listings: HashMap<u64, Listing>,
    mistakes: HashMap<u64, Vec<(DoorId, String)>>,
}

impl DoormanAnswers {
    /// Expects the hello of this program.
    pub(super) fn new(hello: Hello) -> Self {
        Self { hello, is_known: false, listings: HashMap::new(), mistakes: HashMap::new() }
    }

    /// Takes the next message; what is whole now, if anything is.
    ///
    /// # Errors
    /// What does not fit, and then the link is of no use any more.
    pub(super) fn take(&mut self, answer: LinkAnswer) -> Result<Option<DoormanAnswer>, &'static str> {
        if self.listings.len() + self.mistakes.len() > MOST_BEGUN {
            return Err("it begins more than it ends");
        }
        Ok(Some(match answer {
            LinkAnswer::Hello(hello) if !self.is_known && hello == self.hello => {
                self.is_known = true;
                return Ok(None);
            }
            LinkAnswer::Hello(_) if self.is_known => return Err("it said hello twice"),
            LinkAnswer::Hello(_) => return Err("it is not the same program"),
            _ if !self.is_known => return Err("it did not say hello first"),
            LinkAnswer::Receipt(receipt) => DoormanAnswer::Receipt(receipt),
            LinkAnswer::InPlace { ticket, posture } => DoormanAnswer::PutInPlace(ticket, Ok(posture)),
            LinkAnswer::Mistake { ticket, door, text } => {
                let mistakes = self.mistakes.entry(ticket).or_default();
                mistakes.push((door, text));
                return if mistakes.len() > MOST_LISTED { Err("it lists too much") } else { Ok(None) };
            }
            LinkAnswer::NotInPlace { ticket, why, text } => {
                let mistakes = self.mistakes.remove(&ticket).unwrap_or_default();
                DoormanAnswer::PutInPlace(ticket, Err(NotInPlace { why, text, mistakes }))
            }
            LinkAnswer::Openings { ticket, openings } => {
                let listing = self.listings.entry(ticket).or_default();
                listing.openings.extend(openings);
                return if listing.openings.len() > MOST_LISTED {
                    Err("it lists too much")
                } else {
                    Ok(None)
                };
            }
            LinkAnswer::LivedOn { ticket, doors } => {
                let listing = self.listings.entry(ticket).or_default();
                listing.lived_on.extend(doors);
                return if listing.lived_on.len() > MOST_LISTED {
                    Err("it lists too much")
                } else {
                    Ok(None)
                };
            }
            LinkAnswer::Listed { ticket, outcome } => {
                let mut listing = self.listings.remove(&ticket).unwrap_or_default();
                // The engine relies on it, and sorts anew what is sorted already at no cost.
                listing.openings.sort_by_key(|opening| (opening.door, opening.client));
                match (ticket, outcome) {
                    (0, Ok(())) => DoormanAnswer::Changed(listing),
                    // The doorman has reported it.
                    (0, Err(_)) => return Ok(None),
                    (ticket, outcome) => DoormanAnswer::Listed(ticket, outcome.map(|()| listing)),
                }
            }
            LinkAnswer::Probed { ticket, outcome } => DoormanAnswer::Probed(ticket, outcome),
            LinkAnswer::Counted { ticket, packets } => DoormanAnswer::Counted(ticket, packets),
            LinkAnswer::CameIn { door, client } => DoormanAnswer::CameIn(door, client),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use postern_core::{ListedOpening, OpeningNote};
    use postern_link::WhyNotInPlace;

    use super::*;

    fn answers() -> DoormanAnswers {
        let hello = Hello::of_this_process().unwrap();
        let mut answers = DoormanAnswers::new(hello);
        assert_eq!(answers.take(LinkAnswer::Hello(hello)), Ok(None));
        answers
    }

    #[test]
    fn a_listing_is_whole_at_its_end() {
        let opening = |door, client: &str| ListedOpening {
            door: DoorId(door),
            client: client.parse().unwrap(),
            remaining: Duration::from_secs(1),
            note: OpeningNote::default(),
        };
        let mut answers = answers();
        let pieces = [
            LinkAnswer::Openings { ticket: 7, openings: vec![opening(1, "192.0.2.1")] },
            LinkAnswer::Openings { ticket: 7, openings: vec![opening(1, "192.0.2.2")] },
            LinkAnswer::LivedOn { ticket: 7, doors: vec![DoorId(1)] },
        ];
        for piece in pieces {
            assert_eq!(answers.take(piece), Ok(None));
        }
        let listing = Listing {
            openings: vec![opening(1, "192.0.2.1"), opening(1, "192.0.2.2")],
            lived_on: BTreeSet::from([DoorId(1)]),
        };
        let end = LinkAnswer::Listed { ticket: 7, outcome: Ok(()) };
        assert_eq!(answers.take(end.clone()), Ok(Some(DoormanAnswer::Listed(7, Ok(listing)))));
        assert_eq!(answers.take(end), Ok(Some(DoormanAnswer::Listed(7, Ok(Listing::default())))));
        let changed = LinkAnswer::Listed { ticket: 0, outcome: Ok(()) };
        assert_eq!(answers.take(changed), Ok(Some(DoormanAnswer::Changed(Listing::default()))));
    }

    #[test]
    fn a_refusal_has_the_mistakes_before_it() {
        let mut answers = answers();
        let mistake = LinkAnswer::Mistake { ticket: 7, door: DoorId(1), text: "no port".to_owned() };
        assert_eq!(answers.take(mistake), Ok(None));
        let why = WhyNotInPlace::Mistakes;
        let refusal = LinkAnswer::NotInPlace { ticket: 7, why, text: "wrong".to_owned() };
        let mistakes = vec![(DoorId(1), "no port".to_owned())];
        let expected = NotInPlace { why, text: "wrong".to_owned(), mistakes };
        assert_eq!(answers.take(refusal), Ok(Some(DoormanAnswer::PutInPlace(7, Err(expected)))));
    }

    #[test]
    fn nothing_counts_before_the_hello_of_the_same_program() {
        let hello = Hello::of_this_process().unwrap();
        let mut fresh = DoormanAnswers::new(hello);
        assert!(fresh.take(LinkAnswer::Probed { ticket: 1, outcome: Ok(()) }).is_err());
        assert!(fresh.take(LinkAnswer::Hello(Hello { layout: 0, ..hello })).is_err());
        let mut known = answers();
        assert!(known.take(LinkAnswer::Hello(hello)).is_err());
    }

    #[test]
    fn a_listing_that_does_not_end_is_refused() {
        let mut answers = answers();
        let begun = (1..=100).map(|ticket| LinkAnswer::LivedOn { ticket, doors: Vec::new() });
        assert!(begun.into_iter().any(|piece| answers.take(piece).is_err()));
    }
}
