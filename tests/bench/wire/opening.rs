//! From knock to open port.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::Lab;

use crate::blast::Blast;
use crate::floor::Floor;
use crate::knocker::{QUICK, SLOW, Times, knock};
use crate::report::{Report, micros};
use crate::subject::{self, Processes};
use crate::{KNOCK, lab};

/// Knocks at the fast ones, and at the slow ones, which take as long.
const MANY: u32 = 301;
const FEW: u32 = 60;
/// Knocks at one of two, before the other has its turn.
const IN_TURN: u32 = 10;
/// Knocks that take seconds each.
const SLOW_ONES: u32 = 11;
/// Made-up first knocks a second, of as many clients.
const STORM: f64 = 200_000.0;
const STORMERS: u32 = 1 << 20;

pub(crate) fn measure(report: &mut Report) {
    let own = roles_beside_one_process(report);
    {
        let lab = lab();
        let _floor = subject::floor(&lab, Floor::Opener);
        let times = knock(&lab, 1..MANY, QUICK);
        let least = tell(report, "libpcap and netlink", &times);
        report.compare("median", own, "libpcap and netlink", least);
    }
    {
        let lab = lab();
        let folder = tempfile::TempDir::with_prefix("postern-once-").expect("a temporary folder");
        let postern = subject::postern_on_disk(&lab, &subject::once(folder.path()));
        let times = knock(&lab, 1..MANY, QUICK);
        let once = tell(report, "posternd, one-time token", &times);
        report.compare("median", once, "without a token", own);
        flush(report, &postern.folder.path().join("state"));
    }
    let lab = lab();
    if let Some(_knockd) = subject::knockd(&lab) {
        let times = knock(&lab, 1..FEW, QUICK);
        let theirs = tell(report, "knockd, nft", &times);
        report.compare("median", own, "knockd", theirs);
    }
}

/// Both in turn, so that what else the machine does meets both; the median of the first.
fn roles_beside_one_process(report: &mut Report) -> f64 {
    let mut both = Processes::ALL.map(|processes| {
        let lab = lab();
        let subject = subject::postern_in(&lab, processes, &subject::probe());
        (lab, subject, Times::default())
    });
    for first in (1..MANY).step_by(IN_TURN as usize) {
        for (lab, _, times) in &mut both {
            times.add(knock(lab, first..first + IN_TURN, QUICK));
        }
    }
    let [(.., roles), (.., one)] = &both;
    let [roles, one] = [(Processes::Roles, roles), (Processes::One, one)]
        .map(|(processes, times)| tell(report, &format!("{}, guard door", processes.name()), times));
    report.add("", "median, beyond one process", roles - one, "us", "");
    roles
}

/// What the disk takes for the least that a token could cost: a page, and a flush.
fn flush(report: &mut Report, folder: &Path) {
    let mut file = File::create(folder.join("flush")).expect("the folder is ours");
    let mut times: Vec<_> = (0..MANY)
        .map(|_| {
            let begin = Instant::now();
            file.write_all(&[1; 4096]).and_then(|()| file.sync_data()).expect("the disk has room");
            begin.elapsed()
        })
        .collect();
    times.sort();
    report.add("the disk", "a page and a flush, median", micros(times[times.len() / 2]), "us", "");
}

pub(crate) fn measure_in_a_storm(report: &mut Report) {
    let [own, one] = Processes::ALL.map(|processes| {
        let lab = lab();
        let _postern = subject::postern_in(&lab, processes, &subject::probe());
        knock_in_a_storm(report, &format!("{}, guard door", processes.name()), &lab, MANY, QUICK)
    });
    report.compare("median", own, "one process", one);
    {
        let lab = lab();
        let _postern = subject::postern(&lab, "", &subject::probe());
        knock_in_a_storm(report, "posternd, a second between steps", &lab, SLOW_ONES, SLOW);
    }
    let lab = lab();
    let _floor = subject::floor(&lab, Floor::Opener);
    let least = knock_in_a_storm(report, "libpcap and netlink", &lab, MANY, QUICK);
    report.compare("median", own, "libpcap and netlink", least);
}

fn knock_in_a_storm(report: &mut Report, who: &str, lab: &Lab, clients: u32, gap: Duration) -> f64 {
    let over = AtomicBool::new(false);
    let (times, rate) = thread::scope(|scope| {
        let storm = scope.spawn(|| rage(lab, &over));
        let times = knock(lab, 1..clients, gap);
        over.store(true, Ordering::Relaxed);
        (times, storm.join().expect("it only sends"))
    });
    report.add(who, "made-up first knocks", rate, "a second", "");
    tell(report, who, &times)
}

/// Sends first knocks of made-up clients until it is over; how many a second those were.
fn rage(lab: &Lab, over: &AtomicBool) -> f64 {
    let wire = lab.injector();
    let mut rates = Vec::new();
    let mut skip = 1 << 17;
    while !over.load(Ordering::Relaxed) {
        let blast =
            Blast { count: 20_000, rate: Some(STORM), ports: vec![KNOCK[0]], sources: STORMERS, skip };
        rates.push(blast.send(&wire));
        skip = (skip + 20_000) % STORMERS + (1 << 17);
    }
    rates.iter().sum::<f64>() / rates.len().max(1) as f64
}

fn tell(report: &mut Report, who: &str, times: &Times) -> f64 {
    let median = micros(times.percentile(50));
    report.add(who, "knock to open port, median", median, "us", "");
    report.add(who, "knock to open port, 99 of 100", micros(times.percentile(99)), "us", "");
    report.add(who, "knocks that opened nothing", times.lost as f64, "", "");
    median
}
