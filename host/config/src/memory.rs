//! Memory: how much may be remembered of clients, as `[memory]` says it of one rule or of all together.

use std::ops::RangeInclusive;

use postern_core::Bounds;

use crate::table::Table;
use crate::values::show_size;

const ENTRIES: RangeInclusive<usize> = 1..=16_777_216;
const BYTES: RangeInclusive<u64> = 64 << 10..=4 << 30;

/// What postern.toml says of all rules together.
pub(crate) fn of_all_rules(table: &Table<'_>) -> Bounds {
    read(table, Bounds::OF_ALL_RULES, |_, _| ())
}

/// What a rule's file says, which can only be less than `all` may have together. Its default is lowered to that.
pub(crate) fn of_a_rule(table: &Table<'_>, all: Bounds) -> Bounds {
    let told = |memory: &Table<'_>, written: Bounds| {
        let mistake = |key, written: String, most: String| {
            let place = memory.place_of(key);
            memory.mistake(
                &place,
                format!("{written} is more than all rules together may have; use at most {most}, or raise memory.{key} in postern.toml"),
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
    read(table, Bounds::OF_A_RULE.min(all), told)
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
