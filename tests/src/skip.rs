//! Skip: what a test does where it cannot run. It says why, and where it must run it fails.

use std::path::PathBuf;

use postern_text::terminal;

/// Says that the current test does not run, and why.
///
/// # Panics
/// If the environment variable `CI` is set: there, a test that does not run is a failure.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    skip_everywhere(why);
}

/// As [`skip`], but nowhere a failure: because the kernel lacks something that cannot be installed.
pub fn skip_everywhere(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Past the test runner, which would keep the line to itself.
    let _ = terminal::err(format_args!("{test} did not run: {why}"));
}

/// Where a program of the system is; if there is none, the test is [skipped](skip).
///
/// # Panics
/// As [`skip`] does.
#[must_use]
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where a user's PATH often does not look.
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = dirs.map(|dir| dir.join(name)).find(|program| program.is_file());
    if found.is_none() {
        skip(&format!("there is no `{name}`; see tests/install.sh"));
    }
    found
}
