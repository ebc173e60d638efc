//! The control socket: what it costs that somebody could ask, and whether anybody who asks delays a knock: one who listens to everything and
//! reads nothing, and some who ask without end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use postern_protocol::{Call, ClientsOf, Request, Selection, StatusOf, Tail, message};
use postern_tests::Lab;
use tempfile::TempDir;

use crate::blast::Blast;
use crate::flood::cost;
use crate::knocker::{QUICK, Times, knock};
use crate::report::{Report, micros};
use crate::subject::{self, Subject};
use crate::{KNOCK, lab};

const RATE: f64 = 300_000.0;
const MANY: usize = 1_500_000;
/// Floods and series of knocks of each, in turn.
const ROUNDS: usize = 5;
/// Knocks of a series.
const KNOCKS: u32 = 500;

/// How a daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// It has no socket.
    Off,
    /// Nobody asks it.
    Quiet,
    /// Some listen to everything and read nothing.
    Deaf,
    /// One listens and reads nothing, and one asks without end.
    Pestered,
    /// Some of each.
    Besieged,
}

impl Case {
    /// How many listen and read nothing.
    const fn deaf(self) -> usize {
        match self {
            Self::Off | Self::Quiet => 0,
            Self::Pestered => 1,
            Self::Deaf | Self::Besieged => 4,
        }
    }

    /// How many ask without end.
    const fn greedy(self) -> usize {
        match self {
            Self::Off | Self::Quiet | Self::Deaf => 0,
            Self::Pestered => 1,
            Self::Besieged => 8,
        }
    }
}

const CASES: [(Case, &str); 5] = [
    (Case::Off, "no control socket"),
    (Case::Quiet, "not asked"),
    (Case::Deaf, "heard by four deaf"),
    (Case::Pestered, "one deaf, one asks"),
    (Case::Besieged, "four deaf, eight ask"),
];

pub(crate) fn measure(report: &mut Report) {
    // The first two steps in turn: each packet is reported.
    let blast = || Blast { count: MANY, rate: Some(RATE), ports: KNOCK[..2].to_vec(), sources: 1, skip: 0 };
    let mut costs = [const { Vec::new() }; CASES.len()];
    let mut waits = [const { (Vec::new(), Vec::new()) }; CASES.len()];
    let (mut lost, mut unopened) = ([0.0; CASES.len()], [0; CASES.len()]);
    for round in 0..ROUNDS {
        for turn in 0..CASES.len() {
            let at = (round + turn) % CASES.len();
            let lab = lab();
            let folder = TempDir::with_prefix("postern-asked-").expect("a temporary folder");
            let socket = folder.path().join("control.sock");
            let subject = start(&lab, CASES[at].0, &socket);
            let case = CASES[at].0;
            let _deaf: Vec<_> = (0..case.deaf()).map(|_| listen(&socket)).collect();
            let over = AtomicBool::new(false);
            thread::scope(|scope| {
                // Who is asked never settles, and what it answers is no packet's cost.
                if case.greedy() == 0 {
                    costs[at].push(cost(&lab, &subject.process, &blast()).0);
                }
                besiege(scope, case.greedy(), &socket, &over);
                let times: Times = knock(&lab, 1..1 + KNOCKS, QUICK);
                waits[at].0.push(micros(times.percentile(50)));
                waits[at].1.push(micros(times.percentile(99)));
                unopened[at] += times.lost;
                over.store(true, Ordering::Relaxed);
            });
            lost[at] += subject.lost();
        }
    }
    let mut medians = [[0.0; 3]; CASES.len()];
    for (at, (_, name)) in CASES.into_iter().enumerate() {
        let figures = [&mut costs[at], &mut waits[at].0, &mut waits[at].1].map(|of| median(of));
        if !costs[at].is_empty() {
            report.add(name, "CPU a packet, in turn", figures[0], "ns", &format!("{} lost", lost[at]));
        }
        report.add(name, "knock to open port, median", figures[1], "us", "");
        report.add(name, "knock to open port, 99 of 100", figures[2], "us", "");
        report.add(name, "knocks that opened nothing", unopened[at] as f64, "", "");
        medians[at] = figures;
    }
    report.compare("CPU, not asked", medians[1][0], "no control socket", medians[0][0]);
    report.compare(&format!("CPU, {}", CASES[2].1), medians[2][0], "not asked", medians[1][0]);
    for at in 2..CASES.len() {
        let name = CASES[at].1;
        report.compare(&format!("median, {name}"), medians[at][1], "not asked", medians[1][1]);
        report.compare(&format!("99 of 100, {name}"), medians[at][2], "not asked", medians[1][2]);
    }
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn start(lab: &Lab, case: Case, socket: &Path) -> Subject {
    let said = if case == Case::Off { "none".to_owned() } else { socket.display().to_string() };
    let settings = format!("[control]\nsocket = \"{said}\"\n");
    subject::postern(lab, &settings, &subject::probe())
}

fn call(request: Request, more: bool) -> Vec<u8> {
    message(&Call { request, more, oneway: false }.to_value())
}

fn connect(socket: &Path) -> UnixStream {
    UnixStream::connect(socket).expect("the daemon listens")
}

/// Somebody who is told everything, and reads nothing.
fn listen(socket: &Path) -> UnixStream {
    let mut stream = connect(socket);
    stream.write_all(&call(Request::Tail(Tail::default()), true)).expect("it reads");
    stream
}

fn besiege<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    greedy: usize,
    socket: &Path,
    over: &'scope AtomicBool,
) {
    for _ in 0..greedy {
        let requests = [
            call(Request::Status(StatusOf::default()), false),
            call(Request::Doors(Selection::default()), false),
            call(Request::Clients(ClientsOf::default()), false),
            call(Request::Rules(Selection::default()), false),
        ]
        .concat();
        let mut stream = connect(socket);
        scope.spawn(move || {
            stream.set_nonblocking(true).expect("a socket");
            let mut answers = [0; 1 << 16];
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                let written = stream.write(&requests[sent..]);
                sent = (sent + written.as_ref().copied().unwrap_or_default()) % requests.len();
                let read = stream.read(&mut answers);
                if written.is_err() && read.is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
    }
}
