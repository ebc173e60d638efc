//! Tree: ends a process with all that came from it, whatever process groups and sessions that made for itself.
//!
//! The root is a shim, which is a child subreaper: what loses its parent stays beneath it ([`crate::shim`]). All beneath is stopped before anything of
//! it is killed: what is stopped starts nothing more, and leaves no place to others that do. Process groups are stopped at once, so nothing in one
//! escapes by starting the next and ending. So also what starts processes without end comes to one, be it when it may have no more.

use std::collections::HashSet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rustix::process::Signal;
use tokio::sync::oneshot;

use crate::process_identity::{ProcessIdentity, Signalled};
use crate::process_table::ProcessTable;

/// For how long what is beneath a root is looked for again: it ends within milliseconds, unless it cannot be ended.
const PATIENCE: Duration = Duration::from_secs(10);
/// After so many looks in a row that found something new, what is known is killed all the same: others may make go on what was stopped.
const MOST_NEW: u32 = 16;
/// Between two looks there is as much time as a look takes, within these bounds.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(100)];
/// How long the end of all that is still to be ended may take when this process ends.
const LAST: Duration = Duration::from_secs(2);

/// The thread that ends trees. Each look at all processes serves all that are to be ended. When this is dropped, what it was given is ended before.
#[derive(Debug)]
pub(crate) struct TreeEnder {
    /// None while it is dropped.
    roots: Option<Sender<(ProcessIdentity, oneshot::Sender<usize>)>>,
    /// Ends with the thread.
    ended: Receiver<()>,
}

/// A tree that is being ended.
struct EndingTree {
    root: ProcessIdentity,
    stopped: HashSet<ProcessIdentity>,
    /// Which could not be ended: they run with more rights than this process has.
    beyond: HashSet<ProcessIdentity>,
    /// How many looks in a row found something new.
    new: u32,
    until: Instant,
}

impl TreeEnder {
    /// Starts the thread, so that it is there when there can be no more of them.
    pub(crate) fn start() -> io::Result<Self> {
        // No more than there are commands.
        let (roots, given) = unbounded();
        let (end, ended) = bounded(0);
        thread::Builder::new().name("end-commands".to_owned()).spawn(move || {
            end_all_given(&given);
            drop(end);
        })?;
        Ok(Self { roots: Some(roots), ended })
    }

    /// Ends a process with all beneath it. What comes of that says how many processes could not be ended; nobody need wait for it.
    pub(crate) fn end(&self, root: ProcessIdentity) -> oneshot::Receiver<usize> {
        let (done, result) = oneshot::channel();
        if let Some(roots) = &self.roots {
            // The thread is there as long as this is.
            let _ = roots.send((root, done));
        }
        result
    }
}

impl Drop for TreeEnder {
    fn drop(&mut self) {
        self.roots = None;
        // It sends nothing.
        let _ = self.ended.recv_timeout(LAST);
    }
}

fn end_all_given(given: &Receiver<(ProcessIdentity, oneshot::Sender<usize>)>) {
    let mut under_way = Vec::new();
    loop {
        if under_way.is_empty() {
            match given.recv() {
                Ok((root, done)) => under_way.push((EndingTree::new(root, PATIENCE), Some(done))),
                Err(_) => return,
            }
        }
        under_way.extend(given.try_iter().map(|(root, done)| (EndingTree::new(root, PATIENCE), Some(done))));
        look_and_end(&mut under_way, |done, left| {
            // Nobody need wait for it.
            let _ = done.take().map(|done: oneshot::Sender<usize>| done.send(left));
        });
    }
}

/// Ends these processes with all beneath them, if that can be done in this time.
pub(crate) fn end(roots: &[ProcessIdentity], patience: Duration) {
    let mut under_way: Vec<_> = roots.iter().map(|root| (EndingTree::new(*root, patience), ())).collect();
    while !under_way.is_empty() {
        look_and_end(&mut under_way, |(), _| {});
    }
}

/// Ends all beneath this process, if that can be done in this time, and not the process.
pub(crate) fn end_beneath(root: ProcessIdentity, patience: Duration) {
    let mut tree = EndingTree::new(root, patience);
    while tree.look(&ProcessTable::look()).is_none() {
        thread::sleep(PAUSES[0]);
    }
}

