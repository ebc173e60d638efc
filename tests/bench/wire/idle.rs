//! What it costs to wait.

use std::fs;
use std::time::{Duration, Instant};

use postern_tests::sleep_until;

use crate::process::Process;
use crate::report::{Report, mib, micros};
use crate::{lab, subject};

const WHILE: Duration = Duration::from_secs(10);

pub(crate) fn measure(report: &mut Report) {
    {
        let lab = lab();
        let subject = subject::postern(&lab, "", &subject::probe());
        tell(report, "posternd", &subject.process);
    }
    let size = fs::metadata(env!("CARGO_BIN_EXE_posternd")).expect("cargo built it").len();
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
}
