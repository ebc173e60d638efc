//! From a changed file to the first packet that is judged by it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use postern_tests::{Lab, SERVER4, frame};

use crate::process::Process;
use crate::report::{Report, millis};
use crate::subject::{self, rule};
use crate::{client, lab};

/// What the daemon waits for after a change, in case another follows: `QUIET` in `host/src/reload.rs`.
const DEBOUNCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(10);
/// Fewer than the modules that the daemon keeps in mind.
const RUNS: u16 = 7;

pub(crate) fn measure(report: &mut Report) {
    let lab = lab();
    let stock = postern_sandbox::stock::bytes("sequence");
    let text = |port, module: &str| rule(&[port, 6001, 6002], 100).replace("\"sequence\"", module);
    let subject = subject::postern(&lab, "", &[("probe".to_owned(), text(6000, "\"sequence\""))]);
    let folder = subject.folder.path();
    let mut port = 6100;
    let mut run = |what: &str, module: &dyn Fn(u16) -> String| {
        let mut times: Vec<_> = (0..RUNS)
            .map(|n| {
                port += 1;
                let text = text(port, &module(n));
                reload(&lab, &subject.process, folder, &text, port).saturating_sub(DEBOUNCE)
            })
            .collect();
        times.sort();
        report.add("posternd", what, millis(times[times.len() / 2]), "ms", "beyond the debounce");
    };
    run("reload, other settings", &|_| "\"sequence\"".to_owned());
    let module = |n: u16| {
        let path = folder.join(format!("module-{n}.wasm"));
        let bytes = [stock, &[0, 4, 1, b'n', 1, n.to_be_bytes()[1]]].concat();
        fs::write(&path, bytes).expect("the folder is ours");
        format!("{path:?}")
    };
    run(&format!("reload, new bytes, {} KB", stock.len() / 1000), &module);
    run("reload, bytes seen before", &module);
}

/// Puts a rule in place, and knocks at the first port of its own until it is heard.
pub(crate) fn reload(lab: &Lab, process: &Process, folder: &Path, text: &str, port: u16) -> Duration {
    let mut wire = lab.injector();
    let beside = folder.join("rules/.probe.new");
    fs::write(&beside, text).expect("the folder is ours");
    let source = SocketAddr::new(client(port.into()), 40_000);
    let knock = frame::udp(source, SocketAddr::new(SERVER4, port), b"");
    let start = Instant::now();
    fs::rename(&beside, folder.join("rules/probe.toml")).expect("the folder is ours");
    while start.elapsed() < PATIENCE {
        wire.send(&knock);
        if process.has_said(&format!("{} is at stage 1", source.ip()), PAUSE) {
            return start.elapsed();
        }
    }
    panic!("no packet to port {port} is judged by the new rule")
}
