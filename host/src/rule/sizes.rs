//! Sizes, times and numbers as tables show them.

use std::time::Duration;

/// A number of bytes in MiB, with two decimals; what is less than a hundredth in KiB or bytes.
pub(super) fn mib(bytes: u64) -> String {
    if bytes < 1 << 10 {
        return format!("{bytes} bytes");
    }
    // Rounded.
    let parts_of =
        |unit_bits: u32, parts: u128| (u128::from(bytes) * parts + (1 << (unit_bits - 1))) >> unit_bits;
    match parts_of(20, 100) {
        0 => format!("{}.{} KiB", parts_of(10, 10) / 10, parts_of(10, 10) % 10),
        hundredths => format!("{}.{:02} MiB", hundredths / 100, hundredths % 100),
    }
}

/// A time with three digits that mean something.
pub(super) fn time(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, name) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    match nanos / unit {
        0..10 => format!("{}.{:02} {name}", nanos / unit, nanos % unit * 100 / unit),
        10..100 => format!("{}.{} {name}", nanos / unit, nanos % unit * 10 / unit),
        whole => format!("{whole} {name}"),
    }
}

/// A number with commas between thousands.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown() {
        assert_eq!(
            [0, 1023, 1024, 5_000, 10_000, 1 << 20, 131_000_000].map(mib),
            ["0 bytes", "1023 bytes", "1.0 KiB", "4.9 KiB", "0.01 MiB", "1.00 MiB", "124.93 MiB"]
        );
        assert_eq!(mib(u64::MAX), "17592186044416.00 MiB");
        assert_eq!(
            [0, 999, 1_000, 12_345, 123_456, 1_500_000, 61_000_000_000]
                .map(|nanos| time(Duration::from_nanos(nanos))),
            ["0 ns", "999 ns", "1.00 us", "12.3 us", "123 us", "1.50 ms", "61.0 s"]
        );
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
