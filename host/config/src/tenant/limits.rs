//! What a tenant's rules may use, as `[tenants.NAME.limits]` and `[tenants.NAME.memory]` say it.

use std::ops::RangeInclusive;
use std::time::Duration;

use postern_core::{CpuShare, MAX_PER_RULE, MAX_TOKENS, RuleLimits, TenantLimits};
use serde::{Deserialize, Serialize};

use super::Machine;
use crate::ceilings::{CPU, INSTANCE_MEMORY, MAX_RULES};
use crate::memory;
use crate::table::Table;

const RULES: usize = 32;
const MODULE: u64 = 4 << 20;
const MODULE_RANGE: RangeInclusive<u64> = 1 << 10..=64 << 20;
const COMPILE: Duration = Duration::from_secs(30);
const COMPILE_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const OPENINGS: usize = 1024;
const TOKENS: usize = MAX_PER_RULE;
const LOG: u32 = 10;
const MOST_LOG: usize = 1000;

/// What one tenant may have, beyond what it may use at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCeilings {
    /// Rule files in its folder.
    pub rules: usize,
    /// Bytes of a module's file.
    pub module: u64,
    /// CPU time of compiling one module; compilers have a limit of their own, too, that grows with the module.
    pub compile: Duration,
    /// The most that an instance of one of its rules may use.
    pub instance: RuleLimits,
}

impl Default for TenantCeilings {
    fn default() -> Self {
        Self { rules: RULES, module: MODULE, compile: COMPILE, instance: RuleLimits::default() }
    }
}

/// What a tenant's table says.
pub(super) fn read(tenant: &Table<'_>, machine: Machine<'_>) -> (TenantCeilings, TenantLimits) {
    let mut ceilings = TenantCeilings::default();
    let memory = memory::of_a_tenant(tenant, machine.memory);
    let mut limits = TenantLimits {
        share: CpuShare::DEFAULT,
        memory,
        openings: OPENINGS.min(machine.openings),
        tokens: TOKENS,
        log: LOG,
    };
    let Some(table) = tenant.table("limits") else { return (ceilings, limits) };
    if let Some(rules) = table.number("rules", 1..=MAX_RULES) {
        ceilings.rules = rules;
    }
    if let Some(module) = table.size("module", MODULE_RANGE) {
        ceilings.module = module.value;
    }
    if let Some(compile) = table.duration("compile", COMPILE_RANGE) {
        ceilings.compile = compile.value;
    }
    if let Some(cpu) = table.duration("cpu", CPU) {
        ceilings.instance.cpu = cpu.value;
    }
    if let Some(memory) =
        table.size("memory", *INSTANCE_MEMORY.start() as u64..=*INSTANCE_MEMORY.end() as u64)
    {
        ceilings.instance.memory = usize::try_from(memory.value).unwrap_or(usize::MAX);
    }
    if let Some(percent) = table.percent("share") {
        limits.share = CpuShare::percent(percent);
    }
    if let Some(number) = table.number("openings", 1..=machine.openings) {
        limits.openings = number;
    }
    if let Some(tokens) = table.number("tokens", 0..=MAX_TOKENS) {
        limits.tokens = tokens;
    }
    if let Some(lines) = table.number("log", 1..=MOST_LOG) {
        limits.log = u32::try_from(lines).unwrap_or(u32::MAX);
    }
    table.finish();
    (ceilings, limits)
}
