//! Tables: what the supervisor gave the runner, and whether an order is within it. Nothing here is run.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use postern_core::{DoorId, DropReason, OrderError, RuleId};
use postern_link::{CommandsTable, TabledCommands};
use postern_runner::Commands;
use postern_text::duration;

/// Tables that are kept beside the one that the engine goes by: it may refuse many in a row.
const MOST_TABLES: usize = 16;
/// Doors that are in no table any more, and can still be closed.
const MOST_GONE: usize = 4096;

/// The tables of the doors of commands.
#[derive(Default)]
pub(super) struct Tables {
    tables: BTreeMap<u32, CommandsTable>,
    /// The newest that an order went by. It never goes back.
    in_use: u32,
    doors: HashMap<DoorId, Arc<KnownDoor>>,
    /// Those that are in no table, the one that went first at the front.
    gone: VecDeque<DoorId>,
}

/// A door of some table.
pub(super) struct KnownDoor {
    pub(super) name: Arc<str>,
    pub(super) commands: Commands,
}

impl KnownDoor {
    /// Whether nothing may be opened that the journal cannot close.
    pub(super) fn must_be_recorded(&self) -> bool {
        matches!(&self.commands, Commands::Argv(door) if !door.close.is_empty())
    }

    /// Whether it is one of a knockd.conf.
    pub(super) const fn is_shell(&self) -> bool {
        matches!(self.commands, Commands::Shell(_))
    }
}

impl Tables {
    /// Takes a table, in any order.
    pub(super) fn give(&mut self, table: CommandsTable) {
        for (id, door) in &table.doors {
            let commands = match &door.commands {
                TabledCommands::Argv(door) => Commands::Argv(Arc::new(door.clone())),
                TabledCommands::Shell(door) => Commands::Shell(Arc::new(door.clone())),
            };
            let known = || Arc::new(KnownDoor { name: Arc::clone(&door.name), commands });
            self.doors.entry(*id).or_insert_with(known);
        }
        self.gone.retain(|gone| !table.doors.iter().any(|(id, _)| id == gone));
        self.tables.insert(table.number, table);
        while self.tables.len() > MOST_TABLES {
            let oldest = self.tables.keys().find(|number| **number != self.in_use).copied();
            let Some(oldest) = oldest.and_then(|oldest| self.tables.remove(&oldest)) else { break };
            let gone = oldest.doors.iter().map(|(id, _)| *id).filter(|id| !self.is_tabled(*id));
            let gone: Vec<_> = gone.collect();
            self.gone.extend(gone);
        }
        while self.gone.len() > MOST_GONE {
            self.gone.pop_front().map(|door| self.doors.remove(&door));
        }
    }

    fn is_tabled(&self, door: DoorId) -> bool {
        self.tables.values().any(|table| table.doors.iter().any(|(id, _)| *id == door))
    }

    /// The door that an opening is for, if it may be opened by that table for so long.
    ///
    /// # Errors
    /// If it may not.
    pub(super) fn opening(
        &mut self,
        table: u32,
        door: DoorId,
        lasts: Duration,
    ) -> Result<Arc<KnownDoor>, OrderError> {
        let refused = |words: String| OrderError::new(DropReason::BeyondTable, words);
        if table < self.in_use {
            return Err(refused(format!(
                "the runner goes by table {} already, and not by {table}",
                self.in_use
            )));
        }
        let given = self.tables.get(&table);
        let given = given.ok_or_else(|| refused(format!("the runner has no table {table}")))?;
        if !given.doors.iter().any(|(id, _)| *id == door) {
            return Err(refused(format!("table {table} has no command door {}", door.0)));
        }
        if lasts > given.longest {
            let longest = duration::show(given.longest);
            return Err(refused(format!("the runner opens nothing for longer than {longest}")));
        }
        let known = self.doors.get(&door).cloned();
        self.in_use = table;
        known.ok_or_else(|| refused(format!("table {table} has no command door {}", door.0)))
    }

    /// A door of any table.
    pub(super) fn door(&self, door: DoorId) -> Option<Arc<KnownDoor>> {
        self.doors.get(&door).cloned()
    }

    /// The name of a rule of a table; none if it is for none, or the table is gone, and only a close is still to come.
    ///
    /// # Errors
    /// If the table has no such rule.
    pub(super) fn rule(&self, table: u32, rule: Option<u32>) -> Result<Option<&RuleId>, OrderError> {
        let (Some(rule), Some(given)) = (rule, self.tables.get(&table)) else { return Ok(None) };
        let words = || format!("table {table} has no rule {rule}");
        given.rules.get(&rule).map(Some).ok_or_else(|| OrderError::new(DropReason::BeyondTable, words()))
    }

