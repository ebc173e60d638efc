//! TenantUser: the account of this machine as which a tenant's files are read.

use std::path::Path;
use std::sync::Arc;

use nix::unistd::User;
use postern_text::Mistake;
use serde::{Deserialize, Serialize};

use crate::table::{At, Table, ValuePlace};
use crate::tenant::Tenant;

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
pub(crate) fn conflicts(file: &Path, tenants: &[Tenant], processes: Option<u32>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (n, tenant) in tenants.iter().enumerate() {
        let Some(TenantUser { name, uid, place, .. }) = &tenant.user else { continue };
        let is_taken = |other: &&Tenant| other.user.as_ref().is_some_and(|user| user.uid == *uid);
        let what = if processes == Some(*uid) {
            format!("`{name}` is the user of the daemon's own processes; name an account of the tenant's own")
        } else if let Some(other) = tenants[..n].iter().find(is_taken) {
            let other = &other.id;
            format!(
                "`{name}` is the user of tenant {other} already, and either could write the other's rules; give each its own"
            )
        } else {
            continue;
        };
        mistakes.push(Mistake {
            file: file.to_owned(),
            line: Some(place.line),
            key: place.key.clone(),
            what,
        });
    }
    mistakes
}
