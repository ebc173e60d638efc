//! Code: a compiled module, which is called directly or as a component.

use postern_core::{Detail, Knock};
use wasmtime::Store;

use crate::contract::{self, Rule, RulePre, types};
use crate::direct::{DirectRule, DirectRulePre};
use crate::guest::Guest;

/// Compiled code.
pub(crate) enum Code {
    /// Of a core module.
    Direct(DirectRulePre),
    /// Of a component.
    Component(RulePre<Guest>),
}

/// A started copy of it. Whichever it is, it answers in the same types.
#[allow(clippy::large_enum_variant, reason = "nearly all are the large one")]
pub(crate) enum Started {
    /// Of a core module.
    Direct(DirectRule),
    /// Of a component.
    Component(Rule),
}

impl Code {
    pub(crate) fn start(&self, store: &mut Store<Guest>) -> wasmtime::Result<Started> {
        match self {
            Self::Direct(pre) => pre.instantiate(store).map(Started::Direct),
            Self::Component(pre) => pre.instantiate(store).map(Started::Component),
        }
    }
}

impl Started {
    pub(crate) fn call_configure(
        &self,
        store: &mut Store<Guest>,
        settings: &str,
    ) -> wasmtime::Result<Result<types::Interest, String>> {
        match self {
            Self::Direct(rule) => rule.call_configure(store, settings),
            Self::Component(rule) => rule.call_configure(store, settings),
        }
    }

    /// `detail` is what the rule asked for.
    pub(crate) fn call_judge(
        &self,
        store: &mut Store<Guest>,
        knock: &Knock,
        detail: Detail,
        memory: Option<&[u8]>,
    ) -> wasmtime::Result<types::Verdict> {
        match self {
            Self::Direct(rule) => rule.call_judge(store, knock, detail, memory),
            Self::Component(rule) => rule.call_judge(store, contract::lower(knock, detail), memory),
        }
    }
}