    /// No opening of any table that is still here lasts longer.
    pub(super) fn longest(&self) -> Duration {
        self.tables.values().map(|table| table.longest).max().unwrap_or_default()
    }

    /// Most openings at once.
    pub(super) fn most_openings(&self) -> usize {
        self.tables.get(&self.in_use).map_or(0, |table| table.most_openings)
    }

    /// Most orders and records that may be under way.
    pub(super) fn most_under_way(&self) -> usize {
        self.most_openings().saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use postern_core::{CommandDoor, ShellDoor, TenantId};
    use postern_link::TabledDoor;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn table(number: u32, doors: impl IntoIterator<Item = u32>) -> CommandsTable {
        let door = |id| {
            let commands = match id % 2 {
                0 => TabledCommands::Shell(ShellDoor::default()),
                _ => {
                    let close = vec!["true".to_owned()];
                    TabledCommands::Argv(CommandDoor {
                        open: close.clone(),
                        close,
                        timeout: MINUTE,
                        user: None,
                    })
                }
            };
            (DoorId(id), TabledDoor { name: format!("door-{id}").into(), commands })
        };
        let rule = RuleId { tenant: TenantId::host(), name: "knock".into() };
        CommandsTable {
            number,
            doors: doors.into_iter().map(door).collect(),
            rules: [(7, rule)].into(),
            longest: MINUTE,
            most_openings: 10,
        }
    }

    fn refused<T>(outcome: Result<T, OrderError>) -> String {
        match outcome {
            Err(error) => {
                assert_eq!(error.reason(), DropReason::BeyondTable);
                error.to_string()
            }
            Ok(_) => panic!("it is allowed"),
        }
    }

    #[test]
    fn only_what_a_table_has_is_opened_and_never_by_an_older_one() {
        let mut tables = Tables::default();
        assert_eq!(tables.most_openings(), 0);
        assert_eq!(refused(tables.opening(1, DoorId(1), MINUTE)), "the runner has no table 1");
        // They may come in any order.
        tables.give(table(2, [1, 3]));
        tables.give(table(1, [1, 2]));
        assert_eq!(&*tables.opening(1, DoorId(2), MINUTE).unwrap().name, "door-2");
        assert_eq!(refused(tables.opening(1, DoorId(3), MINUTE)), "table 1 has no command door 3");
        let long = tables.opening(1, DoorId(1), MINUTE + Duration::from_millis(1));
        assert_eq!(refused(long), "the runner opens nothing for longer than 1m");
        assert!(tables.opening(2, DoorId(3), MINUTE).unwrap().must_be_recorded());
        assert_eq!(
            refused(tables.opening(1, DoorId(1), MINUTE)),
            "the runner goes by table 2 already, and not by 1"
        );
        assert_eq!(refused(tables.opening(2, DoorId(2), MINUTE)), "table 2 has no command door 2");
        assert!(tables.door(DoorId(2)).unwrap().is_shell(), "it can still be closed");
        assert_eq!((tables.most_openings(), tables.most_under_way()), (10, 20));
    }

    #[test]
    fn a_rule_is_one_of_the_table_or_none() {
        let mut tables = Tables::default();
        tables.give(table(1, [1]));
        assert_eq!(tables.rule(1, None).unwrap(), None);
        assert_eq!(tables.rule(1, Some(7)).unwrap().unwrap().name, "knock".into());
        assert_eq!(refused(tables.rule(1, Some(8))), "table 1 has no rule 8");
        assert_eq!(tables.rule(9, Some(8)).unwrap(), None);
    }

    #[test]
    fn tables_and_doors_that_are_gone_are_bounded_and_the_one_in_use_stays() {
        let mut tables = Tables::default();
        tables.give(table(1, [1]));
        tables.opening(1, DoorId(1), MINUTE).unwrap();
        let most = u32::try_from(MOST_GONE).unwrap();
        for number in 2..2 * most {
            tables.give(table(number, [number]));
        }
        assert_eq!(tables.tables.len(), MOST_TABLES);
        assert!(tables.opening(1, DoorId(1), MINUTE).is_ok());
        assert_eq!(tables.doors.len(), MOST_GONE + MOST_TABLES);
        assert!(tables.door(DoorId(2)).is_none() && tables.door(DoorId(most + 100)).is_some());
    }
}
