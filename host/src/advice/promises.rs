//! What tenants are promised together, where it is more than there is: then one that takes its part leaves less to others.

use std::{fs, thread};

use postern_config::{Advice, Config, show_size};
use postern_core::{MAX_TOKENS, TenantLimits};

/// A line for each thing of which more is promised than there is.
pub(crate) fn beyond(config: &Config) -> Vec<Advice> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    told(config, &Machine { processors, memory: total_memory(&meminfo) })
}

/// What there is.
struct Machine {
    processors: usize,
    /// Bytes; none if it is not known.
    memory: Option<u64>,
}

/// What a `/proc/meminfo` says (proc_meminfo(5)).
fn total_memory(meminfo: &str) -> Option<u64> {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    kib.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The same on this machine.
fn told(config: &Config, machine: &Machine) -> Vec<Advice> {
    let sum = |of: fn(&TenantLimits) -> usize| -> usize {
        config.tenants.iter().map(|tenant| of(&tenant.limits)).fold(0, usize::saturating_add)
    };
    let number = |promised: usize, most: usize, of: &str, remedy: &str| {
        let what = format!("tenants are promised {promised} {of} together, of {most} that there are");
        (promised > most).then(|| Advice { what, remedy: remedy.to_owned() })
    };
    let bytes = sum(|limits| limits.memory.bytes);
    let micros = config.tenants.iter().filter_map(|tenant| tenant.limits.share.micros_a_second());
    let percent = micros.sum::<u64>() / 10_000;
    // One worker is the thread that captures, of which each interface has one.
    let threads = if config.workers == 1 { config.interfaces.len() } else { config.workers };
    let hundredths = 100 * threads.min(machine.processors) as u64;
    let instances = config.tenants.iter().map(|tenant| {
        let of_one = tenant.ceilings.rules as u64 * tenant.ceilings.instance.memory as u64;
        of_one.saturating_mul(threads as u64)
    });
    let instances = instances.fold(0, u64::saturating_add);
    [
        number(sum(|limits| limits.openings), config.max_openings, "openings", "lower their limits.openings, or raise limits.openings"),
        number(sum(|limits| limits.tokens), MAX_TOKENS, "one-time tokens", "lower their limits.tokens"),
        number(sum(|limits| limits.memory.entries), config.memory.entries, "remembered clients", "lower their memory.entries, or raise memory.entries"),
        (bytes > config.memory.bytes).then(|| {
            let (promised, most) = (show_size(bytes as u64), show_size(config.memory.bytes as u64));
            Advice { what: format!("tenants are promised {promised} for remembered clients together, of {most} that there are"), remedy: "lower their memory.bytes, or raise memory.bytes".to_owned() }
        }),
        machine.memory.filter(|most| instances > *most).map(|most| {
            let (promised, most) = (show_size(instances >> 20 << 20), show_size(most >> 20 << 20));
            Advice { what: format!("tenants are promised {promised} for instances of their rules together, of {most} that the machine has"), remedy: "lower their limits.rules or limits.memory".to_owned() }
        }),
        (percent > hundredths).then(|| {
            Advice { what: format!("tenants are promised {percent}% of a processor together, of {hundredths}% on which rules run"), remedy: "lower their limits.share, or raise workers".to_owned() }
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let text = format!("interfaces = [\"lo\"]\nworkers = 2\n{text}");
        let reading = Config::of_texts(Path::new("/etc/postern/postern.toml"), &text, &[]);
        assert_eq!(reading.mistakes, []);
        let lines: String = told(
            &reading.config.unwrap(),
            &Machine { processors: 8, memory: total_memory("MemTotal:        2097152 kB\n") },
        )
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
        expected.assert_eq(&lines);
    }

    #[test]
    fn what_is_promised_is_there_or_it_is_said() {
        let tenant = |name: &str, limits: &str| format!("[tenants.{name}]\nrules = \"{name}\"\n{limits}");
        let all = "limits.share = \"100%\"\nlimits.openings = 32768\nlimits.tokens = 524288\nmemory.entries = 524288\nmemory.bytes = \"128MiB\"\n";
        let (a, b) = (tenant("a", all), tenant("b", all));
        check(&format!("{a}{b}"), expect![[""]]);
        let c = tenant("c", "");
        check(
            &format!("{a}{b}{c}"),
            expect![[r#"
                tenants are promised 66560 openings together, of 65536 that there are; lower their limits.openings, or raise limits.openings
                tenants are promised 1114112 one-time tokens together, of 1048576 that there are; lower their limits.tokens
                tenants are promised 1310720 remembered clients together, of 1048576 that there are; lower their memory.entries, or raise memory.entries
                tenants are promised 320MiB for remembered clients together, of 256MiB that there are; lower their memory.bytes, or raise memory.bytes
                tenants are promised 3GiB for instances of their rules together, of 2GiB that the machine has; lower their limits.rules or limits.memory
                tenants are promised 225% of a processor together, of 200% on which rules run; lower their limits.share, or raise workers
            "#]],
        );
    }
}
