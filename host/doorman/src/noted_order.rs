//! NotedOrder: an order, and what the kernel is to keep with the opening that it makes.

use postern_core::{OpeningNote, Order};

/// An order with a note. The doorman keeps the note with the element, brings it back with each listing, and never looks into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotedOrder {
    /// What to do.
    pub order: Order,
    /// In place of any note before; of no use if nothing is opened.
    pub note: OpeningNote,
}

impl From<Order> for NotedOrder {
    /// Without a note.
    fn from(order: Order) -> Self {
        Self { order, note: OpeningNote::default() }
    }
}
