//! A tenant whose user makes noise in its folder: that is next to nothing to the daemon, and nothing to anybody else.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern_tests::{CLIENT6, Entry, PATIENCE, STRANGER4, eventually, sleep_until};
use rustix::process::{Pid, Signal, Uid, kill_process};
use rustix::thread::set_thread_res_uid;

use crate::tenant_user::{change_b, config, expect_open_within, give, lab, number, rule, setup};
use crate::{A_WHILE, LATENESS, SOON};

/// How long a storm is watched.
const STORM: Duration = Duration::from_secs(8);
/// Most that a storm may cost the supervisor and the engine, in hundredths of a processor. They take a fifth of that if they are built to be fast.
const MOST_OF_SUPERVISOR: f64 = 15.0;
const MOST_OF_ENGINE: f64 = 8.0;
/// Within what a change of another is in force during a storm: what a reload waits for quiet at most, and what a busy machine adds to that and to the
/// reload.
const SOON_ENOUGH: Duration = Duration::from_secs(4);

/// Does something in a folder over and over, as its user, as long as `work` takes.
fn while_its_user(what: impl Fn(&Path) + Sync, dir: &Path, pause: Duration, work: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    let uid = Uid::from_raw(number("daemon"));
    thread::scope(|scope| {
        let noise = scope.spawn(|| {
            // Of this thread alone.
            set_thread_res_uid(uid, uid, uid).expect("this is root");
            while !is_over.load(Ordering::Relaxed) {
                what(dir);
                sleep_until(Instant::now() + pause);
            }
        });
        // Also if it panics.
        let over = Over(&is_over);
        work();
        assert!(!noise.is_finished(), "there was no noise");
        drop(over);
    });
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// CPU time of a process so far.
fn cpu(pid: Pid) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).expect("it runs").flatten();
    let nanos = tasks.filter_map(|task| {
        let statistics = fs::read_to_string(task.path().join("schedstat")).ok()?;
        statistics.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Has `a` make noise, as its user, while `b` changes its rule.
#[track_caller]
fn a_storm(noise: fn(&Path)) {
    let Some(lab) = lab() else { return };
    let daemon = setup(&lab).start();
    expect_open_within(PATIENCE, &lab, &daemon, CLIENT6, 7100, "b");
    let id = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw).expect("a process number");
    let engine = daemon.role("engine").expect("it runs");
    let thousand_times = |dir: &Path| (0..1000).for_each(|_| noise(dir));
    while_its_user(thousand_times, &daemon.dir().join("a"), Duration::ZERO, || {
        let (begin, before) = (Instant::now(), [id, engine].map(cpu));
        let mut first = 7101;
        while begin.elapsed() < STORM {
            let changed = Instant::now();
            change_b(&lab, &daemon, first, SOON_ENOUGH);
            first += 1;
            sleep_until(changed + Duration::from_secs(1));
        }
        let time = begin.elapsed();
        for ((pid, before), (who, most)) in [id, engine]
            .into_iter()
            .zip(before)
            .zip([("supervisor", MOST_OF_SUPERVISOR), ("engine", MOST_OF_ENGINE)])
        {
            let share = 100.0 * (cpu(pid) - before).as_secs_f64() / time.as_secs_f64();
            assert!(share < most, "{share:.1} % of a processor for the {who}");
        }
    });
    // The last of the storm is noticed, too.
    expect_open_within(PATIENCE, &lab, &daemon, CLIENT6, 7000, "a");
    daemon.stop();
}

#[test]
fn a_storm_of_renames_costs_little_and_holds_up_nobody() {
    a_storm(|dir| {
        let (one, other) = (dir.join("knock.toml"), dir.join("noise.toml"));
        fs::rename(&one, &other).and_then(|()| fs::rename(&other, &one)).expect("its folder");
    });
}

#[test]
fn a_storm_of_changes_of_its_folder_costs_little_and_holds_up_nobody() {
    // Which whoever watches the way to it is told as well.
    a_storm(|dir| fs::set_permissions(dir, Permissions::from_mode(0o755)).expect("its folder"));
}

#[test]
fn what_a_tenant_touches_and_writes_keeps_no_port_guarded_that_the_host_gave_up() {
    let Some(lab) = lab() else { return };
    let _web = lab.tcp_service(81);
    let with_door = |dir: &str| format!("{}[doors.old]\nguard = \"tcp/81\"\nfor = \"60s\"\n", config(dir));
    let daemon = setup(&lab).config(&with_door("a")).start();
    let touch = |dir: &Path| {
        fs::write(dir.join("knock.toml"), rule("ssh", 7000)).expect("its file");
        // And one that is written and not closed.
        let mut file =
            File::options().append(true).create(true).open(dir.join("open.wasm")).expect("its folder");
        file.write_all(b"x").expect("its file");
        std::mem::forget(file);
    };
    while_its_user(touch, &daemon.dir().join("a"), A_WHILE / 2, || {
        assert!(lab.tcp(STRANGER4, 81, A_WHILE).is_silence());
        daemon.write("postern.toml", config("a"));
        eventually("a port that is guarded no more", || lab.tcp_connects(STRANGER4, 81, SOON).then_some(()));
        change_b(&lab, &daemon, 7101, SOON);
    });
    daemon.stop();
}

/// The readers of the daemon with this number that have become this user.
fn readers_of(daemon: &str, uid: u32) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("procfs is there").flatten();
    let is_reader = |pid: &Pid| {
        let folder = format!("/proc/{}", pid.as_raw_nonzero());
        let arguments = fs::read_to_string(format!("{folder}/cmdline")).unwrap_or_default();
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let is = |start: &str| status.lines().any(|line| format!("{line}\t").starts_with(start));
        arguments.ends_with("role\0reader\0")
            && is(&format!("PPid:\t{daemon}\t"))
            && is(&format!("Uid:\t{uid}\t{uid}\t"))
    };
    let pids = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(is_reader).collect()
}

