//! Conf: the bytes of a knockd.conf.

use postern_knockd::fuzzed::{ConfReading, read_conf};

/// A knockd.conf, and the same bytes as a file of one-time sequences.
///
/// # Panics
/// If what is converted of one without mistakes has some, or a message about it is not one line.
pub fn knockd_conf(input: &[u8]) {
    match read_conf(input) {
        ConfReading::Wrong(lines) => {
            let is_one = |line: &String| !line.is_empty() && !line.contains(['\n', '\r']);
            assert!(lines.iter().all(is_one), "{lines:?}");
        }
        ConfReading::OneTime => {}
        ConfReading::Right { converted } => assert!(converted.is_empty(), "{converted:?}"),
    }
}
