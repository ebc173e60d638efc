//! What the example of a rule costs in each language, as a table for guest-sdk/README.md: what `make languages` runs. All is measured by
//! `posternd rule bench`; this only counts lines. Arguments name the languages; none: all.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use postern_tests::{examples, machine};
use serde_json::Value;

/// What a collection of garbage may take now and then; it changes nothing of what is measured.
const SETTINGS: &str = "[limits]\ncpu = \"100ms\"\n";

fn main() -> ExitCode {
    let posternd = std::env::current_exe().unwrap_or_default().with_file_name("posternd");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = folder.path().join("slow.toml");
    fs::write(&settings, SETTINGS).expect("the folder is ours");
    println!("{}:\n", machine());
    println!(
        "| language | module | load, cold | load, cached | start | call | memory | lines |\n|---|---|---|---|---|---|---|---|"
    );
    let mut status = ExitCode::SUCCESS;
    let mut languages: Vec<_> =
        examples::LANGUAGES.iter().map(|name| (examples::described(name), *name)).collect();
    languages.sort_unstable();
    let asked: Vec<_> = std::env::args().skip(1).collect();
    for ((shown, source), language) in languages {
        if !asked.is_empty() && !asked.iter().any(|asked| asked == language) {
            continue;
        }
        let Some(module) = examples::built(language) else { continue };
        // Its own place for compiled code, so that the first load finds none.
        let measured = measure(&posternd, &module, &settings, &folder.path().join(language));
        match measured {
            Ok(figures) => {
                println!("| [{shown}]({language}/README.md) | {} |", row(&figures, lines(language, source)))
            }
            Err(said) => {
                eprintln!("languages: {shown}: {said}");
                status = ExitCode::FAILURE;
            }
        }
    }
    status
}

/// What `posternd rule bench` says of a module.
fn measure(posternd: &Path, module: &Path, settings: &Path, code: &Path) -> Result<Value, String> {
    let arguments = [OsStr::new("rule"), "bench".as_ref(), module.as_os_str(), "--json".as_ref()];
    let mut command = Command::new(posternd);
    command.args(arguments).arg("--settings").arg(settings).env("CACHE_DIRECTORY", code);
    let output = command.output().map_err(|error| format!("{}: {error}", posternd.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn row(figures: &Value, lines: usize) -> String {
    let number = |pointer: &str| figures.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let times = ["/load_ns/cold", "/load_ns/cached", "/start_ns/median", "/call_ns/median"]
        .map(|it| time(number(it)));
    let memory = number("/memory_bytes_after_calls");
    format!("{} | {} | {} | {lines}", size(number("/bytes")), times.join(" | "), size(memory))
}

/// Lines of an example that are not blank.
fn lines(language: &str, source: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/examples");
    let text = fs::read_to_string(root.join(language).join(source)).expect("the examples are there");
    text.lines().filter(|line| !line.trim().is_empty()).count()
}

/// Nanoseconds with two digits that mean something: figures differ by more from run to run.
fn time(nanos: f64) -> String {
    let (units, unit) = match nanos {
        ..1e3 => (1.0, "ns"),
        ..1e6 => (1e3, "us"),
        ..1e9 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    two_digits(nanos / units, unit)
}

fn size(bytes: f64) -> String {
    match bytes {
        ..1024.0 => format!("{bytes:.0} bytes"),
        ..1_048_576.0 => two_digits(bytes / 1024.0, "KiB"),
        _ => two_digits(bytes / 1_048_576.0, "MiB"),
    }
}

fn two_digits(number: f64, unit: &str) -> String {
    if number < 9.95 { format!("{number:.1} {unit}") } else { format!("{number:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_row_shows() {
        let figures = serde_json::json!({
            "bytes": 3_100, "load_ns": { "cold": 12_400_000_000_u64, "cached": 940_000 }, "start_ns": { "median": 9_960 },
            "call_ns": { "median": 283 }, "memory_bytes_after_calls": 2_621_440,
        });
        assert_eq!(row(&figures, 61), "3.0 KiB | 12 s | 940 us | 10 us | 283 ns | 2.5 MiB | 61");
    }

    #[test]
    fn every_example_is_where_it_is_said_to_be() {
        for language in examples::LANGUAGES {
            let (_, source) = examples::described(language);
            assert!(lines(language, source) > 30, "{language}");
        }
    }
}
