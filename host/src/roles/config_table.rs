//! ConfigTable: the doors of one configuration by number: what the processes that keep doors are given of them by the supervisor.
//!
//! What an engine orders is held to it, so it never comes from an engine.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_config::{Door, DoorKind};
use postern_core::{DoorId, NetDoor, RuleId};
use serde::{Deserialize, Serialize};

/// The doors of a configuration, and what holds for all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigTable {
    /// Which table; that of a configuration whose reading began later has a higher number. Never given twice.
    pub(crate) number: u32,
    /// The doors. A door that did not change has the number that it had in earlier tables, and no other door ever gets that.
    pub(crate) doors: Vec<(DoorId, Door)>,
    /// The rules that may open them, and those that are in force now.
    pub(crate) rules: BTreeMap<u32, RuleId>,
    /// No opening lasts longer.
    pub(crate) longest: Duration,
    /// Openings at once, all doors together.
    pub(crate) max_openings: usize,
}

impl ConfigTable {
    /// The doors in the packet filter.
    pub(crate) fn net_doors(&self) -> Vec<(DoorId, NetDoor)> {
        let net_door = |(id, door): &(DoorId, Door)| match &door.kind {
            DoorKind::Net(net) => Some((*id, net.clone())),
            DoorKind::Command(_) | DoorKind::Shell(_) => None,
        };
        self.doors.iter().filter_map(net_door).collect()
    }

    /// The doors of commands.
    pub(crate) fn command_doors(&self) -> impl Iterator<Item = &(DoorId, Door)> {
        self.doors.iter().filter(|(_, door)| !matches!(door.kind, DoorKind::Net(_)))
    }
}

/// The processes that keep doors, as the supervisor reaches them.
pub(crate) trait TableHolders: Send + Sync {
    /// Gives them a table, and comes back when each of them that runs has it. Called from several threads at once, so an older table may
    /// come after a newer one.
    fn give(&self, table: &ConfigTable);

    /// Has the journal opened, if it is not: because a door of this table needs it, or an earlier run left one. May never return. Whether there
    /// is one then.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn open_journal(&self, table: &ConfigTable) -> Result<bool, String>;
}
