//! What an engine is answered about a module: its code, or why there is none.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;

use postern_sandbox::{Artifact, ArtifactCode, LoadError, ModuleDigest};
use rustix::fs::{MemfdFlags, memfd_create};

use super::reading_messages::ModuleAnswer;

impl From<LoadError> for ModuleAnswer {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Read(error) => match error.raw_os_error() {
                Some(number) => Self::Os(number),
                None => Self::Unfit(format!("cannot be read: {error}")),
            },
            LoadError::File(what) => Self::Unfit(what),
            LoadError::Distrusted { path, what } => Self::Distrusted { path, what },
            LoadError::Overtaken => Self::Overtaken,
            LoadError::Compiling => Self::Compiling,
            other => Self::Refused { what: other.to_string(), remedy: other.remedy() },
        }
    }
}

/// The code of a module, and a descriptor of it.
pub(super) fn with_code(
    digest: ModuleDigest,
    Artifact { kind, code }: Artifact,
) -> Result<(ModuleAnswer, Option<OwnedFd>), LoadError> {
    let file = match code {
        ArtifactCode::File(file) => file.into(),
        ArtifactCode::Bytes(bytes) => in_memory(&bytes).map_err(LoadError::Read)?,
    };
    Ok((ModuleAnswer::Code { digest, kind: kind.number() }, Some(file)))
}

/// A descriptor of these bytes.
fn in_memory(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("module", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
