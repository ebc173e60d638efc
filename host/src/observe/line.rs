//! Line: one line of the log, as text for people or as a JSON object for programs, clean and bounded.

use std::fmt::Write;

use postern_core::{ModuleDigest, Severity, What, show_digest};
use postern_text::clean::LONGEST_LINE;
use postern_text::line;
use serde_json::{Map, Value as Json};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::apart;
use super::counters::NamedCounts;
use super::format::Format;
use super::words::short;

/// What a line says. Nothing in it is clean yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub(crate) level: &'static str,
    /// What people read.
    pub(crate) words: String,
    /// What programs read, in the order in which it is written.
    pub(crate) fields: Vec<(&'static str, Value)>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Stands in quotes for people, so that one cannot pass for two.
    Text(String),
    /// Stands without quotes if there is nothing in it that could pass for more than it is.
    Plain(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    /// Whole for programs, and as much as is needed to tell it from others for people.
    Module(ModuleDigest),
    /// Numbers by name, for programs alone.
    Counts(NamedCounts),
    /// The same for each tenant.
    CountsByTenant(Vec<(String, NamedCounts)>),
}

impl Line {
    /// The same as a report, for a log without fields.
    pub(crate) fn as_library(&self) -> What<'_> {
        let severity = match self.level {
            "ERROR" => Severity::Error,
            "WARN" => Severity::Warn,
            "INFO" => Severity::Info,
            _ => Severity::Debug,
        };
        What::Library { severity, text: self.words.as_str().into() }
    }

    /// The line, with its line feed.
    pub(super) fn render(&self, format: Format, has_colours: bool) -> String {
        let time = now();
        match format {
            Format::Text => self.text(&time, has_colours),
            Format::Json => format!("{}\n", Json::Object(self.json(time))),
        }
    }

    /// The line as an object, with what stands for its time.
    pub(crate) fn json(&self, time: String) -> Map<String, Json> {
        let mut object = Map::new();
        object.insert("timestamp".to_owned(), time.into());
        object.insert("level".to_owned(), self.level.into());
        object.insert("message".to_owned(), line(&self.words).to_string().into());
        for (name, value) in &self.fields {
            let value = match value {
                Value::Text(text) | Value::Plain(text) => line(text).to_string().into(),
                Value::Unsigned(number) => (*number).into(),
                Value::Signed(number) => (*number).into(),
                Value::Float(number) => (*number).into(),
                Value::Bool(value) => (*value).into(),
                Value::Module(module) => show_digest(module).into(),
                Value::Counts(counts) => object_of(counts),
                Value::CountsByTenant(tenants) => tenants
                    .iter()
                    .map(|(tenant, counts)| (line(tenant).to_string(), object_of(counts)))
                    .collect::<Map<_, _>>()
                    .into(),
            };
            object.insert((*name).to_owned(), value);
        }
        object
    }

    fn text(&self, time: &str, has_colours: bool) -> String {
        let style = |code: &str, text: &str| {
            if has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let colour = match self.level {
            "ERROR" => "31",
            "WARN" => "33",
            "INFO" => "32",
            _ => "34",
        };
        let level = format!("{:>5}", self.level);
        let mut text =
            format!("{} {} {}", style("2", time), style(colour, &level), apart::words(&self.words));
        for (name, value) in &self.fields {
            if self.says(name, value) {
                continue;
            }
            if let Some(value) = value.for_people() {
                // Writing to a string does not fail.
                let _ = write!(text, " {}{}{value}", style("3", name), style("2", "="));
            }
        }
        text.push('\n');
        text
    }

    /// Whether people have read a field already: a text of several words that stands in the line's own, or that nothing was held back. What
    /// names something is a field all the same, and a line that may be cut short says less than its fields.
    pub(super) fn says(&self, name: &str, value: &Value) -> bool {
        match (name, value) {
            ("detail" | "reason" | "drops", Value::Text(text)) => {
                text.contains(' ') && self.words.contains(&**text) && self.words.len() <= LONGEST_LINE
            }
            ("suppressed", Value::Unsigned(0)) => true,
            _ => false,
        }
    }
}

/// What stands for the time in a line that is written now.
pub(super) fn now() -> String {
    let mut time = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

impl Value {
    fn for_people(&self) -> Option<String> {
        Some(match self {
            Self::Text(text) => apart::quoted(text),
            Self::Plain(text) => apart::plain(text),
            Self::Unsigned(number) => number.to_string(),
            Self::Signed(number) => number.to_string(),
            Self::Float(number) => format!("{number:?}"),
            Self::Bool(value) => value.to_string(),
            Self::Module(module) => short(module),
            Self::Counts(_) | Self::CountsByTenant(_) => return None,
        })
    }
}

fn object_of(counts: &NamedCounts) -> Json {
    counts.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect::<Map<_, _>>().into()
}
