//! Account: whether this daemon can run commands as an account of the machine. Nothing is changed here.

use nix::unistd::User;
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

/// What is wrong with an account as the one that commands run as, with the remedy; none if nothing is.
pub(crate) fn refuse(name: &str) -> Option<String> {
    let account = match User::from_name(name) {
        Ok(Some(account)) => account,
        Ok(None) => {
            return Some(format!("there is no account `{name}` on this machine; make it, or name another"));
        }
        Err(error) => return Some(format!("the account `{name}` cannot be looked up: {}", error.desc())),
    };
    let us = geteuid().as_raw();
    if account.uid.as_raw() == us || may_change() {
        return None;
    }
    Some(format!(
        "this runs as user {us} and cannot become `{name}`; run it as root with CAP_SETUID and CAP_SETGID, or leave user out"
    ))
}

/// Whether this process may become any user.
fn may_change() -> bool {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    capabilities(None).is_ok_and(|held| held.effective.contains(needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_must_exist_and_the_own_one_always_does() {
        let refused = refuse("nobody-of-postern").unwrap();
        assert!(refused.starts_with("there is no account `nobody-of-postern`"), "{refused}");
        let own = User::from_uid(nix::unistd::geteuid()).unwrap().unwrap();
        assert_eq!(refuse(&own.name), None);
        assert_eq!(refuse("daemon").is_none(), may_change() || own.name == "daemon");
    }
}
