//! Signed: holds the module of a rule to the signature that its tenant's modules need, before anything is done with it.

use std::path::Path;
use std::sync::Arc;

use postern_config::{BadSignature, Config, RuleFile, TrustedKey, signature_file, verify};
use postern_sandbox::LoadError;
use postern_text::piece;

/// The key that has signed `bytes`, which are all of the module's file of a rule, if that must be signed. `read` reads the signature's file.
///
/// # Errors
/// If it must be and is not: there is no signature that can be read, or it is no good.
pub(crate) fn signer(
    config: &Config,
    rule: &RuleFile,
    file: &Path,
    bytes: &[u8],
    read: impl FnOnce(&Path) -> Result<Vec<u8>, LoadError>,
) -> Result<Option<Arc<str>>, LoadError> {
    let Some(keys) = config.keys_for(rule) else { return Ok(None) };
    let tenant = &rule.id.tenant;
    let signature_file = signature_file(file);
    let (name, its_name) = (name(file), name(&signature_file));
    let refused = |what: String, remedy: String| LoadError::Refused { what, remedy };
    let anew = || format!("sign it: minisign -Sm {name}");
    let signature = read(&signature_file).map_err(|error| match error {
        LoadError::Distrusted { .. } | LoadError::Overtaken => error,
        error => refused(
            format!(
                "must be signed, as trust in [tenants.{tenant}] of postern.toml says, and its signature {its_name} {error}"
            ),
            anew(),
        ),
    })?;
    let good = verify(bytes, &signature, keys).map_err(|bad| {
        let remedy = match bad {
            BadSignature::Malformed | BadSignature::Wrong { .. } => anew(),
            BadSignature::Stranger { .. } => format!(
                "sign it with a key that is: {}; or add this one to trust in [tenants.{tenant}] in postern.toml",
                listed(keys)
            ),
        };
        refused(format!("has a signature, {its_name}, that {bad}"), remedy)
    })?;
    Ok(Some(good.key.text().into()))
}

fn name(file: &Path) -> String {
    piece(file.file_name().unwrap_or_default().display()).to_string()
}

fn listed(keys: &[TrustedKey]) -> String {
    keys.iter().map(|key| key.id.to_string()).collect::<Vec<_>>().join(", ")
}