/// Looks once, and does what is to be done; `done` is called for each that has come to its end.
fn look_and_end<T>(under_way: &mut Vec<(EndingTree, T)>, mut done: impl FnMut(&mut T, usize)) {
    let began = Instant::now();
    let processes = ProcessTable::look();
    under_way.retain_mut(|(tree, whose)| {
        let Some(left) = tree.look(&processes) else { return true };
        tree.root.kill_group();
        done(whose, left);
        false
    });
    if !under_way.is_empty() {
        let [least, most] = PAUSES;
        thread::sleep(began.elapsed().clamp(least, most));
    }
}

impl EndingTree {
    fn new(root: ProcessIdentity, patience: Duration) -> Self {
        let until = Instant::now() + patience;
        Self { root, stopped: HashSet::new(), beyond: HashSet::new(), new: 0, until }
    }

    /// Stops what is new beneath the root, or kills all if nothing is. Once there is nothing any more that can be ended, or no more time: how many
    /// processes are left.
    fn look(&mut self, processes: &ProcessTable) -> Option<usize> {
        let mut beneath = processes.beneath(self.root);
        beneath.retain(|process| !self.beyond.contains(process));
        let new: Vec<_> = beneath.iter().filter(|process| self.stopped.insert(**process)).collect();
        self.new = if new.is_empty() { 0 } else { self.new + 1 };
        if !new.is_empty() {
            processes.signal_groups(&beneath.iter().copied().collect(), Signal::STOP);
            new.into_iter().for_each(|process| self.signal(process, Signal::STOP));
        }
        let is_late = Instant::now() >= self.until;
        if self.new == 0 || self.new >= MOST_NEW || is_late {
            beneath.iter().for_each(|process| self.signal(process, Signal::KILL));
        }
        (beneath.is_empty() || is_late).then(|| beneath.len() + self.beyond.len())
    }

    fn signal(&mut self, process: &ProcessIdentity, signal: Signal) {
        if process.signal(signal) == Signalled::NotAllowed {
            self.beyond.insert(*process);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A command of a shell, in a group of its own; this process is no subreaper, so what it has end is what does not lose its parent.
    fn shell(line: &str) -> (Child, ProcessIdentity) {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("/bin/sh");
        let child = command.args(["-c", line]).process_group(0).stdin(Stdio::null()).spawn().unwrap();
        let process = ProcessIdentity::of(child.id()).unwrap();
        (child, process)
    }

    /// Waits until so many processes are beneath this one.
    fn until(root: ProcessIdentity, count: usize) -> Vec<ProcessIdentity> {
        let begun = Instant::now();
        loop {
            let beneath = ProcessTable::look().beneath(root);
            if beneath.len() == count {
                return beneath;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{beneath:?} instead of {count}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn what_left_the_process_group_is_ended_as_well_and_nothing_else() {
        let (mut other, of_other) = shell("sleep 61 & wait");
        let ender = TreeEnder::start().unwrap();
        let (mut child, root) = shell("setsid sh -c 'setsid sleep 61 & wait' & sleep 61 & wait");
        let beneath = until(root, 3);
        let left = ender.end(root).blocking_recv();
        assert_eq!(left, Ok(0));
        // Killed, or ended by itself since there is nothing any more that it waits for.
        child.wait().unwrap();
        assert!(!beneath.iter().any(ProcessIdentity::is_alive));
        assert_eq!(until(of_other, 1).len(), 1);
        end(&[of_other], PATIENCE);
        other.wait().unwrap();
        // One that has ended already.
        assert_eq!(ender.end(root).blocking_recv(), Ok(0));
    }

    #[test]
    fn what_is_to_be_ended_is_ended_before_the_thread_is() {
        let ender = TreeEnder::start().unwrap();
        let mut children: Vec<_> = (0..8).map(|_| shell("setsid sleep 61 & sleep 61 & wait")).collect();
        let beneath: Vec<_> = children.iter().flat_map(|(_, root)| until(*root, 2)).collect();
        children.iter().for_each(|(_, root)| drop(ender.end(*root)));
        drop(ender);
        assert!(!beneath.iter().any(ProcessIdentity::is_alive));
        for (child, _) in &mut children {
            child.wait().unwrap();
        }
    }

    #[test]
    fn what_is_beneath_a_process_is_ended_without_it() {
        let (mut child, root) = shell("trap '' TERM; setsid sleep 61 & sleep 61; sleep 61; exit 7");
        until(root, 2);
        end_beneath(root, PATIENCE);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }
}
