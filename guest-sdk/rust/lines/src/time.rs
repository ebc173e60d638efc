//! Time: a moment as lines write it, `+1.5s`, exact to the microsecond.

use std::fmt;

/// When `+0.0s` is, in microseconds since 1970: 2023-11-14 22:13:20 UTC.
pub const ORIGIN: u64 = 1_700_000_000_000_000;
/// The largest number that every guest language holds exactly.
const LAST: u64 = (1 << 53) - 1;

/// A moment, in microseconds since 1970. With a minus what lies before [`ORIGIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < ORIGIN { '-' } else { '+' };
        let micros = self.0.abs_diff(ORIGIN);
        let part = format!("{:06}", micros % 1_000_000);
        let digits = part.trim_end_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        write!(f, "{sign}{}.{digits}s", micros / 1_000_000)
    }
}

/// Reads a time; later ones than 2^53 - 1 become that.
pub(crate) fn parse(word: &str) -> Result<u64, String> {
    let wrong = || format!("`{word}` is not a time such as +1.5s");
    let number = word.strip_prefix('+').and_then(|rest| rest.strip_suffix('s')).ok_or_else(wrong)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if part.is_empty()
        || part.len() > 6
        || !part.bytes().chain(whole.bytes()).all(|byte| byte.is_ascii_digit())
    {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<6}").parse().map_err(|_| wrong())?;
    let micros =
        whole.checked_mul(1_000_000).and_then(|micros| micros.checked_add(part)).ok_or_else(wrong)?;
    Ok(ORIGIN.saturating_add(micros).min(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (text, shown) in [
            ("+0s", "+0.0s"),
            ("+1.5s", "+1.5s"),
            ("+1.999999s", "+1.999999s"),
            ("+3600.000s", "+3600.0s"),
            ("+99999999999s", "+7307199254.740991s"),
        ] {
            assert_eq!(Time(parse(text).unwrap()).to_string(), shown);
        }
        assert_eq!(Time(ORIGIN - 1).to_string(), "-0.000001s");
        for text in ["", "+s", "0s", "+1", "+1.s", "+1.0000001s", "+1.-5s", "-1s", "+99999999999999999999s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
