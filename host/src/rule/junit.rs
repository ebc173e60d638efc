//! JUnit: what came of scenarios in the XML that services for continuous integration read: a suite for each file, a case for each step.

use std::fmt::Write as _;

use postern_text::piece;

use super::played::Played;

/// The report of all scenarios, one after the other.
pub(super) struct JunitReport(String);

impl Default for JunitReport {
    fn default() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned())
    }
}

impl JunitReport {
    /// Adds what came of a scenario.
    pub(super) fn add(&mut self, played: &Played<'_>) {
        let text = &mut self.0;
        let name = escape(&piece(played.scenario.file.display()).to_string());
        let steps: Vec<_> = played.steps().collect();
        let failures = steps.iter().filter(|step| !step.is_as_expected()).count();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\">",
            steps.len()
        );
        for step in &steps {
            let case = escape(&format!("{}: {step}", step.step.line));
            let _ = write!(text, "    <testcase classname=\"{name}\" name=\"{case}\"");
            if step.is_as_expected() {
                text.push_str("/>\n");
                continue;
            }
            let compared = escape(&step.compared().join("\n"));
            let line = step.step.line;
            let _ = writeln!(
                text,
                ">\n      <failure message=\"{name}:{line}: not as expected\">{compared}</failure>\n    </testcase>"
            );
        }
        text.push_str("  </testsuite>\n");
    }

    /// The text of it.
    pub(super) fn finish(mut self) -> String {
        self.0.push_str("</testsuites>\n");
        self.0
    }
}

/// Text is clean already: no control character is in it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
