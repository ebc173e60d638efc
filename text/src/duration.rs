//! Duration: how a length of time is written, everywhere: in configurations, rule settings, profiles and on command lines.
//!
//! A duration is a number with a unit, or several: `500ms`, `90s`, `1.5h`, `1h30m`, `1m 5s`. Units are `ms`, `s`, `m`, `h` and `d` (of 24
//! hours). Blanks may stand around numbers and units; the order is free; what is finer than a nanosecond is cut off. A number without a
//! unit is a mistake: it may mean seconds or milliseconds.

use std::fmt::{self, Display, Formatter};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The units and their nanoseconds, smallest first.
const UNITS: [(&str, u128); 5] = [
    ("ms", 1_000_000),
    ("s", NANOS_A_SECOND),
    ("m", 60 * NANOS_A_SECOND),
    ("h", 3_600 * NANOS_A_SECOND),
    ("d", 86_400 * NANOS_A_SECOND),
];
/// The units as people call them, the likeliest first.
const UNIT_NAMES: [(&str, &str); 5] =
    [("s", "seconds"), ("ms", "milliseconds"), ("m", "minutes"), ("h", "hours"), ("d", "days")];
const NANOS_A_SECOND: u128 = 1_000_000_000;
/// Digits behind the point that can make a nanosecond of difference in a day.
const MOST_DECIMALS: usize = 14;

/// Why a text is no duration, or not one that may stand here. It says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// It is not numbers with units.
    Malformed(String),
    /// It is a number alone, which this unit would make right.
    NoUnit(String, &'static str),
    /// It is a duration or a number below zero.
    Negative(String),
    /// It is longer than a [`Duration`] can be.
    TooLong(String),
    /// It is a duration, but not one of these.
    OutOfRange(Duration, RangeInclusive<Duration>),
}

/// The duration that a text means.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let mut rest = text.trim();
    if is_number(rest) {
        return Err(DurationError::NoUnit(rest.to_owned(), "s"));
    }
    if let Some(positive) = rest.strip_prefix('-')
        && matches!(parse(positive), Ok(_) | Err(DurationError::NoUnit(..)))
    {
        return Err(DurationError::Negative(rest.to_owned()));
    }
    let mut nanos = 0_u128;
    loop {
        let (number, behind) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, behind) = split(behind.trim_start(), |c| c.is_ascii_alphabetic());
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        if !is_number(number) {
            return Err(malformed());
        }
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let decimals = &decimals[..decimals.len().min(MOST_DECIMALS)];
        let scale = decimals.bytes().fold(1, |scale, _| scale * 10);
        let whole = digits(whole).and_then(|number| number.checked_mul(*size)).ok_or_else(too_long)?;
        // So few digits of so small units are far from what a u128 can hold.
        let part = digits(decimals).ok_or_else(too_long)? * size / scale;
        nanos = nanos.checked_add(whole).and_then(|nanos| nanos.checked_add(part)).ok_or_else(too_long)?;
        let seconds = u64::try_from(nanos / NANOS_A_SECOND).map_err(|_| too_long())?;
        rest = behind.trim_start();
        if rest.is_empty() {
            let nanos = u32::try_from(nanos % NANOS_A_SECOND).map_err(|_| too_long())?;
            return Ok(Duration::new(seconds, nanos));
        }
    }
}

/// The duration that a text means, if it is in `range`.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn parse_within(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, DurationError> {
    let number = match parse(text) {
        Ok(duration) if range.contains(&duration) => return Ok(duration),
        Ok(duration) => return Err(DurationError::OutOfRange(duration, range)),
        Err(DurationError::NoUnit(number, _)) => number,
        Err(error) => return Err(error),
    };
    // What is suggested must be right itself.
    for (unit, _) in UNIT_NAMES {
        if parse(&format!("{number}{unit}")).is_ok_and(|duration| range.contains(&duration)) {
            return Err(DurationError::NoUnit(number, unit));
        }
    }
    parse_within(&format!("{number}s"), range)
}

/// A duration as a person would write it: a number and the largest unit that needs no fraction. [`parse`] reads exactly it again.
#[must_use]
pub fn show(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if let Some((unit, size)) = UNITS.iter().rev().find(|(_, size)| nanos.is_multiple_of(*size)) {
        return format!("{}{unit}", nanos / size);
    }
    let (unit, size) = UNITS[0];
    let decimals = format!("{:06}", nanos % size);
    format!("{}.{}{unit}", nanos / size, decimals.trim_end_matches('0'))
}

/// Whether it is a number, with or without a fraction, and nothing else.
#[must_use]
pub fn is_number(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    digits > 0 && (digits == text.len() || digits + 1 == text.len() && text.contains('.'))
}

impl Display for DurationError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(text) => write!(
                f,
                r#"`{text}` is not a duration; write a number and a unit (ms, s, m, h or d), or several, such as "90s" or "1h30m""#
            ),
            Self::NoUnit(number, unit) => {
                let name = UNIT_NAMES.iter().find(|(known, _)| known == unit).map_or(*unit, |(_, name)| name);
                write!(
                    f,
                    r#"`{number}` has no unit; write ms, s, m, h or d behind it: "{number}{unit}" are {number} {name}"#
                )
            }
            Self::Negative(text) => write!(
                f,
                r#"`{text}`: a duration cannot be negative; write a number and a unit (ms, s, m, h or d), such as "90s""#
            ),
            Self::TooLong(text) => {
                write!(f, "`{text}` is longer than any time that can be waited; shorten it")
            }
            Self::OutOfRange(duration, range) => {
                let (least, most) = (show(*range.start()), show(*range.end()));
                write!(f, "{} is out of range; use {least} to {most}", show(*duration))
            }
        }
    }
}

