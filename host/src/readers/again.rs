//! Again: has something done once more after a while, once however often that is asked for meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Something that is done later.
pub(super) struct Again {
    after: Duration,
    act: Arc<dyn Fn() + Send + Sync>,
    is_set: Arc<AtomicBool>,
}

impl Again {
    /// Does `act` so long after it is asked for.
    pub(super) fn new(after: Duration, act: impl Fn() + Send + Sync + 'static) -> Self {
        Self { after, act: Arc::new(act), is_set: Arc::default() }
    }

    /// Asks for it.
    pub(super) fn ask(&self) {
        if self.is_set.swap(true, Ordering::AcqRel) {
            return;
        }
        let (after, act, is_set) = (self.after, Arc::clone(&self.act), Arc::clone(&self.is_set));
        let wait = move || {
            thread::sleep(after);
            is_set.store(false, Ordering::Release);
            act();
        };
        if thread::Builder::new().name("again".to_owned()).spawn(wait).is_err() {
            self.is_set.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_is_done_once_for_all_who_asked_and_again_for_the_next() {
        let (done, was_done) = channel();
        let done = Mutex::new(done);
        let after = Duration::from_millis(100);
        let again = Again::new(after, move || done.lock().unwrap().send(Instant::now()).unwrap());
        for _ in 0..2 {
            let asked = Instant::now();
            (0..9).for_each(|_| again.ask());
            let at = was_done.recv_timeout(Duration::from_secs(10)).unwrap();
            assert!(at - asked >= after);
            assert!(was_done.try_recv().is_err());
        }
    }
}
