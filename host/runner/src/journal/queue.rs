//! JournalQueue: what is still to be written in the journal, between those who ask and the thread that writes. It writes nothing itself.
//!
//! It is bounded however long the disk hangs: new records by a number, and changes by that of the records that there are, since a later one of
//! the same record takes the place of an earlier.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crossbeam_channel::Sender;
use postern_text::panic::PastPanic;
use tokio::sync::oneshot;

use crate::notes::Note;

/// Most new records that wait. An engine has fewer under way unless its configuration allows thousands of openings.
pub(super) const MOST_NEW: usize = 4096;

/// A record to be written, and who hears of its number, or why it is not on the disk.
#[derive(Debug)]
pub(super) struct NewRecord {
    pub(super) bytes: Vec<u8>,
    pub(super) done: oneshot::Sender<Result<(u64, Option<Note>), String>>,
    /// That it is not open.
    pub(super) note: Option<Note>,
}

/// What becomes of a record: it is written anew, or erased if there are no bytes.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) bytes: Option<Vec<u8>>,
    /// That it is not open, or not any more. Dropped when the change is on the disk.
    pub(super) _note: Option<Note>,
}

/// What is written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) new: Vec<NewRecord>,
    /// By number.
    pub(super) changes: BTreeMap<u64, Change>,
    /// Who is answered when all this was tried.
    pub(super) flushes: Vec<Sender<()>>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct JournalQueue {
    waiting: Mutex<Waiting>,
    /// Notified when there is something.
    has_more: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    /// Nothing more comes.
    is_over: bool,
}

impl JournalQueue {
    /// Has a new record written.
    ///
    /// # Errors
    /// In words, if too many wait.
    pub(super) fn put(&self, new: NewRecord) -> Result<(), String> {
        let mut waiting = self.lock();
        if waiting.batch.new.len() >= MOST_NEW {
            return Err(format!("the journal's disk does not keep up: {MOST_NEW} records wait for it"));
        }
        waiting.batch.new.push(new);
        self.has_more.notify_one();
        Ok(())
    }

    /// Has the record of this number written anew, or erased.
    pub(super) fn change(&self, id: u64, change: Change) {
        self.lock().batch.changes.insert(id, change);
        self.has_more.notify_one();
    }

    /// Has this answered when all that came before was tried.
    pub(super) fn flush(&self, done: Sender<()>) {
        self.lock().batch.flushes.push(done);
        self.has_more.notify_one();
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.has_more.notify_one();
    }

    /// Waits for something to write, and takes all of it; nothing after so long, if that is given. None if nothing more comes.
    pub(super) fn next(&self, most: Option<Duration>) -> Option<Batch> {
        let is_idle = |waiting: &mut Waiting| waiting.batch.is_empty() && !waiting.is_over;
        let waiting = self.lock();
        let mut waiting = match most {
            Some(most) => self.has_more.wait_timeout_while(waiting, most, is_idle).past_panic().0,
            None => self.has_more.wait_while(waiting, is_idle).past_panic(),
        };
        let batch = mem::take(&mut waiting.batch);
        (!batch.is_empty() || !waiting.is_over).then_some(batch)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().past_panic()
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.changes.is_empty() && self.flushes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(queue: &JournalQueue) -> Result<(), String> {
        queue.put(NewRecord { bytes: Vec::new(), done: oneshot::channel().0, note: None })
    }

    #[test]
    fn while_the_disk_hangs_new_records_are_refused_by_name_and_changes_take_no_more_room() {
        let queue = JournalQueue::default();
        let count = (0..).take_while(|_| put(&queue).is_ok()).count();
        assert_eq!(count, MOST_NEW);
        let refused = put(&queue).unwrap_err();
        assert_eq!(refused, "the journal's disk does not keep up: 4096 records wait for it");
        for n in 0..10_000_u64 {
            queue.change(n % 7, Change { bytes: Some(n.to_ne_bytes().to_vec()), _note: None });
        }
        queue.change(3, Change { bytes: None, _note: None });
        let batch = queue.next(None).unwrap();
        assert_eq!((batch.new.len(), batch.changes.len()), (MOST_NEW, 7));
        assert!(batch.changes[&3].bytes.is_none() && batch.changes[&4].bytes.is_some(), "the last counts");
        assert!(put(&queue).is_ok());
    }

    #[test]
    fn what_came_before_the_end_is_still_written() {
        let queue = JournalQueue::default();
        queue.change(1, Change { bytes: None, _note: None });
        queue.end();
        assert_eq!(queue.next(None).unwrap().changes.len(), 1);
        assert!(queue.next(None).is_none());
        let idle = JournalQueue::default();
        assert!(idle.next(Some(Duration::ZERO)).is_some_and(|batch| batch.is_empty()));
    }
}
