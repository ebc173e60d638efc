//! Rates: what limits how much or how many asks of a packet. Nobody has used it up: what is tried is a client's first packet in a while.

use super::bits::Is;
use crate::attributes::{all, find, find_text, find_u32};

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_LIMIT_FLAGS: u16 = 5;
const NFTA_CONNLIMIT_FLAGS: u16 = 2;
const NFTA_QUOTA_FLAGS: u16 = 2;
const NFTA_DYNSET_EXPRESSION: u16 = 7;
const NFTA_DYNSET_FLAGS: u16 = 9;
const NFTA_DYNSET_EXPRESSIONS: u16 = 10;
/// NFT_LIMIT_F_INV and its like of the others: it asks for what is over the limit.
const INVERTED: u32 = 1;

/// Whether an expression that limits lets a rule go on; none if it is no such one.
pub(super) fn within(name: &str, data: &[u8]) -> Option<Is> {
    let flags = |kind| find_u32(data, kind).unwrap_or_default();
    let is_over = |kind| flags(kind) & INVERTED != 0;
    match name {
        "limit" => Some((!is_over(NFTA_LIMIT_FLAGS)).into()),
        "connlimit" => Some((!is_over(NFTA_CONNLIMIT_FLAGS)).into()),
        "quota" => Some((!is_over(NFTA_QUOTA_FLAGS)).into()),
        // It puts the packet's key into a set, which may have a limit for each.
        "dynset" => {
            let one = find(data, NFTA_DYNSET_EXPRESSION);
            let more = find(data, NFTA_DYNSET_EXPRESSIONS).unwrap_or_default();
            let each = one.into_iter().chain(all(more).map(|(_, expression)| expression));
            let is = each.map(|expression| {
                let name = find_text(expression, NFTA_EXPR_NAME).unwrap_or_default();
                within(&name, find(expression, NFTA_EXPR_DATA).unwrap_or_default()).unwrap_or(Is::Yes)
            });
            // Inverted it asks for what finds no room there.
            Some(is.fold((!is_over(NFTA_DYNSET_FLAGS)).into(), Is::and))
        }
        _ => None,
    }
}

/// The same of a match of iptables.
pub(super) fn xt_within(name: &str, info: &[u8]) -> Option<Is> {
    let number = |at: usize| Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    match name {
        "limit" => Some(Is::Yes),
        "hashlimit" => {
            /// XT_HASHLIMIT_INVERT.
            const OVER: u32 = 1 << 4;
            /// A name of 16 bytes in its first revision, of 255 in later ones, whose settings begin with two numbers of 8.
            const FIRST: usize = 128;
            let mode = number(if info.len() < FIRST { 16 } else { 272 })?;
            Some((mode & OVER == 0).into())
        }
        "connlimit" => {
            /// XT_CONNLIMIT_INVERT, of `--connlimit-upto`.
            const UP_TO: u32 = 1;
            Some((number(20)? & UP_TO != 0).into())
        }
        _ => None,
    }
}
