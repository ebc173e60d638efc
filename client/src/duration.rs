//! Durations as other clients write them: milliseconds without a unit. Everything else is `postern_text::duration`.

use std::ops::RangeInclusive;
use std::time::Duration;

use postern_text::DurationError;
use postern_text::duration::{is_number, parse_within, show};

/// The longest pause between two hits, and the longest wait.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

/// Reads a duration, or a number of milliseconds as `knock` takes it, within `range`.
pub(crate) fn parse_or_millis(
    text: &str,
    range: RangeInclusive<Duration>,
) -> Result<Duration, DurationError> {
    match text.trim() {
        number if is_number(number) => parse_within(&format!("{number}ms"), range),
        text => parse_within(text, range),
    }
}

/// Reads a number of milliseconds as Python does, also `1e2`.
pub(crate) fn parse_float_millis(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let number: f64 =
        text.parse().map_err(|_| format!("`{text}` is not a number; write milliseconds, such as 500"))?;
    // A number below zero, infinite or NaN is out of every range.
    let duration = Duration::try_from_secs_f64(number / 1000.0).ok();
    duration.filter(|duration| range.contains(duration)).ok_or_else(|| {
        format!("{text} is out of range; use {} to {}", show(*range.start()), show(*range.end()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_is_milliseconds() {
        let parse = |text: &str| parse_or_millis(text, Duration::ZERO..=LONGEST);
        for (text, micros) in [
            ("0", 0),
            ("500", 500_000),
            (" 0.5 ", 500),
            ("200ms", 200_000),
            ("1.5 s", 1_500_000),
            ("1m30s", 90_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        assert_eq!(parse("3600001").unwrap_err().to_string(), "3600001ms is out of range; use 0s to 1h");
        assert_eq!(parse("-1"), Err(DurationError::Negative("-1".to_owned())));
        for text in ["1m 5", "", "1e2", "inf"] {
            assert!(matches!(parse(text), Err(DurationError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn milliseconds_as_python_writes_them() {
        let parse = |text: &str| parse_float_millis(text, Duration::ZERO..=LONGEST);
        assert_eq!(parse("1e2"), Ok(Duration::from_millis(100)));
        for text in ["-1", "inf", "NaN", "3600001"] {
            assert_eq!(parse(text), Err(format!("{text} is out of range; use 0s to 1h")));
        }
    }
}
