//! Home: where a user's own profiles are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// `postern/profiles.toml` in the folder for configuration: `%APPDATA%` on Windows, elsewhere `$XDG_CONFIG_HOME` or `~/.config`.
/// None if the environment says neither.
#[must_use]
pub fn default_path() -> Option<PathBuf> {
    path_in(cfg!(windows), |name| std::env::var_os(name))
}

fn path_in(is_windows: bool, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config_dir = if is_windows {
        absolute("APPDATA")
    } else {
        // The specification says that a relative path there is to be ignored.
        absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))
    };
    Some(config_dir?.join(Path::new("postern/profiles.toml")))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn folders() {
        let cases = [
            (false, "HOME=/home/ann", Some("/home/ann/.config/postern/profiles.toml")),
            (false, "HOME=/home/ann XDG_CONFIG_HOME=/c", Some("/c/postern/profiles.toml")),
            (false, "HOME=/home/ann XDG_CONFIG_HOME=c", Some("/home/ann/.config/postern/profiles.toml")),
            (false, "HOME= APPDATA=/a", None),
            (true, "HOME=/home/ann APPDATA=/a", Some("/a/postern/profiles.toml")),
        ];
        for (is_windows, environment, expected) in cases {
            let variable = |name: &str| {
                let mut pairs = environment.split(' ').filter_map(|pair| pair.split_once('='));
                pairs.find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            };
            assert_eq!(path_in(is_windows, variable).as_deref(), expected.map(Path::new), "{environment}");
        }
    }
}
