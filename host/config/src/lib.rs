//! The configuration: what `postern.toml` and the rule files may say, and the reader that finds every mistake in them.
//!
//! A [`ConfigSource`] says a configuration, in whatever words; [`PosternToml`] is the one of `postern.toml`. A [`Config`] is what it says,
//! checked. Files are opened as [`Trust`] has it, and what is being read can be seen in an [`Activity`]. This crate compiles no module,
//! opens no door, and changes nothing.

// Where a configuration is said.
mod postern_toml;
mod source;

// What it says.
mod ceilings;
mod config;
mod door;
mod guards;
mod interfaces;
mod memory;
mod name;
mod rule_file;
mod rule_folder;
mod tenant;

// How a file is read key by key.
mod settings_places;
mod table;
mod values;

// What is opened, by whom it may have been written, and what is waited for.
mod activity;
mod files;
pub mod machine;
mod trust;

pub use activity::{Activity, Doing};
pub use config::{Config, Reading};
pub use door::{Door, DoorKind};
pub use files::{NOT_REGULAR, UNANSWERED, read_regular};
pub use postern_toml::{PosternToml, config_identity};
pub use rule_file::{OneTime, RuleFile};
pub use source::ConfigSource;
pub use tenant::Tenant;
pub use trust::{Distrust, OpenError, Trust};

pub use postern_text::{Mistake, Mistakes};
