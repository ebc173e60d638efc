//! DoorsTables: which doors tables the supervisor gave, and which of them the engine may have put in place. It puts nothing in place itself.

use std::collections::BTreeMap;

use postern_core::DoorsTable;

/// Most tables that wait to be put in place. An engine that refuses one reload after the other leaves them behind.
const MOST_GIVEN: usize = 8;

/// The tables of one doorman.
#[derive(Debug, Default)]
pub struct DoorsTables {
    /// The one in place, and later ones.
    given: BTreeMap<u32, DoorsTable>,
    in_place: Option<u32>,
    /// The last one that could not be put in place. Orders that were sent in the belief that it was are held to the one in place.
    failed: Option<u32>,
}

/// Why a table is not taken, or not put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableRefused {
    /// A later one was in place before.
    #[error("doors table {asked} is older than {in_place}, which is in place")]
    Older {
        /// The one that was asked for.
        asked: u32,
        /// The one in place.
        in_place: u32,
    },
    /// The supervisor did not give it, or gave too many after it.
    #[error("there is no doors table {0}")]
    Unknown(u32),
}

impl DoorsTables {
    /// Takes a table that the supervisor gives; it is not in place yet.
    ///
    /// # Errors
    /// If it is not later than the one in place.
    pub fn give(&mut self, table: DoorsTable) -> Result<(), TableRefused> {
        if let Some(in_place) = self.in_place.filter(|in_place| table.number <= *in_place) {
            return Err(TableRefused::Older { asked: table.number, in_place });
        }
        self.given.insert(table.number, table);
        while self.given.len() > MOST_GIVEN {
            let oldest = self.given.keys().find(|number| Some(**number) != self.in_place).copied();
            oldest.and_then(|number| self.given.remove(&number));
        }
        Ok(())
    }

    /// The table of this number, to be put in place; the one in place may be put in place again.
    ///
    /// # Errors
    /// If it is older than the one in place, or was not given.
    pub fn to_put_in_place(&self, number: u32) -> Result<&DoorsTable, TableRefused> {
        match self.in_place {
            Some(in_place) if number < in_place => Err(TableRefused::Older { asked: number, in_place }),
            _ => self.given.get(&number).ok_or(TableRefused::Unknown(number)),
        }
    }

    /// A table that was given is in place now.
    pub fn put(&mut self, number: u32) {
        self.in_place = Some(number);
        self.failed = None;
        self.given.retain(|other, _| *other >= number);
    }

    /// A table could not be put in place.
    pub fn failed(&mut self, number: u32) {
        self.failed = Some(number);
    }

    /// The table in place.
    #[must_use]
    pub fn in_place(&self) -> Option<&DoorsTable> {
        self.given.get(&self.in_place?)
    }

    /// Whether an order that goes by this table is one for the doors in place.
    #[must_use]
    pub fn is_in_force(&self, number: u32) -> bool {
        self.in_place.is_some() && [self.in_place, self.failed].contains(&Some(number))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use postern_core::OrderLimits;

    use super::*;

    fn table(number: u32) -> DoorsTable {
        let limits =
            OrderLimits { longest: Duration::from_secs(60), most_openings: 2, orders_per_second: 10 };
        DoorsTable { number, doors: Vec::new(), limits }
    }

    #[test]
    fn a_later_table_may_take_the_place_of_an_older_one_and_never_the_other_way() {
        let mut tables = DoorsTables::default();
        assert_eq!(tables.to_put_in_place(1), Err(TableRefused::Unknown(1)));
        (1..=3).for_each(|number| tables.give(table(number)).unwrap());
        assert!(!tables.is_in_force(1));
        assert!(tables.to_put_in_place(2).is_ok());
        tables.put(2);
        assert_eq!(tables.in_place().map(|table| table.number), Some(2));
        assert!(tables.is_in_force(2) && !tables.is_in_force(1) && !tables.is_in_force(3));
        assert_eq!(tables.to_put_in_place(1), Err(TableRefused::Older { asked: 1, in_place: 2 }));
        assert_eq!(tables.give(table(2)), Err(TableRefused::Older { asked: 2, in_place: 2 }));
        assert!(tables.to_put_in_place(2).is_ok() && tables.to_put_in_place(3).is_ok());
        assert_eq!(tables.to_put_in_place(4), Err(TableRefused::Unknown(4)));
    }

    #[test]
    fn orders_in_the_belief_of_a_table_that_failed_are_for_the_one_in_place() {
        let mut tables = DoorsTables::default();
        tables.failed(1);
        assert!(!tables.is_in_force(1));
        (1..=4).for_each(|number| tables.give(table(number)).unwrap());
        tables.put(1);
        tables.failed(2);
        assert!(tables.is_in_force(1) && tables.is_in_force(2) && !tables.is_in_force(3));
        tables.put(3);
        assert!(tables.is_in_force(3) && !tables.is_in_force(2));
    }

    #[test]
    fn what_waits_is_bounded_and_the_one_in_place_stays() {
        let mut tables = DoorsTables::default();
        tables.give(table(1)).unwrap();
        tables.put(1);
        (2..=100).for_each(|number| tables.give(table(number)).unwrap());
        assert_eq!(tables.in_place().map(|table| table.number), Some(1));
        assert_eq!(tables.given.len(), MOST_GIVEN);
        assert!(tables.to_put_in_place(100).is_ok() && tables.to_put_in_place(2).is_err());
    }
}
