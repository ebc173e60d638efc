//! ProcessorFollower: keeps a thread on the processor that its last order came from. A processor that sleeps takes longer to wake than an
//! order takes to carry out; the sender's is awake.

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Where the thread that owns this runs. Whatever the system refuses is ignored: then the thread stays where it is.
#[derive(Debug)]
pub struct ProcessorFollower {
    /// Where it may run by itself; none if that is not known, and then it follows nobody.
    all: Option<CpuSet>,
    bound: Option<u32>,
}

impl ProcessorFollower {
    /// Follows nobody so far.
    #[must_use]
    pub fn of_this_thread() -> Self {
        Self { all: sched_getaffinity(None).ok(), bound: None }
    }

    /// Goes to the processor that a message came from. To be called after the message was answered, since going takes time, too.
    pub fn follow(&mut self, processor: Option<u32>) {
        let Some(number) = processor.filter(|_| processor != self.bound) else { return };
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        // A processor that the thread may not use, or that there is none of.
        if index >= CpuSet::MAX_CPU || !self.all.as_ref().is_some_and(|all| all.is_set(index)) {
            return;
        }
        let mut only = CpuSet::new();
        only.set(index);
        if sched_setaffinity(None, &only).is_ok() {
            self.bound = Some(number);
        }
    }

    /// May run anywhere again: with much to do it should not share a processor with those who send it.
    pub fn roam(&mut self) {
        if self.bound.take().is_some()
            && let Some(all) = &self.all
        {
            let _ = sched_setaffinity(None, all);
        }
    }
}

/// The processor that this thread runs on now, for the message that it sends.
#[must_use]
pub fn this_processor() -> Option<u32> {
    u32::try_from(sched_getcpu()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_where_it_may_and_back() {
        // On a thread of its own, since others share the one of the test.
        let moves = || {
            let before = sched_getaffinity(None).unwrap();
            let mut follower = ProcessorFollower::of_this_thread();
            let own = this_processor().unwrap();
            follower.follow(Some(own));
            assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
            assert_eq!(this_processor(), Some(own));
            for nowhere in [None, Some(1023), Some(u32::MAX)] {
                follower.follow(nowhere);
                assert_eq!(this_processor(), Some(own));
            }
            follower.roam();
            assert_eq!(sched_getaffinity(None).unwrap(), before);
        };
        std::thread::spawn(moves).join().unwrap();
    }
}
