//! From Enter to sshd's banner: straight to an open port, and through a knock.

use std::path::PathBuf;
use std::time::Duration;

use postern_tests::{BannerSite, BannerWay, Lab};

use crate::report::{Report, millis};
use crate::subject;

/// To the server and back.
const ROUND_TRIPS: [u64; 3] = [0, 20, 100];
/// Each way once in each round, so that what else the machine does meets all of them.
const ROUNDS: usize = 25;
const STEPS: &str = "7001/udp 7002/tcp 7003/udp";

pub(crate) fn measure(report: &mut Report) {
    for round_trip in ROUND_TRIPS.map(Duration::from_millis) {
        let lab = if round_trip.is_zero() { Lab::new() } else { Lab::with_delay(round_trip / 2) };
        let lab = lab.unwrap_or_else(|why| panic!("{why}"));
        let rule = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [STEPS]\n";
        let rule =
            rule.replace("STEPS", &STEPS.split(' ').map(|step| format!("\"{step}\",")).collect::<String>());
        let _postern = subject::postern(&lab, BannerSite::DOOR, &[("ssh".to_owned(), rule)]);
        let Some(site) = BannerSite::if_possible(&lab, &postern(), STEPS) else { return };
        let mut times = BannerWay::ALL.map(|way| (way, Vec::with_capacity(ROUNDS)));
        for _ in 0..ROUNDS {
            for (way, times) in &mut times {
                times.push(site.time(*way));
            }
        }
        times.iter_mut().for_each(|(_, times)| times.sort());
        let median = |way| {
            let (_, times) = times.iter().find(|(of, _)| *of == way).expect("it was measured");
            times[ROUNDS / 2]
        };
        for (way, times) in &times {
            let who = format!("{}, {} ms", way.name(), round_trip.as_millis());
            report.add(&who, "to the banner, median", millis(median(*way)), "ms", "");
            report.add(&who, "to the banner, 9 of 10", millis(times[ROUNDS * 9 / 10]), "ms", "");
            if *way != way.without_knock() {
                let more = millis(median(*way)) - millis(median(way.without_knock()));
                report.add(&who, "more than without a knock, of medians", more, "ms", "");
            }
        }
    }
}

/// The client: what cargo built beside the daemon, or the file that `POSTERN` names, which must be called `postern`.
fn postern() -> PathBuf {
    let beside = || subject::posternd().with_file_name("postern");
    let program = std::env::var_os("POSTERN").map_or_else(beside, PathBuf::from);
    assert!(program.is_file(), "{} is not built: cargo build --release -p postern", program.display());
    program
}
