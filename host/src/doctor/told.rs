//! Told: what the looks have found, for people and for programs, and the exit status that both agree on.

use postern_text::terminal;
use serde_json::json;

use super::finding::{Finding, FindingSeverity, Look};
use crate::exit::Exit;

/// Says it: a line each, the worst first, and behind them which looks found nothing.
///
/// # Errors
/// If standard output is closed.
pub(super) fn tell(looks: Vec<Look>, as_json: bool) -> anyhow::Result<Exit> {
    let (found, well) = sorted(looks);
    let mut out = terminal::Lines::of_stdout();
    for (look, Finding { severity, what, remedy }) in &found {
        let severity = severity.name();
        if as_json {
            out.json(json!({ "look": look, "severity": severity, "what": what, "remedy": remedy }))?;
        } else {
            out.line(format_args!("{severity}: {what}; {remedy}"))?;
        }
    }
    if as_json {
        well.iter().try_for_each(|look| out.json(json!({ "look": look, "severity": "fine" })))?;
    } else {
        out.line(all_well(&well))?;
    }
    out.flush()?;
    let is_problem = |(_, finding): &(_, Finding)| finding.severity == FindingSeverity::Problem;
    Ok(if found.iter().any(is_problem) { Exit::Mistakes } else { Exit::Success })
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
    use super::*;
    use crate::doctor::finding::NotLooked;

    #[test]
    fn the_worst_comes_first_and_what_is_well_last() {
        let looks = vec![
            Look { name: "clock", found: Ok(Vec::new()) },
            Look { name: "unit", found: Ok(vec![Finding::note("a", "b"), Finding::warning("c", "d")]) },
            Look { name: "barriers", found: Err(NotLooked::for_want_of_root()) },
            Look { name: "nftables", found: Ok(vec![Finding::problem("e", "f")]) },
            Look { name: "steps", found: Ok(Vec::new()) },
        ];
        let (found, well) = sorted(looks);
        let lines: Vec<_> =
            found.iter().map(|(look, it)| format!("{look} {}: {}", it.severity.name(), it.what)).collect();
        assert_eq!(
            lines,
            [
                "nftables problem: e",
                "unit warning: c",
                "unit note: a",
                "barriers note: barriers: not looked at: that takes root"
            ]
        );
        assert_eq!(all_well(&well), "2 looks, all well: clock, steps");
        assert_eq!(all_well(&[]), "no look found all well");
    }
}
