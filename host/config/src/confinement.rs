//! What `postern.toml` says of how the daemon's processes are held: as which user they run, and what follows from a barrier that is missing.

use nix::unistd::User;
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::table::{At, Table};

/// The user that the processes become which look at what comes from outside, unless `user` says another: the package makes it.
const DEFAULT_USER: &str = "postern";

/// How the daemon's processes are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The user that engine and compiler become, and that user's group; none if there is no such account and `user` names none.
    pub account: Option<Account>,
    /// Whether the daemon starts only if every barrier holds.
    pub is_strict: bool,
}

/// An account of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

impl Confinement {
    /// That of a configuration that says nothing of it.
    #[must_use]
    pub fn of_machine() -> Self {
        Self { account: account(DEFAULT_USER), is_strict: false }
    }
}

/// What a `postern.toml` says.
pub(crate) fn read(table: &Table<'_>) -> Confinement {
    let account = match table.text("user") {
        Some(At { value, place }) => {
            let found = account(value);
            if found.is_none() {
                table.mistake(
                    &place,
                    format!("this machine has no account `{value}`; make one, or leave the key out"),
                );
            }
            found
        }
        None => account(DEFAULT_USER),
    };
    let is_strict = match table.text("sandbox") {
        None => false,
        Some(At { value: "best-effort", .. }) => false,
        Some(At { value: "strict", .. }) => true,
        Some(At { value, place }) => {
            table.mistake(&place, format!("`{value}` is neither \"best-effort\" nor \"strict\""));
            false
        }
    };
    Confinement { account, is_strict }
}

/// The account that a text names, whatever else is wrong with it, or else the default one.
pub(crate) fn account_of(text: &str) -> Option<Account> {
    let (document, _) = DeTable::parse_recoverable(text);
    let named = document.get_ref().get("user").and_then(|user| user.get_ref().as_str());
    account(named.unwrap_or(DEFAULT_USER))
}

fn account(name: &str) -> Option<Account> {
    let user = User::from_name(name).ok().flatten()?;
    Some(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_read_whatever_else_is_wrong() {
        let nobody = account("nobody");
        assert!(nobody.is_some(), "every machine has it");
        assert_eq!(account_of("user = \"nobody\"\ninterfaces = 7\n[doors.ssh\n"), nobody);
        assert_eq!(account_of("user = 7\n"), account(DEFAULT_USER));
        assert_eq!(account_of(""), account(DEFAULT_USER));
    }
}
