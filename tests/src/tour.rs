//! Tour: a story that a program tells and plays at once, and that ends at the first sentence that is not true.

#![allow(clippy::print_stdout, reason = "a tour talks to people")]

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::Lab;

/// Plays a tour on two pretend machines, with the daemon that the first argument names or that stands beside this program, and looks whether
/// anything is left behind.
#[must_use]
pub fn play(give: impl FnOnce(&Lab, PathBuf) -> Tour + std::panic::UnwindSafe) -> ExitCode {
    let program = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe().unwrap_or_default().with_file_name("posternd"),
    };
    if !program.is_file() {
        eprintln!("demo: no posternd at {}; build it with `cargo build -p posternd`", program.display());
        return ExitCode::FAILURE;
    }
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("\ndemo: not as told: {}", panic.payload_as_str().unwrap_or("a panic without words"));
    }));
    let before = surroundings();
    let tour = std::panic::catch_unwind(|| {
        let lab = Lab::new().unwrap_or_else(|why| panic!("{why}"));
        give(&lab, program)
    });
    let Ok(mut tour) = tour else {
        return ExitCode::FAILURE;
    };
    tour.step("The pretend machines are gone. Nothing is left behind:");
    if surroundings() != before {
        eprintln!("demo: something was left behind: {before} before, {} now", surroundings());
        return ExitCode::FAILURE;
    }
    tour.show("no process, no interface, no firewall table, no file");
    println!();
    ExitCode::SUCCESS
}

/// What the demo must leave as it was, in words.
fn surroundings() -> String {
    let count = |argv: &[&str]| {
        let output = Command::new(argv[0]).args(&argv[1..]).output();
        output.map_or(0, |output| output.stdout.split(|byte| *byte == b'\n').count())
    };
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let of_ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("postern-");
    let files = std::fs::read_dir(std::env::temp_dir())
        .map_or(0, |entries| entries.flatten().filter(|entry| of_ours(&entry.file_name())).count());
    format!(
        "{} interface lines, {} firewall lines, {} processes, {files} folders",
        count(&["ip", "-o", "link"]),
        count(&["nft", "list", "ruleset"]),
        children.split_whitespace().count()
    )
}

#[expect(clippy::disallowed_methods, reason = "nothing is written")]
fn is_colourful() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A time as people say it.
#[must_use]
pub fn time(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 0.01 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}

/// What is told.
#[derive(Debug)]
pub struct Tour {
    number: u32,
    is_colourful: bool,
}

impl Default for Tour {
    fn default() -> Self {
        Self { number: 0, is_colourful: is_colourful() }
    }
}

impl Tour {
    /// What happens next.
    pub fn step(&mut self, headline: impl Display) {
        self.number += 1;
        println!("\n{} {}", self.paint("1;36", format!("{:>2}.", self.number)), self.paint("1", headline));
    }

    /// What came of it.
    pub fn show(&self, detail: impl Display) {
        println!("    {} {detail}", self.paint("32", "->"));
    }

    /// What stands in a file.
    pub fn quote(&self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            println!("       {}", self.paint("2", line));
        }
    }

    fn paint(&self, code: &str, text: impl Display) -> String {
        if self.is_colourful { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
