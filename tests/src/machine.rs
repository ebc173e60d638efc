//! Machine: what figures were measured on, in words. Names no host.

use std::fs;

/// Its processors and kernel, such as `AMD EPYC, 2 processors, Linux 6.18`.
#[must_use]
pub fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor that /proc/cpuinfo does not name", |(_, model)| model.trim());
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let processors = if count == 1 { "processor" } else { "processors" };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: Vec<_> = kernel.trim().split(['.', '-']).take(2).collect();
    format!("{model}, {count} {processors}, Linux {}", kernel.join("."))
}
