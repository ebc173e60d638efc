//! Compiled code of rules, kept on disk, so that nothing is compiled twice.
//!
//! Owns the folder of a [`CodeCache`] and the files in it: what they are called, who may read and write them, how damage is found, who wants
//! them, and which are removed when there are too many. It knows nothing of WebAssembly and never runs a compiler: code is bytes with a label.
//!
//! **Invariant:** a file is written under a name that nobody looks for, renamed when it is whole, and never written again; it goes by being
//! unlinked. So a process that has mapped one keeps what it has mapped.

mod cache;
mod error;
mod eviction;
mod folder;
mod key;
mod owners;
mod owners_file;
mod pruning;
mod trailer;
mod usage;

pub use cache::{CodeCache, Entry};
pub use error::CacheError;
pub use key::CodeKey;
pub use usage::CacheLimits;
