//! CacheError: why code is not kept, or not found.

use std::io;
use std::path::PathBuf;

use postern_text::size;
use thiserror::Error;

/// Why code is not kept.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The folder cannot be made, opened or read.
    #[error("{} cannot be used", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's words.
        #[source]
        error: io::Error,
    },
    /// It is another user's, who could put code there that is run.
    #[error("{} belongs to user {owner}; it must belong to root or to the user that posternd runs as", folder.display())]
    Owner {
        /// The folder.
        folder: PathBuf,
        /// The number of that user.
        owner: u32,
    },
    /// Other users may write there, and could put code there that is run.
    #[error("other users may write {}; chmod go-w {}", folder.display(), folder.display())]
    Writable {
        /// The folder.
        folder: PathBuf,
    },
    /// A file cannot be written there: no room, a disk that is read-only, or a folder of root's.
    #[error("compiled code cannot be written to {}", folder.display())]
    Write {
        /// The folder.
        folder: PathBuf,
        /// The system's words.
        #[source]
        error: io::Error,
    },
    /// The code is larger than everything that may be kept.
    #[error("{} takes at most {}; this code has {}", folder.display(), size::show(*most), size::show(*length))]
    TooLarge {
        /// The folder.
        folder: PathBuf,
        /// Its bytes.
        length: u64,
        /// How many are allowed.
        most: u64,
    },
}
