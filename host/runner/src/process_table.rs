//! ProcessTable: all processes of this machine, and which came from which.

use std::collections::{HashMap, HashSet};
use std::fs;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::process_identity::{ProcessIdentity, ProcessStat};

/// All processes at one moment, or nearly: they are looked at one after the other.
#[derive(Debug, Default)]
pub(crate) struct ProcessTable {
    /// By the number of their parent.
    children: HashMap<u32, Vec<ProcessIdentity>>,
    /// By the number of their process group.
    groups: HashMap<u32, Vec<ProcessIdentity>>,
}

impl ProcessTable {
    /// Looks at all that there are.
    pub(crate) fn look() -> Self {
        let mut all = Self::default();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        for number in entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            if let Some(ProcessStat { parent, group, started, .. }) =
                ProcessStat::of(number).filter(|stat| !stat.is_over)
            {
                let process = ProcessIdentity { number, started };
                all.children.entry(parent).or_default().push(process);
                all.groups.entry(group).or_default().push(process);
            }
        }
        all
    }

    /// Those that run beneath this one, parents before their children: none once it has ended, since what it leaves is another's then.
    pub(crate) fn beneath(&self, root: ProcessIdentity) -> Vec<ProcessIdentity> {
        let mut beneath = Vec::new();
        let mut parents = vec![root];
        while let Some(parent) = parents.pop() {
            // A number may have become another's while these were looked at: no child is older than its parent.
            let children = self.children.get(&parent.number).into_iter().flatten();
            let children = children.filter(|child| child.started >= parent.started && **child != root);
            let before = beneath.len();
            beneath.extend(children);
            // Nor has another process than this the children that were seen of it, if it is still there.
            if beneath.len() > before && ProcessIdentity::of(parent.number) != Some(parent) {
                beneath.truncate(before);
            }
            parents.extend(&beneath[before..]);
        }
        beneath
    }

    /// Sends a signal to each process group in which there are none but these. Other than with one process after the other, nothing that is in it, or
    /// is about to be, escapes that.
    pub(crate) fn signal_groups(&self, of: &HashSet<ProcessIdentity>, signal: Signal) {
        for (number, members) in &self.groups {
            let group = i32::try_from(*number).ok().and_then(Pid::from_raw);
            if let Some(group) = group.filter(|_| members.iter().all(|member| of.contains(member))) {
                let _ = kill_process_group(group, signal);
            }
        }
    }
}
