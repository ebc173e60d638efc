//! Many rules: what a packet, a rule and a start cost.

use std::fs;
use std::path::Path;

use crate::blast::Blast;
use crate::flood::cost;
use crate::report::{Report, mib, millis};
use crate::subject::{self, Processes, Subject, rule};
use crate::{KNOCK, lab};

const RATE: f64 = 200_000.0;
const RULES: u16 = 10_000;
const MODULES: u16 = 1_000;
/// The rules' own ports: three each, behind those of the rule that is alone.
const FIRST_PORT: u16 = 10_000;

pub(crate) fn measure(report: &mut Report) {
    let at = |ports: Vec<u16>| Blast { count: 1_000_000, rate: Some(RATE), ports, sources: 1, skip: 0 };
    let (alone, base) = {
        let lab = lab();
        let subject = subject::postern(&lab, "", &subject::probe());
        let base = subject.process.resident();
        (cost(&lab, &subject.process, &at(KNOCK[..2].to_vec())).0, base)
    };
    report.add("posternd, 1 rule", "CPU a packet", alone, "ns", "");
    let lab = lab();
    let mut rules = subject::probe();
    rules
        .extend((0..RULES).map(|n| (format!("tenant-{:03}-rule-{n:05}", n % 100), rule(&ports(n), 1 << 16))));
    let subject = subject::postern(&lab, "", &rules);
    let who = format!("posternd, {} rules", rules.len());
    let ready = millis(subject.process.ready_after);
    report.add(&who, "from start to listening", ready, "ms", "");
    let (one, _) = cost(&lab, &subject.process, &at(KNOCK[..2].to_vec()));
    report.add(&who, "CPU a packet, all to one rule", one, "ns", "");
    report.compare("10,000 rules", one, "one rule", alone);
    // Every rule in turn, so that none is in any cache.
    let everybody = (0..RULES).map(|n| ports(n)[0]).collect();
    let (all, _) = cost(&lab, &subject.process, &at(everybody));
    report.add(&who, "CPU a packet, to each rule in turn", all, "ns", "");
    report.compare("10,000 rules in turn", all, "one rule", alone);
    memory(report, &who, &subject, base, RULES);
    report.add(&who, "packets lost in all", subject.lost(), "", "");
}

pub(crate) fn measure_modules(report: &mut Report) {
    let base = subject::postern(&lab(), "", &subject::probe()).process.resident();
    let lab = lab();
    let modules = tempfile::TempDir::with_prefix("postern-modules-").expect("a temporary folder");
    let rules: Vec<_> = (0..MODULES)
        .map(|n| {
            let path = different_module(modules.path(), n);
            (format!("rule-{n:05}"), rule(&ports(n), 1 << 16).replace("\"sequence\"", &format!("{path:?}")))
        })
        .collect();
    let subject = subject::postern(&lab, "", &rules);
    let who = format!("posternd, {MODULES} modules");
    report.add(&who, "from start to listening, cold", millis(subject.process.ready_after), "ms", "");
    memory(report, &who, &subject, base, MODULES);
    let everybody = (0..MODULES).map(|n| ports(n)[0]).collect();
    let blast = Blast { count: 500_000, rate: Some(RATE), ports: everybody, sources: 1, skip: 0 };
    let (all, _) = cost(&lab, &subject.process, &blast);
    report.add(&who, "CPU a packet, to each module in turn", all, "ns", "");
    let Subject { process, folder } = subject;
    drop(process);
    for processes in Processes::ALL {
        let who = format!("{}, {MODULES} modules", processes.name());
        let again = subject::start_postern(&lab, processes, folder.path());
        report.add(&who, "from start to listening, once more", millis(again.ready_after), "ms", "");
        report.add(&who, "open files", again.descriptors() as f64, "", "");
    }
}

fn memory(report: &mut Report, who: &str, subject: &Subject, base: u64, rules: u16) {
    let resident = subject.process.resident();
    report.add(who, "memory", mib(resident), "MiB", "");
    let each = resident.saturating_sub(base) as f64 / 1024.0 / f64::from(rules);
    report.add(who, "memory a rule", each, "KiB", "");
}

fn ports(rule: u16) -> [u16; 3] {
    [0, 1, 2].map(|step| FIRST_PORT + 3 * rule + step)
}

/// The stock module with a custom section of its own that is not read, so that no two are the same bytes.
fn different_module(folder: &Path, number: u16) -> String {
    let mut bytes = postern_sandbox::stock::bytes("sequence").to_vec();
    let [high, low] = number.to_be_bytes();
    // A custom section: its number, its length, its name's length, its name, and two bytes.
    bytes.extend([0, 4, 1, b'n', high, low]);
    let path = folder.join(format!("{number}.wasm"));
    fs::write(&path, bytes).expect("the folder is ours");
    path.display().to_string()
}
