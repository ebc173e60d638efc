//! Complete: the names of profiles, for the shell to complete. A mistake in a file must not disturb typing, so
//! none is reported here.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap_complete::CompletionCandidate;
use postern_text::clean::is_fit;

use crate::profile::{ProfileFile, default_path};

/// The names of the profiles in the file that the command line so far names, or else in the user's own.
#[must_use]
pub fn profile_names() -> Vec<CompletionCandidate> {
    let Some(path) = named_file(std::env::args_os()).or_else(default_path) else { return Vec::new() };
    let Ok(file) = ProfileFile::read(&path) else { return Vec::new() };
    // What cannot be shown is not offered either.
    file.names().filter(|name| name.chars().all(is_fit)).map(CompletionCandidate::new).collect()
}

/// The parser does not tell a completer about other options, so we look ourselves.
fn named_file(arguments: impl IntoIterator<Item = OsString>) -> Option<PathBuf> {
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if ["-f", "--file"].map(OsStr::new).contains(&&*argument) {
            return arguments.next().map(PathBuf::from);
        }
        let text = argument.to_str().unwrap_or_default();
        if let Some(path) = text.strip_prefix("--file=") {
            return Some(PathBuf::from(path));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_may_be_named_anywhere() {
        let cases = [
            ("postern -- postern knock -f a.ini -l", Some("a.ini")),
            ("postern -- postern knock -l x --file b.toml", Some("b.toml")),
            ("postern -- postern knock --file=c.toml", Some("c.toml")),
            ("postern -- postern knock -f", None),
            ("postern -- postern knock", None),
        ];
        for (line, path) in cases {
            let arguments = line.split(' ').map(OsString::from);
            assert_eq!(named_file(arguments), path.map(PathBuf::from), "{line}");
        }
    }
}
