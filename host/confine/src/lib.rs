//! What a process gives up before it looks at anything that comes from outside: user, capabilities, files, system calls.
//!
//! A [`Confinement`] says what a process keeps; [`Confinement::apply`] takes everything else away in the one order that works, then
//! tries what must fail now, and returns what holds and what does not as [`Held`].
//!
//! **Everything here acts on the calling thread, and is inherited by threads that it starts later.** So it is applied before a second
//! thread exists, which is before an asynchronous runtime is built; [`Confinement::apply`] counts the threads and refuses otherwise.
//!
//! ```no_run
//! use postern_confine::{Account, Confinement, Files, SystemCalls};
//!
//! let confinement = Confinement {
//!     account: Account { uid: 65_534, gid: 65_534 },
//!     files: Files::beneath(["/var/cache/postern"])?,
//!     system_calls: Some(SystemCalls::Engine),
//!     ..Confinement::default()
//! };
//! for missing in confinement.apply()?.missing() {
//!     println!("{missing}"); // Landlock: this kernel has none
//! }
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here knows Postern: it is given numbers, descriptors and the name of a list.

mod account;
mod apply;
mod capabilities;
mod confinement;
mod held;
mod landlock_domain;
mod limits;
mod proof;
mod status;
mod system_calls;

pub use account::Account;
pub use apply::ConfinementError;
pub use confinement::{Capabilities, Confinement, Files};
pub use held::{Barrier, Held, Missing};
pub use limits::Limits;
pub use rustix::thread::CapabilitySet;
pub use system_calls::SystemCalls;
