//! ModuleFiles: the trait through which the caller hands in the files of modules. Nothing here opens a file.

use std::io;
use std::path::{Path, PathBuf};

/// Reads the files of modules, and is notified while one is compiled.
pub trait ModuleFiles: Sync {
    /// The bytes of a file; may never return.
    ///
    /// # Errors
    /// If it cannot or may not be read, or is longer than `most` bytes.
    fn read(&self, file: &Path, most: u64) -> Result<Vec<u8>, ReadError>;

    /// The module of this file is being compiled from now on.
    fn begin_compiling(&self, file: &Path);

    /// Called once for each [`ModuleFiles::begin_compiling`], also after a panic.
    fn end_compiling(&self, file: &Path);

    /// Whether what is loaded is of no use any more, since something newer is being loaded.
    fn is_overtaken(&self) -> bool;
}

/// Why a file was not read.
#[derive(Debug)]
pub enum ReadError {
    /// The system refused to read it.
    Io(io::Error),
    /// It is no file, or too long, or not read for another reason, which this says.
    Unfit(String),
    /// Users who are not trusted could have written it.
    Distrusted {
        /// The file, or the folder on the way to it, that they can write.
        path: PathBuf,
        /// Which users, and what to do.
        what: String,
    },
}

/// For bytes that are at hand: there are no files.
pub(crate) struct NoFiles;

impl ModuleFiles for NoFiles {
    fn read(&self, _file: &Path, _most: u64) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::Io(io::ErrorKind::NotFound.into()))
    }

    fn begin_compiling(&self, _file: &Path) {}

    fn end_compiling(&self, _file: &Path) {}

    fn is_overtaken(&self) -> bool {
        false
    }
}

/// The module of a file is being compiled as long as this lives.
pub(crate) struct Compiling<'a> {
    files: &'a dyn ModuleFiles,
    file: &'a Path,
}

impl<'a> Compiling<'a> {
    pub(crate) fn begin(files: &'a dyn ModuleFiles, file: &'a Path) -> Self {
        files.begin_compiling(file);
        Self { files, file }
    }
}

impl Drop for Compiling<'_> {
    fn drop(&mut self) {
        self.files.end_compiling(self.file);
    }
}