#[test]
fn who_stops_its_readers_delays_others_for_two_seconds_and_then_for_less_and_less() {
    let Some(lab) = lab() else { return };
    let mut setup = setup(&lab);
    // So that its readers are at work for long enough to be caught.
    let long = format!("{}# {}\n", rule("ssh", 7000), "x".repeat(100_000));
    for n in 0..8 {
        let name = format!("a/long-{n}.toml");
        setup = setup.file(&name, &long);
        give(&setup.dir().join(name), "daemon");
    }
    let daemon = setup.start();
    expect_open_within(PATIENCE, &lab, &daemon, CLIENT6, 7100, "b");
    let id = daemon.id().to_string();
    let uid = number("daemon");
    let seen = Mutex::new((None, 0));
    // Each second one: a success is no reason to wait for long again.
    let stop = |_: &Path| {
        for reader in readers_of(&id, uid) {
            let (last, count) = &mut *seen.lock().expect("nobody panics");
            if *last != Some(reader) {
                (*last, *count) = (Some(reader), *count + 1);
            }
            if *count % 2 == 1 {
                // It may have ended.
                let _ = kill_process(reader, Signal::STOP);
            }
        }
    };
    let mark = daemon.log().mark();
    let late = || {
        let is_late = |entry: &Entry| {
            entry.event() == "tenant-refused"
                && entry.text("tenant") == "a"
                && entry.text("detail").contains("takes too long")
        };
        daemon.log().entries().split_off(mark).into_iter().filter(is_late).count()
    };
    while_its_user(stop, &daemon.dir().join("a"), Duration::ZERO, || {
        let (mut first, mut short) = (7101, 0);
        while short < 4 {
            // What the daemon knows of this user by then.
            let is_known = late() >= 3;
            let most = Duration::from_millis(if is_known { 250 } else { 2000 });
            change_b(&lab, &daemon, first, most + 2 * LATENESS);
            first += 1;
            short += u32::from(is_known);
            assert!(first < 7150, "no reader was stopped");
        }
    });
    daemon.stop();
}
