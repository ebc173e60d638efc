//! Floods of packets from one source: what each costs.

use postern_tests::Lab;

use crate::blast::Blast;
use crate::floor::Floor;
use crate::process::Process;
use crate::report::Report;
use crate::subject::{self, Processes};
use crate::{KNOCK, lab};

const RATE: f64 = 300_000.0;
const MANY: usize = 1_500_000;
/// Sources of a flood in which nothing comes again within 200 ms.
const SPOOFED: u32 = 60_000;
/// Floods of each, roles and one process in turn.
const ROUNDS: usize = 5;
/// A port that no rule watches.
const UNWATCHED: u16 = 7777;
/// Rules of so many steps each, at every second port from here on.
const SCATTERED: u16 = 100;
const STEPS: u16 = 60;
const FIRST_SCATTERED: u16 = 20_000;

pub(crate) fn measure(report: &mut Report) {
    // The first two steps in turn: the client makes progress, fails, and starts over.
    let blast = || Blast { count: MANY, rate: Some(RATE), ports: KNOCK[..2].to_vec(), sources: 1, skip: 0 };
    let [_, immediate, napping] = [Floor::Buffered, Floor::Immediate, Floor::Napping].map(|mode| {
        let lab = lab();
        let process = subject::floor(&lab, mode);
        let (cost, rate) = cost(&lab, &process, &blast());
        let remark = format!("at {:.0} a second, {}", rate, dropped(&process.finish("done")));
        report.add(&format!("libpcap, {}", mode.name()), "CPU a packet", cost, "ns", &remark);
        cost
    });
    roles_beside_one_process(report, &blast());
    let mut one = f64::NAN;
    for workers in [1, 2] {
        let lab = lab();
        let subject = subject::postern(&lab, &format!("workers = {workers}"), &subject::probe());
        let (cost, rate) = cost(&lab, &subject.process, &blast());
        let remark = format!("at {rate:.0} a second, {} lost", subject.lost());
        report.add(&format!("posternd, {workers} workers"), "CPU a packet", cost, "ns", &remark);
        if workers == 1 {
            one = cost;
        }
    }
    report.compare("posternd", one, "libpcap, immediate", immediate);
    report.compare("posternd", one, "libpcap, napping", napping);
    let lab = lab();
    if let Some(subject) = subject::knockd(&lab) {
        let (cost, rate) = cost(&lab, &subject.process, &blast());
        report.add("knockd", "CPU a packet", cost, "ns", &format!("at {rate:.0} a second"));
        report.compare("posternd", one, "knockd", cost);
    }
    on_any(report);
    unwatched(report);
}

/// Both in turn, and the median of each; every other round begins with the other.
fn roles_beside_one_process(report: &mut Report, blast: &Blast) {
    let mut costs = [Vec::new(), Vec::new()];
    let mut lost = [0.0; 2];
    for round in 0..ROUNDS {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            let lab = lab();
            let subject = subject::postern_in(&lab, Processes::ALL[at], &subject::probe());
            costs[at].push(cost(&lab, &subject.process, blast).0);
            lost[at] += subject.lost();
        }
    }
    let medians = [0, 1].map(|at| {
        costs[at].sort_by(f64::total_cmp);
        let median = costs[at][ROUNDS / 2];
        let remark = format!(
            "{:.0} to {:.0} in {ROUNDS} runs, {} lost",
            costs[at][0],
            costs[at][ROUNDS - 1],
            lost[at]
        );
        report.add(Processes::ALL[at].name(), "CPU a packet, in turn", median, "ns", &remark);
        median
    });
    report.compare("posternd", medians[0], "one process", medians[1]);
}

/// Where a packet could show on several interfaces, so that each must be remembered for a while; no two of them are equal.
fn on_any(report: &mut Report) {
    let lab = lab();
    let subject = subject::postern_on(&lab, "any", "", &subject::probe());
    let blast =
        Blast { count: MANY, rate: Some(RATE), ports: KNOCK[..2].to_vec(), sources: SPOOFED, skip: 0 };
    let (cost, rate) = cost(&lab, &subject.process, &blast);
    let remark = format!("at {rate:.0} a second, {} lost", subject.lost());
    report.add("posternd, on any", "CPU a packet", cost, "ns", &remark);
}

/// Packets that the kernel's filter keeps out, and such as come through where it is too small for all that is watched.
fn unwatched(report: &mut Report) {
    // Every second port, and so many that some of those between are let through.
    let scattered = (0..SCATTERED).map(|rule| {
        let ports: Vec<u16> = (0..STEPS).map(|step| FIRST_SCATTERED + 2 * (STEPS * rule + step)).collect();
        (format!("scattered-{rule}"), subject::rule(&ports, 1 << 10))
    });
    let cases = [
        ("CPU a packet that nobody watches", subject::probe(), UNWATCHED),
        ("CPU a packet that a coarser filter lets through", scattered.collect(), FIRST_SCATTERED + 1),
    ];
    for (what, rules, port) in cases {
        let lab = lab();
        let subject = subject::postern(&lab, "", &rules);
        let blast = Blast { count: MANY, rate: Some(RATE), ports: vec![port], sources: 1000, skip: 0 };
        let (cost, _) = cost(&lab, &subject.process, &blast);
        report.add("posternd", what, cost, "ns", "");
    }
}

/// What a packet of a blast costs, in nanoseconds of CPU, and how many came a second.
pub(crate) fn cost(lab: &Lab, process: &Process, blast: &Blast) -> (f64, f64) {
    process.settle();
    let wire = lab.injector();
    let before = process.cpu();
    let rate = blast.send(&wire);
    process.settle();
    ((process.cpu() - before).as_nanos() as f64 / blast.count as f64, rate)
}

/// What libpcap's own counts say.
fn dropped(said: &str) -> String {
    let words: Vec<_> = said.split(' ').collect();
    words
        .iter()
        .position(|word| *word == "dropped")
        .and_then(|at| words.get(at + 1))
        .map_or_else(String::new, |n| format!("{n} lost"))
}
