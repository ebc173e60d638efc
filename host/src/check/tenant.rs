//! A tenant's own check: what the daemon would say of its files, with nothing but what the tenant may know.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::bail;
use postern_config::{Mistakes, TenantSource};
use postern_core::TenantId;
use postern_text::terminal;

use super::{NOT_STARTED, TriedConfig, list, tell, try_out};
use crate::exit::Exit;
use crate::grant_files::file_of;

/// Reads the rules of a tenant as the user of this process, loads their modules, tries each, and says what the daemon would say of them if it
/// granted what `grant` says: without one, what the daemon that runs has written down.
///
/// # Errors
/// If nothing says what the tenant is granted, if the system does not let us check, or standard output is closed.
pub fn check_tenant(tenant: &TenantId, grant: Option<PathBuf>) -> anyhow::Result<Exit> {
    let grant = match grant {
        Some(grant) => grant,
        None => written_down(tenant)?,
    };
    let TriedConfig { config, generation, mistakes, .. } = try_out(TenantSource::new(tenant.clone(), grant))?;
    let (Some(config), Some(generation), true) = (config, generation, mistakes.is_empty()) else {
        return tell(&Mistakes::new(mistakes), NOT_STARTED);
    };
    terminal::out(format_args!("{tenant}: no mistakes"))?;
    list(&config, &generation)?;
    Ok(Exit::Success)
}

/// The file in which the daemon has written down what the tenant is granted.
fn written_down(tenant: &TenantId) -> anyhow::Result<PathBuf> {
    let file = file_of(tenant);
    let is_missing = |path: &Path| path.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    let Some(folder) = file.parent().filter(|_| is_missing(&file)) else { return Ok(file) };
    let what_to_do = "ask this machine's administrator, or write what it would be granted into a file, and name that with --grant";
    if is_missing(folder) {
        let folder = folder.display();
        bail!(
            "nothing says what tenant {tenant} is granted: there is no {folder}, so no daemon with tenants runs; {what_to_do}"
        );
    }
    bail!("the daemon has no tenant {tenant}: there is no {}; {what_to_do}", file.display());
}
