//! Rule: what one rule does with a packet, expression by expression, as nf_tables lists them.

use postern_core::Family;

use super::bits::{Byte, Is, at_least, at_most, equal, known, masked, whole};
use super::first_packet::Headers;
use super::loads::{connection, meta, payload, route};
use super::rates;
use super::registers::Registers;
use super::sets::{SetContents, Sets, set_of};
use super::xt;
use crate::attributes::{all, find, find_text, find_u32, text};
use crate::error::DoormanError;

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_CT_DREG: u16 = 1;
const NFTA_FIB_DREG: u16 = 1;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_RANGE_SREG: u16 = 1;
const NFTA_RANGE_OP: u16 = 2;
const NFTA_RANGE_FROM: u16 = 3;
const NFTA_RANGE_TO: u16 = 4;
const NFTA_BITWISE_SREG: u16 = 1;
const NFTA_BITWISE_DREG: u16 = 2;
const NFTA_BITWISE_LEN: u16 = 3;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_BITWISE_XOR: u16 = 5;
const NFTA_BITWISE_OP: u16 = 6;
const NFTA_BYTEORDER_SREG: u16 = 1;
const NFTA_BYTEORDER_DREG: u16 = 2;
const NFTA_BYTEORDER_LEN: u16 = 4;
const NFTA_BYTEORDER_SIZE: u16 = 5;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_LOOKUP_SET: u16 = 1;
const NFTA_LOOKUP_SREG: u16 = 2;
const NFTA_LOOKUP_DREG: u16 = 3;
const NFTA_LOOKUP_FLAGS: u16 = 5;
const NFT_LOOKUP_F_INV: u32 = 1;
const NFTA_OBJREF_TYPE: u16 = 1;
const NFT_OBJECT_COUNTER: u32 = 1;
const NFT_REG_VERDICT: u32 = 0;
// include/uapi/linux/netfilter/nf_tables_compat.h
const NFTA_XT_NAME: u16 = 1;
const NFTA_XT_INFO: u16 = 3;

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuleVerdict {
    Accept,
    Drop,
    Reject,
    Return,
    Queue,
    Jump(String),
    Goto(String),
}

/// A rule at work.
struct RuleWalk<'a> {
    headers: &'a Headers,
    registers: Registers,
    applies: Is,
}

/// What a rule does with the packet: nothing if it does not apply or only counts; several things, each of them perhaps, if a map's key is
/// not known.
pub(super) fn judge(
    family: Family,
    table: &str,
    expressions: &[u8],
    headers: &Headers,
    sets: &mut dyn Sets,
) -> Result<Vec<(Is, RuleVerdict)>, DoormanError> {
    let mut walk = RuleWalk { headers, registers: Registers::default(), applies: Is::Yes };
    for (_, expression) in all(expressions) {
        let name = find_text(expression, NFTA_EXPR_NAME).unwrap_or_default();
        let data = find(expression, NFTA_EXPR_DATA).unwrap_or_default();
        let verdicts = match name.as_str() {
            "immediate" => walk.immediate(data).map(|verdict| vec![(Is::Yes, verdict)]),
            "lookup" => {
                let set = find_text(data, NFTA_LOOKUP_SET).unwrap_or_default();
                let verdicts = if walk.is_known(data, &mut *sets, family, table, &set)? {
                    let contents = sets.contents(&set_of(family, table, &set))?;
                    contents.map_or_else(Vec::new, |contents| walk.look_up(data, contents))
                } else {
                    walk.applies = walk.applies.and(Is::Maybe);
                    walk.every(data, sets.contents(&set_of(family, table, &set))?)
                };
                Some(verdicts).filter(|verdicts| !verdicts.is_empty())
            }
            "reject" => Some(vec![(Is::Yes, RuleVerdict::Reject)]),
            "queue" => Some(vec![(Is::Yes, RuleVerdict::Queue)]),
            "target" => walk.target(data).map(|verdict| vec![(Is::Yes, verdict)]),
            _ => {
                walk.expression(&name, data);
                None
            }
        };
        if walk.applies == Is::No {
            return Ok(Vec::new());
        }
        if let Some(verdicts) = verdicts {
            return Ok(verdicts.into_iter().map(|(is, verdict)| (walk.applies.and(is), verdict)).collect());
        }
    }
    Ok(Vec::new())
}

/// Whether these expressions of a rule ask a set or map of this name.
pub(super) fn asks(expressions: &[u8], set: &str) -> bool {
    all(expressions).any(|(_, expression)| {
        find_text(expression, NFTA_EXPR_NAME).is_some_and(|name| name == "lookup")
            && find(expression, NFTA_EXPR_DATA).and_then(|data| find_text(data, NFTA_LOOKUP_SET)).as_deref()
                == Some(set)
    })
}

