//! Told: what the looks have found, for people and for programs, and the exit status that both agree on.

use postern_text::terminal;
use serde_json::{Value, json};

use super::finding::{Finding, FindingSeverity, Look};
use crate::exit::Exit;

/// Says it, as text or as JSON.
///
/// # Errors
/// If standard output is closed.
pub(super) fn tell(looks: Vec<Look>, as_json: bool) -> anyhow::Result<Exit> {
    let (found, well) = sorted(looks);
    let mut out = terminal::Lines::of_stdout();
    if as_json {
        objects(&found, &well).into_iter().try_for_each(|object| out.json(object))?;
    } else {
        text(&found, &well).into_iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()?;
    Ok(exit(&found))
}

/// One that found a problem has to be heard by programs as well.
fn exit(found: &[(&str, Finding)]) -> Exit {
    let is_problem = |(_, finding): &(_, Finding)| finding.severity == FindingSeverity::Problem;
    if found.iter().any(is_problem) { Exit::Mistakes } else { Exit::Success }
}

/// A line each, the worst first, and behind them which looks found nothing.
fn text(found: &[(&str, Finding)], well: &[&str]) -> Vec<String> {
    let line = |(_, Finding { severity, what, remedy }): &(_, Finding)| {
        format!("{}: {what}; {remedy}", severity.name())
    };
    found.iter().map(line).chain([all_well(well)]).collect()
}

/// The same, an object each.
fn objects(found: &[(&str, Finding)], well: &[&str]) -> Vec<Value> {
    let object = |(look, Finding { severity, what, remedy }): &(&str, Finding)| json!({ "look": look, "severity": severity.name(), "what": what, "remedy": remedy });
    let fine = |look: &&str| json!({ "look": look, "severity": "fine" });
    found.iter().map(object).chain(well.iter().map(fine)).collect()
}

/// What was found with the name of its look, the worst first, and the looks that found nothing.
fn sorted(looks: Vec<Look>) -> (Vec<(&'static str, Finding)>, Vec<&'static str>) {
    let (mut found, mut well) = (Vec::new(), Vec::new());
    for look in looks {
        let name = look.name;
        match look.findings() {
            findings if findings.is_empty() => well.push(name),
            findings => found.extend(findings.into_iter().map(|finding| (name, finding))),
        }
    }
    found.sort_by_key(|(_, finding)| finding.severity);
    (found, well)
}

fn all_well(looks: &[&str]) -> String {
    let count = match looks.len() {
        0 => return "no look found all well".to_owned(),
        1 => "1 look".to_owned(),
        many => format!("{many} looks"),
    };
    format!("{count}, all well: {}", looks.join(", "))
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use postern_text::json::ascii;

    use super::*;
    use crate::doctor::finding::NotLooked;

    /// What is said of these, as a terminal gets it, and how it ends.
    fn said(looks: Vec<Look>) -> String {
        let (found, well) = sorted(looks);
        let lines = text(&found, &well).into_iter().map(|line| postern_text::line(line).to_string());
        let objects = objects(&found, &well).into_iter().map(|object| ascii(&object.to_string()));
        let said: String = lines.chain(objects).map(|line| format!("{line}\n")).collect();
        format!("{said}exit {}\n\n", exit(&found).number())
    }

    /// `UPDATE_EXPECT=1` writes the file.
    #[test]
    fn the_worst_comes_first_and_what_is_well_last() {
        let well = |name| Look { name, found: Ok(Vec::new()) };
        let unserved = Finding::problem(
            "nobody listens at tcp/22, which door ssh guards",
            "start what is to be reached there, or guard its port",
        );
        let step = Finding::warning(
            "tcp/8000 is a step of rule ssh, and a program listens there",
            "take a port for the step at which nothing listens",
        );
        let bad = Finding::note("unit: a\u{1b}[2J\nb", "c\u{202e}d");
        let looks = vec![
            well("clock"),
            Look { name: "unit", found: Ok(vec![bad, step]) },
            Look { name: "barriers", found: Err(NotLooked::for_want_of_root()) },
            Look { name: "guarded ports", found: Ok(vec![unserved]) },
            well("steps"),
        ];
        let nothing_well = vec![Look { name: "barriers", found: Err(NotLooked::for_want_of_root()) }];
        let all = [looks, vec![well("clock"), well("steps")], vec![well("clock")], nothing_well];
        expect_file!["golden/doctor.txt"].assert_eq(&all.map(said).concat());
    }
}
