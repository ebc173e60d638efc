//! A tenant with a user of its own: what its files cost to read, and what it costs that this user makes noise in its folder.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::sleep_until;
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::lab;
use crate::reload::reload;
use crate::report::{Report, millis};
use crate::subject::{self, Processes, rule};

/// An account that every machine has, and its number.
const USER: (&str, u32) = ("daemon", 1);
const RULES: u16 = 100;
const FIRST_PORT: u16 = 10_000;
const RELOADS: u16 = 7;
const STORM: Duration = Duration::from_secs(15);

pub(crate) fn measure(report: &mut Report) {
    for rules in [1, RULES] {
        let folder = tempfile::TempDir::with_prefix("postern-bench-").expect("a temporary folder");
        measure_with(report, folder.path(), rules);
    }
}

fn measure_with(report: &mut Report, folder: &Path, rules: u16) {
    write(folder, rules);
    let lab = lab();
    // Once for the code of its modules.
    drop(subject::start_postern(&lab, Processes::Roles, folder));
    let process = subject::start_postern(&lab, Processes::Roles, folder);
    let who = format!("posternd, {rules} of a tenant");
    report.add(&who, "from start to listening", millis(process.ready_after), "ms", "");
    let mut port = 6100;
    let mut changes = || {
        let mut times: Vec<_> = (0..RELOADS)
            .map(|_| {
                port += 1;
                reload(&lab, &process, folder, &small(&[port, 6001, 6002]), port)
            })
            .collect();
        times.sort();
        times
    };
    let before = process.cpu_of_ended();
    let times = changes();
    let remark = "with the 100 ms that are waited for further changes";
    report.add(&who, "a change of the host", millis(times[times.len() / 2]), "ms", remark);
    process.settle();
    let each = (process.cpu_of_ended() - before) / u32::from(RELOADS);
    report.add(&who, "CPU of readers, each reload", millis(each), "ms", "");
    let who = format!("{who}, in a storm");
    in_a_storm(&folder.join("a"), |renames| {
        // What is noticed at once is behind us then.
        sleep_until(Instant::now() + Duration::from_secs(3));
        let cpu = || [process.cpu_of(None), process.cpu_of(Some("engine")), process.cpu_of_ended()];
        let (begin, before, renamed) = (Instant::now(), cpu(), renames.load(Ordering::Relaxed));
        sleep_until(begin + STORM);
        let (time, after) = (begin.elapsed(), cpu());
        let rate = (renames.load(Ordering::Relaxed) - renamed) as f64 / time.as_secs_f64();
        let remark = format!("at {rate:.0} renames a second");
        for ((what, before), after) in
            ["the supervisor", "the engine", "the readers"].into_iter().zip(before).zip(after)
        {
            let share = 100.0 * (after - before).as_secs_f64() / time.as_secs_f64();
            report.add(&who, &format!("CPU of {what}"), share, "% of a core", &remark);
        }
        let times = changes();
        report.add(&who, "a change of the host", millis(times[times.len() / 2]), "ms", "");
        report.add(&who, "the slowest of these", millis(times[times.len() - 1]), "ms", "");
    });
}

/// Has the tenant's user rename a file to and fro without end meanwhile, and counts how often.
fn in_a_storm(dir: &Path, work: impl FnOnce(&AtomicU64)) {
    let (is_over, renames) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let uid = Uid::from_raw(USER.1);
            // Of this thread alone.
            set_thread_res_uid(uid, uid, uid).expect("this is root");
            let (one, other) = (dir.join("rule-00.toml"), dir.join("noise.toml"));
            while !is_over.load(Ordering::Relaxed) {
                fs::rename(&one, &other).and_then(|()| fs::rename(&other, &one)).expect("its folder");
                renames.fetch_add(2, Ordering::Relaxed);
            }
        });
        work(&renames);
        is_over.store(true, Ordering::Relaxed);
    });
}

fn write(folder: &Path, rules: u16) {
    let config = format!(
        "interfaces = [\"eth0\"]\n[doors.probe]\nguard = \"udp/9999\"\n[tenants.a]\nrules = \"a\"\nuser = \"{}\"\n\
         grant.doors = [\"probe\"]\ngrant.any_port = true\ngrant.interfaces = [\"any\"]\n\
         limits.rules = {RULES}\nlimits.share = \"100%\"\n",
        USER.0
    );
    fs::write(folder.join("postern.toml"), config).expect("the folder is ours");
    fs::create_dir(folder.join("rules")).expect("the folder is ours");
    fs::write(folder.join("rules/probe.toml"), small(&[6000, 6001, 6002])).expect("the folder is ours");
    let dir = folder.join("a");
    fs::create_dir(&dir).expect("the folder is ours");
    give(&dir);
    for n in 0..rules {
        let first = FIRST_PORT + 3 * n;
        let module = format!("\"./module-{n:02}.wasm\"");
        let text = small(&[first, first + 1, first + 2]).replace("\"sequence\"", &module);
        for (name, bytes) in [
            (format!("rule-{n:02}.toml"), text.as_bytes()),
            (format!("module-{n:02}.wasm"), postern_sandbox::stock::bytes("sequence")),
        ] {
            fs::write(dir.join(&name), bytes).expect("the folder is ours");
            give(&dir.join(&name));
        }
    }
}

/// A rule that asks for little.
fn small(ports: &[u16]) -> String {
    rule(ports, 8).replace("1GiB", "64KiB")
}

fn give(path: &Path) {
    chown(path, Some(USER.1), Some(USER.1)).expect("this is root");
}
