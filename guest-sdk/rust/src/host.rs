//! What a rule may ask of the host: to write a log line. Natively the lines go to stderr.

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A person must act.
    Error,
    /// Something works less well than it should.
    Warn,
    /// A change of state.
    Info,
    /// For the rule's author.
    Debug,
}

/// Writes a line to the daemon's log, tagged with the rule. Cut to 400 characters; beyond a few lines a second the others are
/// counted and dropped. More than 64 lines, or 65536 bytes of text, in one call of the rule are a fault. Never log payload bytes or secrets.
/// The macros [`error!`](crate::error), [`warn!`](crate::warn), [`info!`](crate::info) and [`debug!`](crate::debug) format.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bridge::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Logs at [`Level::Error`], with the arguments of [`format!`].
#[macro_export]
macro_rules! error {
    ($($argument:tt)+) => { $crate::log($crate::Level::Error, &::std::format!($($argument)+)) };
}

/// Logs at [`Level::Warn`], with the arguments of [`format!`].
#[macro_export]
macro_rules! warn {
    ($($argument:tt)+) => { $crate::log($crate::Level::Warn, &::std::format!($($argument)+)) };
}

/// Logs at [`Level::Info`], with the arguments of [`format!`].
#[macro_export]
macro_rules! info {
    ($($argument:tt)+) => { $crate::log($crate::Level::Info, &::std::format!($($argument)+)) };
}

/// Logs at [`Level::Debug`], with the arguments of [`format!`].
#[macro_export]
macro_rules! debug {
    ($($argument:tt)+) => { $crate::log($crate::Level::Debug, &::std::format!($($argument)+)) };
}
