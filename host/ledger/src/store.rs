//! Store: the tables of the ledger, and one transaction for all claims that came while the one before was written.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | number: `version` of this layout, `next-rule`, `forgotten`, `damaged` |
//! | `rules` | tenant, rule | its number, which no other rule ever has |
//! | `kept` | rule's number | how many tokens and keys are kept of it, tenant, rule; a rule of which nothing is kept is in neither table |
//! | `tokens` | rule's number, SHA-256 of the token | until when the rule could accept it, microseconds since 1970 |
//! | `ends` | until, rule's number, SHA-256 of the token | nothing: what may be forgotten, in the order in which it may |
//! | `counters` | rule's number, SHA-256 of the key | the highest value so far |
//!
//! `forgotten` is the latest end of all tokens that were forgotten, and only grows. A claim that ends no later is refused: it may be one of
//! them. So setting a clock back makes no token good again.

use std::collections::BTreeMap;

use postern_core::{ClaimError, MAX_PER_RULE, MAX_TOKENS, RuleId};
use redb::{
    Database, Durability, Error, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table,
    TableDefinition, TableError, WriteTransaction,
};

use crate::wanted::{Fingerprint, Wanted, WantedOnce};

/// The layout that this version writes.
pub(crate) const VERSION: u64 = 1;
/// A knock may be judged this long after it came, in microseconds. A token is kept so much longer.
const LATE: u64 = 60_000_000;
/// Tokens that each commit forgets at most, beside two for each claim, so that no commit takes long.
const FORGOTTEN_AT_ONCE: usize = 16;
/// Tokens that are forgotten at most when there is no room otherwise.
const FORGOTTEN_FOR_ROOM: usize = 4096;
/// Rules of a tenant of which something is kept, those that are gone included: each claim counts what is kept of all of them.
const MOST_RULES_OF_TENANT: usize = 4096;
/// Until when a token is kept that is never forgotten.
const FOR_EVER: u64 = u64::MAX;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const RULES: TableDefinition<'_, (&str, &str), u32> = TableDefinition::new("rules");
const KEPT: TableDefinition<'_, u32, (u64, &str, &str)> = TableDefinition::new("kept");
const TOKENS: TableDefinition<'_, (u32, Fingerprint), u64> = TableDefinition::new("tokens");
const ENDS: TableDefinition<'_, (u64, u32, Fingerprint), ()> = TableDefinition::new("ends");
const COUNTERS: TableDefinition<'_, (u32, Fingerprint), u64> = TableDefinition::new("counters");

/// What became of each of some claims, in their order.
pub(crate) type Results = Vec<Result<(), ClaimError>>;

/// How much may be kept; tests use less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) of_a_rule: u64,
    pub(crate) in_all: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { of_a_rule: MAX_PER_RULE as u64, in_all: MAX_TOKENS as u64 }
    }
}

/// The ledger's database.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    room: Capacity,
}

/// What a database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// This version can go on with it.
    Known,
    /// Another version wrote it, in this layout.
    Other(u64),
    /// A part of it was lost before.
    Damaged,
}

impl Store {
    pub(crate) const fn new(database: Database, room: Capacity) -> Self {
        Self { database, room }
    }

    /// Begins one in a database with nothing in it.
    pub(crate) fn begin(database: &Database) -> Result<(), Error> {
        let transaction = begin(database)?;
        transaction.open_table(META)?.insert("version", VERSION)?;
        Ok(transaction.commit()?)
    }

    /// Whether claims can be made in a database.
    pub(crate) fn kind(database: &Database) -> Result<StoreKind, Error> {
        let meta = match database.begin_read()?.open_table(META) {
            // Not a ledger's database.
            Err(TableError::TableDoesNotExist(_)) => return Ok(StoreKind::Other(0)),
            opened => opened?,
        };
        let version = number(&meta, "version")?;
        Ok(match number(&meta, "damaged")? {
            0 if version == VERSION => StoreKind::Known,
            0 => StoreKind::Other(version),
            _ => StoreKind::Damaged,
        })
    }

