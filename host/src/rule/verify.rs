//! Verify: whether a module has a signature that counts.

use std::borrow::Cow;
use std::path::Path;

use postern_config::{MOST_SIGNATURE, signature_file, verify as verify_signature};
use postern_core::show_digest;
use postern_sandbox::MAX_MODULE;
use postern_text::{piece, terminal};
use sha2::{Digest as _, Sha256};

use crate::cli::VerifyArgs;
use crate::exit::Exit;
use crate::rule::module_file::read;

/// Says whether a module has a signature that counts, as the daemon decides it, and which module it is.
///
/// # Errors
/// If standard output is closed.
pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let VerifyArgs { file, signature, keys } = args;
    let signature: Cow<'_, Path> =
        signature.as_deref().map_or_else(|| signature_file(file).into(), Cow::from);
    let (bytes, signature_bytes) = match (read(file, MAX_MODULE), read(&signature, MOST_SIGNATURE)) {
        (Ok(bytes), Ok(signature)) => (bytes, signature),
        (Err(what), _) => return no(file, &what),
        (_, Err(what)) => return no(&signature, &what),
    };
    let good = match verify_signature(&bytes, &signature_bytes, keys) {
        Ok(good) => good,
        Err(bad) => return no(file, &format!("its signature {} {bad}", piece(signature.display()))),
    };
    terminal::out(format_args!("{}: signed with the key {}", piece(file.display()), good.key.id))?;
    terminal::out(format_args!("  the signer says: {}", piece(good.comment)))?;
    terminal::out(format_args!("  SHA-256: {}", show_digest(&Sha256::digest(&bytes).into())))?;
    Ok(Exit::Success)
}

fn no(file: &Path, what: &str) -> anyhow::Result<Exit> {
    terminal::err(format_args!("{}: {what}", piece(file.display())))?;
    Ok(Exit::Mistakes)
}