impl std::error::Error for DurationError {}

/// What a text begins with, and what follows.
fn split(text: &str, is_part: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

/// The number that digits make, 0 if there are none; none if it does not fit.
fn digits(text: &str) -> Option<u128> {
    if text.is_empty() { Some(0) } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, millis) in [
            ("5s", 5_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1m 5s", 65_000),
            ("5s1m", 65_000),
            (" 1 d ", 86_400_000),
            ("1.5 s", 1_500),
            (".5s", 500),
            ("2.s", 2_000),
            ("1.5h0.5m", 5_430_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("0.5ms"), Ok(Duration::from_micros(500)));
        assert_eq!(parse("0.00000000000002d"), Ok(Duration::from_nanos(1)));
        assert_eq!(parse(&format!("0.{}1s", "0".repeat(500))), Ok(Duration::ZERO));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let malformed = [
            "",
            " ",
            "s",
            "5x",
            "5S",
            "--5s",
            "-",
            "-soon",
            "+5s",
            "1e3s",
            "5s3",
            "1m 5",
            "1..5s",
            "1.5.5s",
            ".",
            ".s",
            "5,s",
            "inf",
            "5 weeks",
            "5sm",
            "é",
            "5\u{a0}é",
            "soon",
            "5µs",
        ];
        for text in malformed {
            let expected = format!(
                "`{text}` is not a duration; write a number and a unit (ms, s, m, h or d), or several, such as \"90s\" or \"1h30m\""
            );
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        let said = |text: &str| parse(text).unwrap_err().to_string();
        for text in ["5", " 5 ", "0", "1.5", "99999999999999999999"] {
            let number = text.trim();
            let expected = format!(
                "`{number}` has no unit; write ms, s, m, h or d behind it: \"{number}s\" are {number} seconds"
            );
            assert_eq!(said(text), expected);
        }
        for text in ["-5s", "-5", " -1.5h ", "-0"] {
            let expected = format!(
                "`{}`: a duration cannot be negative; write a number and a unit (ms, s, m, h or d), such as \"90s\"",
                text.trim()
            );
            assert_eq!(said(text), expected);
        }
        for text in ["99999999999999999999s", "99999999999999999d", "18446744073709551615s 1s"] {
            assert_eq!(
                said(text),
                format!("`{text}` is longer than any time that can be waited; shorten it")
            );
        }
        let range = Duration::from_millis(1)..=Duration::from_secs(3600);
        let said = |text: &str| parse_within(text, range.clone()).unwrap_err().to_string();
        assert_eq!(said("0s"), "0s is out of range; use 1ms to 1h");
        assert_eq!(said("1h 1ms"), "3600001ms is out of range; use 1ms to 1h");
        for (number, unit, name) in [("3600", "s", "seconds"), ("5000", "ms", "milliseconds")] {
            let expected = format!(
                "`{number}` has no unit; write ms, s, m, h or d behind it: \"{number}{unit}\" are {number} {name}"
            );
            let range = Duration::from_millis(1)..=Duration::from_secs(3600);
            assert_eq!(said(number), expected);
            assert!(parse_within(&format!("{number}{unit}"), range).is_ok());
        }
        // No unit would make these right.
        assert_eq!(said("0"), "0s is out of range; use 1ms to 1h");
        assert_eq!(said("3600001"), "3600001s is out of range; use 1ms to 1h");
        let said_of_long = |text: &str| {
            let range = Duration::from_secs(3600)..=Duration::from_secs(86_400);
            parse_within(text, range).unwrap_err().to_string()
        };
        assert!(said_of_long("2").ends_with("\"2h\" are 2 hours"));
        assert_eq!(parse_within("60m", range), Ok(Duration::from_secs(3600)));
    }

    #[test]
    fn durations_are_shown_as_people_write_them() {
        for (nanos, shown) in [
            (0, "0s"),
            (86_400_000_000_000, "1d"),
            (5_400_000_000_000, "90m"),
            (1_500_000_000, "1500ms"),
            (500_000, "0.5ms"),
            (1_000_001, "1.000001ms"),
            (1, "0.000001ms"),
        ] {
            assert_eq!(show(Duration::from_nanos(nanos)), shown);
        }
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        let check = |duration: Duration| assert_eq!(parse(&show(duration)), Ok(duration));
        [Duration::ZERO, Duration::MAX, Duration::new(u64::MAX, 0), Duration::new(0, 999_999_999)]
            .into_iter()
            .for_each(check);
        let mut random = Random(1);
        for _ in 0..20_000 {
            // All magnitudes, and all of them also as whole units.
            let seconds = random.next() >> (random.next() % 64);
            let nanos = u32::try_from(random.next() % 1_000_000_000).unwrap();
            check(Duration::new(seconds, nanos));
            check(Duration::new(seconds, nanos / 1_000_000 * 1_000_000));
            check(Duration::new(seconds, 0));
            check(Duration::new(seconds / 3600 * 3600, 0));
        }
    }

    #[test]
    fn whatever_is_read_is_shown_as_the_same() {
        let parts =
            ["0", "1", "59", "18446744073709551615", ".", ".5", "ms", "s", "m", "h", "d", " ", "-", "x", "é"];
        let mut random = Random(2);
        let mut right = 0;
        for _ in 0..50_000 {
            let length = random.next() % 7;
            let text: String =
                (0..length).map(|_| parts[usize::try_from(random.next() % 15).unwrap()]).collect();
            if let Ok(duration) = parse(&text) {
                right += 1;
                assert_eq!(parse(&show(duration)), Ok(duration), "{text}");
            }
        }
        assert!(right > 1_000, "{right}");
    }

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }
}
