//! Report: figures, as a table for people and as JSON for programs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Everything measured so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    part: &'static str,
    rows: Vec<Value>,
}

impl Report {
    pub(crate) fn begin(&mut self, part: &'static str) {
        self.part = part;
        println!("\n{part}");
    }

    /// A figure in its unit, and what else is to be said of it.
    pub(crate) fn add(&mut self, who: &str, what: &str, figure: f64, unit: &str, remark: &str) {
        let shown = match figure.abs() {
            big if big >= 100.0 => format!("{figure:.0}"),
            middle if middle >= 10.0 => format!("{figure:.1}"),
            small if small > 0.0 && small < 0.1 => format!("{figure:.4}"),
            _ => format!("{figure:.2}"),
        };
        println!("  {who:<22} {what:<46} {shown:>9} {unit:<10} {remark}");
        self.rows.push(json!({
            "part": self.part, "who": who, "what": what, "figure": figure, "unit": unit, "remark": remark,
        }));
    }

    /// How one figure compares with another.
    pub(crate) fn compare(&mut self, what: &str, figure: f64, to: &str, other: f64) {
        self.add("", &format!("{what}, to {to}"), figure / other, "times", "");
    }

    /// Writes it all beside what cargo builds.
    pub(crate) fn write(&self) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wire.json");
        let text = serde_json::to_string_pretty(&self.rows).expect("rows are plain");
        match fs::write(&path, text) {
            Ok(()) => println!("\nthe same as JSON: {}", path.display()),
            Err(error) => eprintln!("{}: {error}", path.display()),
        }
    }
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