/// A verdict as nf_tables lists it; none if it is none, or lets the packet go on.
pub(super) fn verdict(data: &[u8]) -> Option<RuleVerdict> {
    let verdict = find(data, NFTA_DATA_VERDICT)?;
    let chain = || find(verdict, NFTA_VERDICT_CHAIN).map(text);
    // include/uapi/linux/netfilter.h and nf_tables.h
    match find_u32(verdict, NFTA_VERDICT_CODE)?.cast_signed() {
        0 => Some(RuleVerdict::Drop),
        1 => Some(RuleVerdict::Accept),
        -3 => Some(RuleVerdict::Jump(chain()?)),
        -4 => Some(RuleVerdict::Goto(chain()?)),
        -5 => Some(RuleVerdict::Return),
        code if code & 0xff == 3 => Some(RuleVerdict::Queue),
        _ => None,
    }
}

impl RuleWalk<'_> {
    /// Follows an expression that says no verdict.
    fn expression(&mut self, name: &str, data: &[u8]) {
        let is = match name {
            "meta" => {
                self.load(find_u32(data, NFTA_META_DREG), meta(self.headers, find_u32(data, NFTA_META_KEY)))
            }
            "payload" => self.load(find_u32(data, NFTA_PAYLOAD_DREG), payload(self.headers, data)),
            "ct" => self.load(find_u32(data, NFTA_CT_DREG), connection(self.headers, data)),
            "fib" => self.load(find_u32(data, NFTA_FIB_DREG), route(self.headers, data)),
            "bitwise" => {
                let value = self.bitwise(data);
                self.load(find_u32(data, NFTA_BITWISE_DREG), value)
            }
            "byteorder" => {
                let value = self.reordered(data);
                self.load(find_u32(data, NFTA_BYTEORDER_DREG), value)
            }
            "cmp" => self.compare(data).unwrap_or(Is::Maybe),
            "range" => self.range(data).unwrap_or(Is::Maybe),
            "match" => self.xt_match(data),
            "counter" | "log" | "notrack" | "last" | "dup" => Is::Yes,
            "objref" if find_u32(data, NFTA_OBJREF_TYPE) == Some(NFT_OBJECT_COUNTER) => Is::Yes,
            _ => rates::within(name, data).unwrap_or_else(|| {
                // It may load a register, or end the rule.
                self.registers = Registers::default();
                Is::Maybe
            }),
        };
        self.applies = self.applies.and(is);
    }

    fn load(&mut self, register: Option<u32>, value: Option<Vec<Byte>>) -> Is {
        self.registers.load(register, value);
        Is::Yes
    }

    fn held(&self, register: Option<u32>) -> Option<&[Byte]> {
        self.registers.held(register)
    }

    fn bitwise(&self, data: &[u8]) -> Option<Vec<Byte>> {
        let length = usize::try_from(find_u32(data, NFTA_BITWISE_LEN)?).ok()?;
        if find_u32(data, NFTA_BITWISE_OP).unwrap_or(0) != 0 {
            return None;
        }
        let value = |kind| find(find(data, kind)?, NFTA_DATA_VALUE);
        let bits = self.held(find_u32(data, NFTA_BITWISE_SREG))?.get(..length)?;
        Some(masked(bits, value(NFTA_BITWISE_MASK)?, value(NFTA_BITWISE_XOR)?))
    }

    /// A number of this machine as one of the network, or back.
    fn reordered(&self, data: &[u8]) -> Option<Vec<Byte>> {
        let number = |kind| find_u32(data, kind).and_then(|number| usize::try_from(number).ok());
        let (length, size) = (number(NFTA_BYTEORDER_LEN)?, number(NFTA_BYTEORDER_SIZE)?);
        let mut bytes = self.held(find_u32(data, NFTA_BYTEORDER_SREG))?.get(..length)?.to_vec();
        if cfg!(target_endian = "little") {
            bytes.chunks_exact_mut(size.max(1)).for_each(<[Byte]>::reverse);
        }
        Some(bytes)
    }

    fn compare(&self, data: &[u8]) -> Option<Is> {
        let bytes = find(find(data, NFTA_CMP_DATA)?, NFTA_DATA_VALUE)?;
        let bits = self.held(find_u32(data, NFTA_CMP_SREG))?;
        // enum nft_cmp_ops
        match find_u32(data, NFTA_CMP_OP)? {
            0 => Some(equal(bits, bytes)),
            1 => Some(equal(bits, bytes).not()),
            2 => Some(at_least(bits, bytes).not()),
            3 => Some(at_most(bits, bytes)),
            4 => Some(at_most(bits, bytes).not()),
            5 => Some(at_least(bits, bytes)),
            _ => None,
        }
    }

    fn range(&self, data: &[u8]) -> Option<Is> {
        let value = |kind| find(find(data, kind)?, NFTA_DATA_VALUE);
        let bits = self.held(find_u32(data, NFTA_RANGE_SREG))?;
        let (from, to) = (value(NFTA_RANGE_FROM)?, value(NFTA_RANGE_TO)?);
        let is_in = at_least(bits, from).and(at_most(bits, to));
        Some(if find_u32(data, NFTA_RANGE_OP)? == 0 { is_in } else { is_in.not() })
    }

    fn immediate(&mut self, data: &[u8]) -> Option<RuleVerdict> {
        let register = find_u32(data, NFTA_IMMEDIATE_DREG);
        let value = find(data, NFTA_IMMEDIATE_DATA)?;
        if register == Some(NFT_REG_VERDICT) {
            return verdict(value);
        }
        self.load(register, find(value, NFTA_DATA_VALUE).map(known));
        None
    }

    /// Whether every bit of the key is known that a set is asked for.
    fn is_known(
        &self,
        data: &[u8],
        sets: &mut dyn Sets,
        family: Family,
        table: &str,
        set: &str,
    ) -> Result<bool, DoormanError> {
        let bits = self.held(find_u32(data, NFTA_LOOKUP_SREG)).unwrap_or_default();
        // A set of addresses may be large, and need not be read to see that it cannot be answered.
        if bits.first().is_none_or(|byte| byte.known == 0) {
            return Ok(false);
        }
        let contents = sets.contents(&set_of(family, table, set))?;
        let length = contents.map(|contents| contents.key_length);
        Ok(length.and_then(|length| whole(bits.get(..length)?)).is_some())
    }

    /// Asks a set or a map for a key that is known.
    fn look_up(&mut self, data: &[u8], contents: &SetContents) -> Vec<(Is, RuleVerdict)> {
        let key =
            self.held(find_u32(data, NFTA_LOOKUP_SREG)).and_then(|bits| bits.get(..contents.key_length));
        let Some(key) = key.and_then(whole) else { return Vec::new() };
        let range = contents.ranges.iter().find(|(first, last, _)| contents.is_in(&key, first, last));
        let found = range.map(|(_, _, leads_to)| leads_to).or(contents.catch_all.as_ref());
        let is_inverted = find_u32(data, NFTA_LOOKUP_FLAGS).unwrap_or_default() & NFT_LOOKUP_F_INV != 0;
        self.applies = self.applies.and(Is::from(found.is_some() != is_inverted));
        match find_u32(data, NFTA_LOOKUP_DREG) {
            Some(NFT_REG_VERDICT) => {
                found.and_then(Clone::clone).map(|to| (Is::Yes, to)).into_iter().collect()
            }
            Some(register) => {
                self.load(Some(register), None);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// All that a map may lead to.
    fn every(&mut self, data: &[u8], contents: Option<&SetContents>) -> Vec<(Is, RuleVerdict)> {
        match find_u32(data, NFTA_LOOKUP_DREG) {
            Some(NFT_REG_VERDICT) => {}
            register => {
                self.load(register, None);
                return Vec::new();
            }
        }
        let Some(contents) = contents else { return Vec::new() };
        let of_ranges = contents.ranges.iter().map(|(_, _, to)| to);
        let all = of_ranges.chain(&contents.catch_all).flatten();
        all.map(|verdict| (Is::Maybe, verdict.clone())).collect()
    }

    fn xt_match(&self, data: &[u8]) -> Is {
        let name = find_text(data, NFTA_XT_NAME).unwrap_or_default();
        xt::matches(&name, find(data, NFTA_XT_INFO).unwrap_or_default(), self.headers).unwrap_or(Is::Maybe)
    }

    /// A target of iptables; those that decide nothing here let the packet go on.
    fn target(&mut self, data: &[u8]) -> Option<RuleVerdict> {
        match find_text(data, NFTA_XT_NAME).unwrap_or_default().as_str() {
            "REJECT" => Some(RuleVerdict::Reject),
            "DROP" => Some(RuleVerdict::Drop),
            "NFQUEUE" => Some(RuleVerdict::Queue),
            _ => None,
        }
    }
}
