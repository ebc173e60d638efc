//! The state folder: files that outlive the daemon and are its own alone, and the databases in them.
//!
//! The content of these files is run with the daemon's rights, or decides who gets in, so no other user may write, read or lock them: the folder
//! has mode 0700 and its files 0600, whatever the umask is. A file is locked as long as this process uses it.
//!
//! This crate knows nothing of Postern, writes no log, and never removes or renames a file unless its caller says so.

mod database;
mod folder;
mod take;

pub use database::{StateFile, is_damage};
pub use folder::{StateError, StateFolder};
pub use take::{Taken, take};
