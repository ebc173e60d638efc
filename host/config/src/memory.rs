//! Memory: how much may be remembered of clients, as `[memory]` says it of one rule or of all together.

use std::ops::RangeInclusive;

use postern_core::{Bounds, TenantId};

use crate::table::Table;
use crate::values::show_size;

const ENTRIES: RangeInclusive<usize> = 1..=16_777_216;
const BYTES: RangeInclusive<u64> = 64 << 10..=4 << 30;

/// What postern.toml says of all rules together.
pub(crate) fn of_all_rules(table: &Table<'_>) -> Bounds {
    read(table, Bounds::OF_ALL_RULES, |_, _| ())
}

/// What postern.toml says of the rules of a tenant, which can only be less than `all` rules may have together.
pub(crate) fn of_a_tenant(table: &Table<'_>, all: Bounds) -> Bounds {
    of_a_part(table, Bounds::OF_A_RULE, all, "all rules together may have", "memory")
}

/// What a rule's file says, which can only be less than `all` rules of its owner may have together.
pub(crate) fn of_a_rule(table: &Table<'_>, owner: &TenantId, all: Bounds) -> Bounds {
    let (have, key) = if owner.is_host() {
        ("all rules together may have".to_owned(), "memory".to_owned())
    } else {
        (format!("the rules of tenant {owner} may have together"), format!("tenants.{owner}.memory"))
    };
    of_a_part(table, Bounds::OF_A_RULE, all, &have, &key)
}

/// What a part may have at most of what all `have`, as `of` in postern.toml says. Its default is lowered to that.
fn of_a_part(table: &Table<'_>, default: Bounds, all: Bounds, have: &str, of: &str) -> Bounds {
    let told = |memory: &Table<'_>, written: Bounds| {
        let mistake = |key, written: String, most: String| {
            let place = memory.place_of(key);
            memory.mistake(
                &place,
                format!(
                    "{written} is more than {have}; use at most {most}, or raise {of}.{key} in postern.toml"
                ),
            );
        };
        if written.entries > all.entries {
            mistake("entries", written.entries.to_string(), all.entries.to_string());
        }
        if written.bytes > all.bytes {
            let show = |bytes: usize| show_size(bytes as u64);
            mistake("bytes", show(written.bytes), show(all.bytes));
        }
    };
    read(table, default.min(all), told)
}

/// `default` is for a missing key; a value that is there goes, with its table, to `check`.
fn read(table: &Table<'_>, default: Bounds, check: impl FnOnce(&Table<'_>, Bounds)) -> Bounds {
    let Some(memory) = table.table("memory") else { return default };
    let bytes = memory.size("bytes", BYTES).and_then(|at| usize::try_from(at.value).ok());
    let bounds = Bounds {
        entries: memory.number("entries", ENTRIES).unwrap_or(default.entries),
        bytes: bytes.unwrap_or(default.bytes),
    };
    check(&memory, bounds);
    memory.finish();
    bounds
}
