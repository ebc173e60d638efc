//! Rule: what `posternd rule` does with a module, without a daemon.

use std::borrow::Cow;
use std::path::Path;

use postern_config::{
    Activity, MOST_SIGNATURE, NOT_REGULAR, OpenError, Trust, read_regular, signature_file,
    verify as verify_signature,
};
use postern_core::show_digest;
use postern_sandbox::MAX_MODULE;
use postern_text::{piece, terminal};
use sha2::{Digest as _, Sha256};

use crate::cli::VerifyArgs;
use crate::exit::Exit;

/// Says whether a module has a signature that counts, as the daemon decides it, and which module it is.
///
/// # Errors
/// If standard output is closed.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<Exit> {
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

/// The bytes of a file, at most so many, or what is wrong with it.
fn read(file: &Path, most: u64) -> Result<Vec<u8>, String> {
    match read_regular(file, most, Trust::Anybody, &Activity::default()) {
        Ok(read) => read,
        Err(OpenError::Io(error)) => Err(format!("cannot be read: {error}")),
        Err(OpenError::NotRegular) => Err(NOT_REGULAR.to_owned()),
        Err(OpenError::Distrust(distrust)) => Err(distrust.what),
        Err(OpenError::Unanswered) => Err("is not read".to_owned()),
    }
}
