//! AsUser: runs a command as another account.
//!
//! Between fork and exec only a few calls are safe, and looking up an account's groups is none of them; without `unsafe` nothing of ours can run
//! there at all. So what is started is this very binary as a small role, which becomes that account and then executes the command in
//! its place: the same process, group and standard error, for about a millisecond more.

use std::ffi::{CString, OsStr, OsString};
use std::fmt::Display;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::{Uid, User, initgroups, setresgid, setresuid};

use crate::shims::Shims;

/// How its command line begins.
const ROLE: [&str; 2] = ["role", "as"];

/// A command that runs `program` as `user`; the program's arguments are added behind.
pub(crate) fn command(user: &str, program: &str) -> Command {
    let mut command = Command::new(Shims::OWN_BINARY);
    command.arg0(format!("posternd: {program}")).args(ROLE).args([user, program]);
    command
}

/// The account and the command, if a command line is that of this role; it comes without the name of the program.
pub fn role_of(arguments: impl IntoIterator<Item = OsString>) -> Option<(OsString, Vec<OsString>)> {
    let mut arguments = arguments.into_iter();
    let is_role = ROLE.iter().all(|word| arguments.next().is_some_and(|argument| argument == *word));
    is_role.then(|| Some((arguments.next()?, arguments.collect()))).flatten()
}

/// Becomes an account, with all its groups, and executes a command in the place of this process. `HOME`, `USER` and `LOGNAME` are the account's;
/// all else in the environment stays. An account of the own user keeps the groups that this process has, if it may not change them.
/// Returns only if that fails: why, in words.
#[must_use]
pub fn become_and_execute(user: &OsStr, command: &[OsString]) -> String {
    let Some((program, arguments)) = command.split_first() else { return "there is no command".to_owned() };
    let Some(name) = user.to_str() else { return "the account has a name that is no text".to_owned() };
    let failed = |what: &str, error: &dyn Display| format!("cannot {what} the account {name}: {error}");
    let account = match User::from_name(name) {
        Ok(Some(account)) => account,
        Ok(None) => return failed("find", &"there is none on this machine"),
        Err(error) => return failed("find", &error.desc()),
    };
    let changed = CString::new(name).map_err(|_| nix::Error::EINVAL).and_then(|name| {
        initgroups(&name, account.gid)?;
        setresgid(account.gid, account.gid, account.gid)?;
        setresuid(account.uid, account.uid, account.uid)
    });
    if let Err(error) = changed
        && (account.uid != Uid::effective() || error != nix::Error::EPERM)
    {
        return failed("become", &error.desc());
    }
    let mut command = Command::new(program);
    command.args(arguments).env("HOME", &account.dir).env("USER", name).env("LOGNAME", name);
    format!("cannot start {}: {}", program.display(), command.exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_the_account_and_the_command() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let command = command("lamp", "/bin/lamp");
        let line = command.get_args().map(OsStr::to_owned);
        assert_eq!(role_of(line), Some(("lamp".into(), words(&["/bin/lamp"]))));
        assert_eq!(
            role_of(words(&["role", "as", "a", "b", "--", "c"])),
            Some(("a".into(), words(&["b", "--", "c"])))
        );
        for other in [&[][..], &["role"], &["role", "as"], &["role", "engine", "a"], &["run"]] {
            assert_eq!(role_of(words(other)), None, "{other:?}");
        }
    }

    #[test]
    fn an_account_that_is_not_there_runs_nothing() {
        let said = become_and_execute(OsStr::new("nobody-of-postern"), &["/bin/true".into()]);
        assert_eq!(said, "cannot find the account nobody-of-postern: there is none on this machine");
    }
}
