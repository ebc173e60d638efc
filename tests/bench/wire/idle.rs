//! What it costs to wait.

use std::fs;
use std::time::{Duration, Instant};

use postern_tests::sleep_until;

use crate::lab;
use crate::process::Process;
use crate::report::{Report, mib, micros};
use crate::subject::{self, Processes};

const WHILE: Duration = Duration::from_secs(10);

pub(crate) fn measure(report: &mut Report) {
    for processes in Processes::ALL {
        let lab = lab();
        let subject = subject::postern_in(&lab, processes, &subject::probe());
        tell(report, processes.name(), &subject.process);
    }
    let size = fs::metadata(subject::posternd()).expect("cargo built it").len();
    report.add("posternd", "size of the binary", mib(size), "MiB", "");
    let lab = lab();
    if let Some(subject) = subject::knockd(&lab) {
        tell(report, "knockd", &subject.process);
    }
}

fn tell(report: &mut Report, who: &str, process: &Process) {
    // A new interface makes itself known to the network for a while.
    sleep_until(Instant::now() + WHILE);
    let (cpu, naps) = (process.cpu(), process.naps());
    sleep_until(Instant::now() + WHILE);
    let seconds = WHILE.as_secs_f64();
    report.add(who, "wake-ups", (process.naps() - naps) as f64 / seconds, "a second", "");
    report.add(who, "CPU", micros(process.cpu() - cpu) / seconds, "us/s", "");
    report.add(who, "memory", mib(process.resident()), "MiB", "");
    report.add(who, "memory, what is shared divided", mib(process.proportional()), "MiB", "");
    report.add(who, "open files", process.descriptors() as f64, "", "");
}