    /// Marks a database as damaged that lost something in a repair, since after the repair it looks whole.
    pub(crate) fn mark_damaged(database: &Database) -> Result<(), Error> {
        let transaction = begin(database)?;
        transaction.open_table(META)?.insert("damaged", 1)?;
        Ok(transaction.commit()?)
    }

    /// Makes claims in their order, in one transaction. What was granted is on the disk when this returns.
    ///
    /// # Errors
    /// If the outcome of none of them is known: some or all may be recorded.
    pub(crate) fn claim(&self, batch: &[Wanted], now: u64) -> Result<Results, Error> {
        let transaction = begin(&self.database)?;
        let results = {
            let mut tables = Tables::open(&transaction, self.room)?;
            let results =
                batch.iter().map(|wanted| tables.claim(wanted, now)).collect::<Result<Results, _>>()?;
            if results.iter().any(Result::is_ok) {
                tables.forget(now, FORGOTTEN_AT_ONCE + 2 * batch.len())?;
            }
            results
        };
        // A flood of used tokens costs no write.
        match results.iter().any(Result::is_ok) {
            true => transaction.commit()?,
            false => transaction.abort()?,
        }
        Ok(results)
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // In two phases, for one more flush: with one, a start after a crash that finds the newest commit damaged goes on with the one before
    // without a word, and tokens that were used last would be good again.
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// What `meta` says; 0 if nothing.
fn number(meta: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, Error> {
    Ok(meta.get(name)?.map_or(0, |value| value.value()))
}

/// The tables, as one transaction has them open.
struct Tables<'t> {
    meta: Table<'t, &'static str, u64>,
    rules: Table<'t, (&'static str, &'static str), u32>,
    kept: Table<'t, u32, (u64, &'static str, &'static str)>,
    tokens: Table<'t, (u32, Fingerprint), u64>,
    ends: Table<'t, (u64, u32, Fingerprint), ()>,
    counters: Table<'t, (u32, Fingerprint), u64>,
    room: Capacity,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction, room: Capacity) -> Result<Self, Error> {
        Ok(Self {
            meta: transaction.open_table(META)?,
            rules: transaction.open_table(RULES)?,
            kept: transaction.open_table(KEPT)?,
            tokens: transaction.open_table(TOKENS)?,
            ends: transaction.open_table(ENDS)?,
            counters: transaction.open_table(COUNTERS)?,
            room,
        })
    }

    fn claim(&mut self, wanted: &Wanted, now: u64) -> Result<Result<(), ClaimError>, Error> {
        let rule = self.rule(&wanted.rule)?;
        match wanted.once {
            WantedOnce::Token { token, until } => {
                let until = until.unwrap_or(FOR_EVER);
                let was_used = match rule {
                    Some(rule) => self.tokens.get((rule, token))?.is_some(),
                    None => false,
                };
                // A token that ends no later than a forgotten one may have been used and forgotten as well.
                if was_used || until <= number(&self.meta, "forgotten")? {
                    return Ok(Err(ClaimError::AlreadyUsed));
                }
                let Some(rule) = self.count(wanted, now)? else { return Ok(Err(ClaimError::Full)) };
                self.tokens.insert((rule, token), until)?;
                if until != FOR_EVER {
                    self.ends.insert((until, rule, token), ())?;
                }
            }
            WantedOnce::Counter { key, value } => {
                let last = match rule {
                    Some(rule) => self.counters.get((rule, key))?.map(|last| (rule, last.value())),
                    None => None,
                };
                let rule = match last {
                    Some((_, last)) if value <= last => return Ok(Err(ClaimError::AlreadyUsed)),
                    Some((rule, _)) => Some(rule),
                    None => self.count(wanted, now)?,
                };
                let Some(rule) = rule else { return Ok(Err(ClaimError::Full)) };
                self.counters.insert((rule, key), value)?;
            }
        }
        Ok(Ok(()))
    }

    /// A rule's number, if anything is kept of it.
    fn rule(&self, rule: &RuleId) -> Result<Option<u32>, Error> {
        Ok(self.rules.get((&*rule.tenant.to_string(), &*rule.name))?.map(|number| number.value()))
    }

    /// Counts one more entry of a rule and returns the rule's number; none if no more can be kept.
    fn count(&mut self, wanted: &Wanted, now: u64) -> Result<Option<u32>, Error> {
        if !self.has_room(wanted)? {
            self.forget(now, FORGOTTEN_FOR_ROOM)?;
            if !self.has_room(wanted)? {
                return Ok(None);
            }
        }
        let rule = &wanted.rule;
        let (tenant, name) = (rule.tenant.to_string(), &*rule.name);
        let number = match self.rule(rule)? {
            Some(known) => known,
            None => {
                let next = number(&self.meta, "next-rule")?;
                let Ok(number) = u32::try_from(next) else { return Ok(None) };
                self.meta.insert("next-rule", next + 1)?;
                self.rules.insert((&*tenant, name), number)?;
                number
            }
        };
        let kept = self.kept_of(number)?;
        self.kept.insert(number, (kept + 1, &*tenant, name))?;
        Ok(Some(number))
    }

    fn has_room(&self, Wanted { rule, most, .. }: &Wanted) -> Result<bool, Error> {
        let of_rule = self.rule(rule)?.map_or(Ok(0), |rule| self.kept_of(rule))?;
        let in_all = self.tokens.len()? + self.counters.len()?;
        let has_room = of_rule < self.room.of_a_rule && in_all < self.room.in_all;
        Ok(has_room && most.map_or(Ok(true), |most| self.has_tenant_room(rule, most.into()))?)
    }

    /// Whether less than so much is kept of all rules of a rule's tenant.
    fn has_tenant_room(&self, rule: &RuleId, most: u64) -> Result<bool, Error> {
        let tenant = rule.tenant.to_string();
        let mut kept = 0;
        for (n, row) in self.rules.range((&*tenant, "")..)?.enumerate() {
            let (key, number) = row?;
            if key.value().0 != tenant {
                break;
            }
            kept += self.kept_of(number.value())?;
            if kept >= most || n + 1 >= MOST_RULES_OF_TENANT {
                return Ok(false);
            }
        }
        Ok(kept < most)
    }

    fn kept_of(&self, rule: u32) -> Result<u64, Error> {
        Ok(self.kept.get(rule)?.map_or(0, |kept| kept.value().0))
    }

    /// Forgets at most so many tokens that no rule could accept any more.
    fn forget(&mut self, now: u64, most: usize) -> Result<(), Error> {
        let past = ..(now.saturating_sub(LATE), 0, [0; 32]);
        let ended = self.ends.extract_from_if(past, |_, ()| true)?.take(most);
        let ended = ended.map(|row| Ok(row?.0.value())).collect::<Result<Vec<_>, Error>>()?;
        // They come in the order of their ends.
        let Some((latest, ..)) = ended.last() else { return Ok(()) };
        let forgotten = number(&self.meta, "forgotten")?.max(*latest);
        self.meta.insert("forgotten", forgotten)?;
        let mut fewer = BTreeMap::<u32, u64>::new();
        for (_, rule, token) in &ended {
            self.tokens.remove((*rule, *token))?;
            *fewer.entry(*rule).or_default() += 1;
        }
        fewer.into_iter().try_for_each(|(rule, fewer)| self.discount(rule, fewer))
    }

    /// Counts so many entries of a rule less.
    fn discount(&mut self, rule: u32, fewer: u64) -> Result<(), Error> {
        let Some(row) = self.kept.remove(rule)? else { return Ok(()) };
        let (kept, tenant, name) = row.value();
        let (kept, tenant, name) = (kept.saturating_sub(fewer), tenant.to_owned(), name.to_owned());
        drop(row);
        match kept {
            0 => drop(self.rules.remove((&*tenant, &*name))?),
            kept => drop(self.kept.insert(rule, (kept, &*tenant, &*name))?),
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
