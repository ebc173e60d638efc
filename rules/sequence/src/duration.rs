//! Durations as people write them: `"5s"`, `"1h30m"`, `"500ms"`, or whole seconds as a number.

use std::time::Duration;

use postern_sdk::serde_json::Value;

/// Units, and how many milliseconds each is.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The duration that `value` means, if it is above zero and at most `most`; else what would be right.
pub(crate) fn parse(value: &Value, most: Duration) -> Result<Duration, String> {
    let duration = match value {
        Value::String(text) => parse_text(text),
        Value::Number(number) => number.as_u64().map(Duration::from_secs),
        _ => None,
    };
    match duration {
        None => Err(format!(r#"{value} is not a duration; write one such as "5s", "500ms" or "1h30m""#)),
        Some(Duration::ZERO) => Err(format!("{value} is no time at all; write a duration above zero")),
        Some(duration) if duration > most => {
            Err(format!("{value} is over the ceiling of {}; shorten it", display(most)))
        }
        Some(duration) => Ok(duration),
    }
}

/// One or more numbers, each with a unit, without blanks. `None` also if it does not fit.
fn parse_text(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*size)?)?;
        if behind.is_empty() {
            return Some(Duration::from_millis(millis));
        }
        rest = behind;
    }
}

/// The largest unit that divides it.
fn display(duration: Duration) -> String {
    let millis = duration.as_millis();
    let divides = |size: u64| millis.is_multiple_of(u128::from(size));
    let (unit, size) = UNITS.into_iter().rev().find(|&(_, size)| divides(size)).unwrap_or(UNITS[0]);
    format!("{}{unit}", millis / u128::from(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<u64, &str>) {
        let value = postern_sdk::serde_json::from_str(json).unwrap();
        let millis = parse(&value, Duration::from_secs(3600)).map(|duration| duration.as_millis());
        assert_eq!(millis, expected.map(u128::from).map_err(str::to_owned));
    }

    #[test]
    fn durations() {
        check(r#""5s""#, Ok(5_000));
        check(r#""500ms""#, Ok(500));
        check(r#""1m30s""#, Ok(90_000));
        check(r#""1h""#, Ok(3_600_000));
        check("25", Ok(25_000));
    }

    #[test]
    fn mistakes() {
        check(r#""1h1ms""#, Err(r#""1h1ms" is over the ceiling of 1h; shorten it"#));
        check("3601", Err("3601 is over the ceiling of 1h; shorten it"));
        check(r#""0s""#, Err(r#""0s" is no time at all; write a duration above zero"#));
        for text in [
            r#""""#,
            r#""5""#,
            r#""s""#,
            r#""5 s""#,
            r#""-5s""#,
            r#""5x""#,
            r#""5s3""#,
            r#""é""#,
            r#""99999999999999999999s""#,
            r#""18446744073709551615d""#,
            "-5",
            "2.5",
            "null",
        ] {
            let expected = format!(r#"{text} is not a duration; write one such as "5s", "500ms" or "1h30m""#);
            check(text, Err(&expected));
        }
    }
}
