//! TenantUser: the account of this machine as which a tenant's files are read.

use std::path::Path;
use std::sync::Arc;

use nix::unistd::User;
use postern_core::TenantId;
use postern_text::Mistake;
use serde::{Deserialize, Serialize};

use crate::table::{At, Table, ValuePlace};

/// As this one compilers run; see `compile` of `posternd`.
const NOBODY: u32 = 65_534;

/// An account, and where `postern.toml` names it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantUser {
    /// Its name.
    pub name: Arc<str>,
    /// Its number; not 0.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    place: ValuePlace,
}

/// The key `user` of `[tenants.NAME]`.
pub(crate) enum UserKey {
    /// It is not there: the files are read as the host's are.
    Unsaid,
    Is(TenantUser),
    /// It has a mistake, which was noted down: the files must not be read as anybody.
    Wrong,
}

impl TenantUser {
    /// An account by its numbers, for tests and for what has no `postern.toml`.
    #[must_use]
    pub fn new(name: &str, uid: u32, gid: u32) -> Self {
        Self { name: name.into(), uid, gid, place: ValuePlace { line: 0, key: String::new() } }
    }
}

/// What `[tenants.NAME]` says of it.
pub(crate) fn read(tenant: &Table<'_>) -> UserKey {
    let Some(At { value, place }) = tenant.text("user") else {
        return if tenant.has("user") { UserKey::Wrong } else { UserKey::Unsaid };
    };
    match account(value) {
        Ok((uid, gid)) => UserKey::Is(TenantUser { name: value.into(), uid, gid, place }),
        Err(what) => {
            tenant.mistake(&place, what);
            UserKey::Wrong
        }
    }
}

fn account(name: &str) -> Result<(u32, u32), String> {
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) => {
            return Err(format!("this machine has no account `{name}`; make one, or leave the key out"));
        }
        Err(error) => return Err(format!("the account `{name}` cannot be looked up: {}", error.desc())),
    };
    match user.uid.as_raw() {
        0 => {
            Err(format!("`{name}` may read every file of this machine; name an account of the tenant's own"))
        }
        NOBODY => Err(format!(
            "as `{name}` modules of all tenants are compiled; name an account of the tenant's own"
        )),
        uid => Ok((uid, user.gid.as_raw())),
    }
}

/// The users that no tenant can have, or not two of them: `processes` is the user of the daemon's processes.
pub(crate) fn conflicts(
    file: &Path,
    users: &[(&TenantId, &TenantUser)],
    processes: Option<u32>,
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (n, (_, user)) in users.iter().enumerate() {
        let TenantUser { name, uid, place, .. } = user;
        let what = if processes == Some(*uid) {
            format!("`{name}` is the user of the daemon's own processes; name an account of the tenant's own")
        } else if let Some((other, _)) = users[..n].iter().find(|(_, other)| other.uid == *uid) {
            format!(
                "`{name}` is the user of tenant {other} already, and either could write the other's rules; give each its own"
            )
        } else {
            continue;
        };
        mistakes.push(place.mistake(file, what));
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activity::Activity;
    use crate::config::Config;
    use crate::tenant_files::OwnFiles;
    use crate::trust::Trust;

    const START: &str = "interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\n";

    /// The mistakes in the text of a postern.toml.
    fn check(text: &str, expected: &[&str]) {
        let reading = Config::of_texts(Path::new("postern.toml"), text, &[]);
        let said: Vec<_> = reading.mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(said, expected, "{text}");
    }

    #[test]
    fn each_tenant_has_an_account_that_nobody_else_has() {
        let of = |name: &str, user: &str| format!("[tenants.{name}]\nrules = \"{name}\"\nuser = {user}\n");
        check(&format!("{START}{}{}", of("a", "\"daemon\""), of("b", "\"bin\"")), &[]);
        check(
            &format!("{START}{}", of("a", "\"nobody-of-postern\"")),
            &[
                "postern.toml:6: tenants.a.user: this machine has no account `nobody-of-postern`; make one, or leave the key out",
            ],
        );
        check(
            &format!("{START}{}{}", of("a", "\"root\""), of("b", "\"nobody\"")),
            &[
                "postern.toml:6: tenants.a.user: `root` may read every file of this machine; name an account of the tenant's own",
                "postern.toml:9: tenants.b.user: as `nobody` modules of all tenants are compiled; name an account of the tenant's own",
            ],
        );
        check(
            &format!("{START}{}{}", of("a", "\"daemon\""), of("b", "\"daemon\"")),
            &[
                "postern.toml:9: tenants.b.user: `daemon` is the user of tenant a already, and either could write the other's rules; give each its own",
            ],
        );
        check(
            &format!("user = \"daemon\"\n{START}{}", of("a", "\"daemon\"")),
            &[
                "postern.toml:7: tenants.a.user: `daemon` is the user of the daemon's own processes; name an account of the tenant's own",
            ],
        );
        check(
            &format!("{START}{}", of("a", "7")),
            &["postern.toml:6: tenants.a.user: is a number; write a text in quotes"],
        );
    }

    #[test]
    fn who_cannot_be_had_is_nobody_as_whom_anything_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["rules", "a"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        std::fs::write(at("a/x.toml"), "garbage").unwrap();
        let read = |user: &str| {
            let text = format!("{START}[tenants.a]\nrules = \"a\"\nuser = \"{user}\"\n");
            std::fs::write(at("postern.toml"), text).unwrap();
            Config::read(&at("postern.toml"), Trust::Anybody, &OwnFiles, &Activity::default())
        };
        // A mistake in the key: the folder is not read as the host's is.
        let wrong = read("nobody-of-postern");
        assert_eq!((wrong.mistakes.len(), wrong.all_mistakes().len()), (1, 1), "{:?}", wrong.mistakes);
        // No mistake, and not to be had here: that tenant's alone.
        let other = read("daemon");
        assert!(other.mistakes.is_empty() && other.files.is_empty());
        let of_a = &other.mistakes_of_tenants[&TenantId::new("a")];
        assert_eq!(of_a.len(), 1);
        assert!(
            of_a[0].what.starts_with("is not read as `daemon`: this process is user"),
            "{}",
            of_a[0].what
        );
    }
}
