//! What `postern.toml` says of how the daemon's processes are held: as which user they run, and what follows from a barrier that is missing.

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::process_user::ProcessUser;
use crate::table::{At, Table};

/// The user that the processes become which look at what comes from outside, unless `user` says another: the package makes it.
const DEFAULT_USER: &str = "postern";

/// How the daemon's processes are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSettings {
    /// The user that engine and compiler become, and that user's group; none if there is no such account and `user` names none.
    pub user: Option<ProcessUser>,
    /// Whether the daemon starts only if every barrier holds.
    pub is_strict: bool,
}

impl SandboxSettings {
    /// That of a configuration that says nothing of it.
    #[must_use]
    pub fn of_machine() -> Self {
        Self { user: ProcessUser::named(DEFAULT_USER), is_strict: false }
    }
}

/// What a `postern.toml` says.
pub(crate) fn read(table: &Table<'_>) -> SandboxSettings {
    let user = match table.text("user") {
        Some(At { value, place }) => {
            let found = ProcessUser::named(value);
            if found.is_none() {
                table.mistake(
                    &place,
                    format!("this machine has no account `{value}`; make one, or leave the key out"),
                );
            }
            found
        }
        None => ProcessUser::named(DEFAULT_USER),
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
    SandboxSettings { user, is_strict }
}

/// The user that a text names, whatever else is wrong with it, or else the default one.
pub(crate) fn user_of(text: &str) -> Option<ProcessUser> {
    let (document, _) = DeTable::parse_recoverable(text);
    let named = document.get_ref().get("user").and_then(|user| user.get_ref().as_str());
    ProcessUser::named(named.unwrap_or(DEFAULT_USER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_read_whatever_else_is_wrong() {
        let nobody = ProcessUser::named("nobody");
        assert!(nobody.is_some(), "every machine has it");
        assert_eq!(user_of("user = \"nobody\"\ninterfaces = 7\n[doors.ssh\n"), nobody);
        assert_eq!(user_of("user = 7\n"), ProcessUser::named(DEFAULT_USER));
        assert_eq!(user_of(""), ProcessUser::named(DEFAULT_USER));
    }
}
