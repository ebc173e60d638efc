//! Durations as text.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest pause between two hits, and the longest wait.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

/// Reads a number of milliseconds, or a number with a unit, such as `200ms`, `1.5s` or `2m`, within `range`.
pub(crate) fn parse(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let text = text.trim();
    let letters = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let seconds_a_unit = match &text[letters..] {
        "" | "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(no_duration(text)),
    };
    let number: f64 = text[..letters].trim_end().parse().map_err(|_| no_duration(text))?;
    seconds(number * seconds_a_unit, text, range)
}

/// Reads a number of milliseconds as Python does, also `1e2`.
pub(crate) fn parse_float_millis(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let number: f64 =
        text.parse().map_err(|_| format!("`{text}` is not a number; write milliseconds, such as 500"))?;
    seconds(number / 1000.0, text, range)
}

/// As a person would write it.
pub(crate) fn show(duration: Duration) -> String {
    match duration.as_millis() {
        _ if !duration.subsec_nanos().is_multiple_of(1_000_000) => format!("{duration:?}"),
        0 => "0s".to_owned(),
        n if n % 3_600_000 == 0 => format!("{}h", n / 3_600_000),
        n if n % 60_000 == 0 => format!("{}m", n / 60_000),
        n if n % 1000 == 0 => format!("{}s", n / 1000),
        n => format!("{n}ms"),
    }
}

fn seconds(seconds: f64, text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    // Anything below zero, infinite or no number at all is out of every range.
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| range.contains(duration)).ok_or_else(|| {
        format!("{text} is out of range; use {} to {}", show(*range.start()), show(*range.end()))
    })
}

fn no_duration(text: &str) -> String {
    format!(
        "`{text}` is not a duration; write milliseconds, or a number and a unit (ms, s, m or h), such as \"200ms\""
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn durations() {
        let line = |text: &str| match parse(text, Duration::ZERO..=LONGEST) {
            Ok(duration) => format!("{text} = {}", show(duration)),
            Err(what) => what,
        };
        let written =
            ["0", "500", "0.5", "200ms", "1.5 s", "2m", "1h", "-1", "2h", "", "ms", "1d", "1m30s", "inf"];
        expect![[r#"
            0 = 0s
            500 = 500ms
            0.5 = 500µs
            200ms = 200ms
            1.5 s = 1500ms
            2m = 2m
            1h = 1h
            -1 is out of range; use 0s to 1h
            2h is out of range; use 0s to 1h
            `` is not a duration; write milliseconds, or a number and a unit (ms, s, m or h), such as "200ms"
            `ms` is not a duration; write milliseconds, or a number and a unit (ms, s, m or h), such as "200ms"
            `1d` is not a duration; write milliseconds, or a number and a unit (ms, s, m or h), such as "200ms"
            `1m30s` is not a duration; write milliseconds, or a number and a unit (ms, s, m or h), such as "200ms"
            `inf` is not a duration; write milliseconds, or a number and a unit (ms, s, m or h), such as "200ms""#]]
        .assert_eq(&written.map(line).join("\n"));
    }
}
