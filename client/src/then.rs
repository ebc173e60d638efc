//! Then: the command that a profile runs when its door is open. No shell is involved.

use std::io;
use std::process::Command;

/// Set for the command, so that a knock within it (by ssh's `Match exec`, say) does not run the command once more.
const WITHIN: &str = "POSTERN_THEN";

/// A command, with places for the host and the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Then {
    /// As it was written.
    pub written: String,
    words: Vec<String>,
}

impl Then {
    /// Reads a command in words as a shell would split it: quotes and backslashes count, nothing else does.
    ///
    /// # Errors
    /// What is wrong with it and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = shlex::split(text)
            .ok_or_else(|| "a quote is not closed, or the last backslash stands for nothing".to_owned())?;
        if words.first().is_none_or(String::is_empty) {
            return Err("is empty; write a command, such as \"ssh {host}\"".to_owned());
        }
        if let Some(place) =
            words.iter().flat_map(|word| places(word)).find(|place| !matches!(*place, "host" | "port"))
        {
            return Err(format!("{{{place}}} stands for nothing; there are {{host}} and {{port}}"));
        }
        Ok(Self { written: text.to_owned(), words })
    }

    /// Whether the command names the door's port.
    #[must_use]
    pub fn needs_port(&self) -> bool {
        self.words.iter().any(|word| places(word).any(|place| place == "port"))
    }

    /// The words to run. What is filled in stays within its word, whatever it holds.
    #[must_use]
    pub fn argv(&self, host: &str, port: Option<u16>) -> Vec<String> {
        let port = port.map(|port| port.to_string()).unwrap_or_default();
        self.words.iter().map(|word| word.replace("{port}", &port).replace("{host}", host)).collect()
    }
}

/// Whether this process was started by such a command.
#[must_use]
pub fn is_within() -> bool {
    std::env::var_os(WITHIN).is_some()
}

/// Runs the command on this terminal and ends with its exit code. Returns only if it cannot be started.
#[must_use]
pub fn become_command(argv: &[String]) -> io::Error {
    let Some((program, arguments)) = argv.split_first() else {
        return io::Error::from(io::ErrorKind::InvalidInput);
    };
    let mut command = Command::new(program);
    command.args(arguments).env(WITHIN, "1");
    replace_by(&mut command)
}

/// In our place, so that the terminal, its signals and the exit code are the command's own.
#[cfg(unix)]
fn replace_by(command: &mut Command) -> io::Error {
    std::os::unix::process::CommandExt::exec(command)
}

#[cfg(not(unix))]
fn replace_by(command: &mut Command) -> io::Error {
    match command.status() {
        Ok(status) => std::process::exit(status.code().unwrap_or(1)),
        Err(error) => error,
    }
}

/// What stands in braces: letters only, so that a program of awk's is not taken for one.
fn places(word: &str) -> impl Iterator<Item = &str> {
    word.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(place, _)| place).filter(|place| {
        !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn words_are_split_before_places_are_filled() {
        check("ssh -p {port} user@{host}", expect![[r#"["ssh", "-p", "22", "user@a b;c"]"#]]);
        check(r#"sh -c 'echo "$1"' x {host}"#, expect![[r#"["sh", "-c", "echo \"$1\"", "x", "a b;c"]"#]]);
        check("awk '{print $1} {}'", expect![[r#"["awk", "{print $1} {}"]"#]]);
    }

    #[test]
    fn what_is_no_command() {
        check("", expect!["is empty; write a command, such as \"ssh {host}\""]);
        check("''", expect!["is empty; write a command, such as \"ssh {host}\""]);
        check("ssh 'x", expect!["a quote is not closed, or the last backslash stands for nothing"]);
        check("ssh {hots}", expect!["{hots} stands for nothing; there are {host} and {port}"]);
    }

    #[track_caller]
    fn check(written: &str, expect: Expect) {
        match Then::parse(written) {
            Ok(then) => expect.assert_eq(&format!("{:?}", then.argv("a b;c", Some(22)))),
            Err(what) => expect.assert_eq(&what),
        }
    }
}
