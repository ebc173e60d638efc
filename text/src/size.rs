//! Size: numbers of bytes for people, in the units that settings are written in.

/// A number of bytes as `64 KiB`, `16 MiB` or `1.5 GiB`; with at most two decimals, and rounded up, so that what is over a limit never looks
/// like the limit. Less than a KiB is told in bytes.
#[must_use]
pub fn show(bytes: u64) -> String {
    let (unit, name) = match bytes {
        1 => return "1 byte".to_owned(),
        0..1024 => return format!("{bytes} bytes"),
        1024..0x10_0000 => (1 << 10, "KiB"),
        0x10_0000..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1_u128 << 30, "GiB"),
    };
    let hundredths = (u128::from(bytes) * 100).div_ceil(unit);
    let (whole, hundredths) = (hundredths / 100, hundredths % 100);
    match (hundredths, hundredths % 10) {
        (0, _) => format!("{whole} {name}"),
        (_, 0) => format!("{whole}.{} {name}", hundredths / 10),
        _ => format!("{whole}.{hundredths:02} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_they_fill() {
        for (bytes, shown) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (1025, "1.01 KiB"),
            (65536, "64 KiB"),
            ((1 << 20) - 1, "1024 KiB"),
            (16 << 20, "16 MiB"),
            ((16 << 20) + 8, "16.01 MiB"),
            (3 << 19, "1.5 MiB"),
            (1 << 30, "1 GiB"),
            (u64::MAX, "17179869184 GiB"),
        ] {
            assert_eq!(show(bytes), shown);
        }
    }
}
