//! Walk: the way of one packet through the chains of one table.

use std::collections::BTreeMap;

use postern_core::Family;

use super::FilterChain;
use super::bits::Is;
use super::first_packet::Headers;
use super::rule::{RuleVerdict, judge};
use super::sets::Sets;
use crate::error::DoormanError;

/// Chains that lead to each other: the kernel follows no more (NFT_JUMP_STACK_SIZE).
const DEEPEST: usize = 16;

/// How a packet leaves a chain if no rule applies of which that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChainEnd {
    Accepted,
    Dropped,
    Rejected,
    /// At its end, or it went back: what comes behind decides.
    Through,
}

/// The way through a chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    pub(super) end: ChainEnd,
    /// Whether it might be accepted otherwise.
    pub(super) may_be_accepted: bool,
}

/// A packet on its way.
pub(super) struct ChainWalk<'a> {
    family: Family,
    table: &'a str,
    chains: &'a BTreeMap<String, FilterChain>,
    headers: &'a Headers,
    sets: &'a mut dyn Sets,
    /// Many rules may lead to one chain.
    known: BTreeMap<String, Passage>,
    depth: usize,
}

impl<'a> ChainWalk<'a> {
    pub(super) fn new(
        family: Family,
        table: &'a str,
        chains: &'a BTreeMap<String, FilterChain>,
        headers: &'a Headers,
        sets: &'a mut dyn Sets,
    ) -> Self {
        Self { family, table, chains, headers, sets, known: BTreeMap::new(), depth: 0 }
    }

    /// Goes through the chain of this name.
    ///
    /// # Errors
    /// If a set cannot be read.
    pub(super) fn pass(&mut self, name: &str) -> Result<Passage, DoormanError> {
        if let Some(passage) = self.known.get(name) {
            return Ok(*passage);
        }
        let chains = self.chains;
        let chain = chains.get(name).filter(|_| self.depth < DEEPEST);
        // What is not there, because it was made meanwhile, decides nothing.
        let Some(chain) = chain else { return Ok(Passage { end: ChainEnd::Through, may_be_accepted: true }) };
        self.depth += 1;
        let passage = self.pass_rules(&chain.rules);
        self.depth -= 1;
        let passage = passage?;
        self.known.insert(name.to_owned(), passage);
        Ok(passage)
    }

    fn pass_rules(&mut self, rules: &[Vec<u8>]) -> Result<Passage, DoormanError> {
        let mut may_be_accepted = false;
        for expressions in rules {
            for (applies, verdict) in judge(self.family, self.table, expressions, self.headers, self.sets)? {
                let is_sure = applies == Is::Yes;
                let end = match verdict {
                    RuleVerdict::Accept => ChainEnd::Accepted,
                    RuleVerdict::Drop => ChainEnd::Dropped,
                    RuleVerdict::Reject => ChainEnd::Rejected,
                    RuleVerdict::Return => {
                        // What comes behind the chain may be another end.
                        may_be_accepted |= !is_sure;
                        ChainEnd::Through
                    }
                    // A program decides.
                    RuleVerdict::Queue => {
                        may_be_accepted = true;
                        ChainEnd::Accepted
                    }
                    RuleVerdict::Jump(chain) | RuleVerdict::Goto(chain) if !is_sure => {
                        let Passage { end, may_be_accepted: may } = self.pass(&chain)?;
                        may_be_accepted |= may || end == ChainEnd::Accepted;
                        continue;
                    }
                    RuleVerdict::Jump(chain) => {
                        let Passage { end, may_be_accepted: may } = self.pass(&chain)?;
                        may_be_accepted |= may;
                        if end == ChainEnd::Through {
                            continue;
                        }
                        end
                    }
                    RuleVerdict::Goto(chain) => {
                        let Passage { end, may_be_accepted: may } = self.pass(&chain)?;
                        may_be_accepted |= may;
                        end
                    }
                };
                if is_sure {
                    return Ok(Passage { end, may_be_accepted });
                }
                may_be_accepted |= end == ChainEnd::Accepted;
            }
        }
        Ok(Passage { end: ChainEnd::Through, may_be_accepted })
    }
}
