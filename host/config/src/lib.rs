//! The configuration: what `postern.toml` and the rule files may say, and the reader that finds every mistake in them.
//!
//! A [`ConfigSource`] reads a configuration, in its own format; [`PosternToml`] is that of `postern.toml`. A [`Config`] is the checked
//! result. [`Trust`] says which owners' files are accepted, and an [`Activity`] shows what is being read. This crate compiles no module,
//! opens no door, and changes nothing.

// Where a configuration is said.
mod account;
mod advice;
mod postern_toml;
mod rules_source;
mod source;
mod tenant_source;

// What it says.
mod ceilings;
mod config;
mod control_settings;
mod door;
mod grant_file;
mod guards;
mod hook;
mod interfaces;
mod memory;
mod metrics_settings;
pub mod mistake_list;
mod name;
mod process_user;
mod programs;
mod rule_doors;
mod rule_file;
mod rule_folder;
mod rule_head;
mod sandbox_settings;
mod start_settings;
mod tenant;
mod tenant_user;

// How a file is read key by key.
mod settings_places;
mod table;
mod values;

// Which files are opened, which users may have written them, and what is waited for.
mod activity;
mod files;
mod folder_bounds;
mod folder_files;
pub mod machine;
mod module_signature;
mod tenant_files;
mod trust;
mod unread;

pub use activity::{Activity, Doing};
pub use advice::Advice;
pub use config::{Config, ConfigReading, first_of};
pub use control_settings::ControlSocket;
pub use door::{Door, DoorKind};
pub use files::{NOT_REGULAR, UNANSWERED, is_rule_file, read_regular};
pub use folder_bounds::FolderBounds;
pub use folder_files::FolderFiles;
pub use grant_file::GrantFile;
pub use hook::Hook;
pub use metrics_settings::MetricsListen;
pub use module_signature::{
    BadSignature, GoodSignature, KeyId, MOST_SIGNATURE, NoKey, TrustedKey, signature_file, verify,
};
pub use name::{NotARule, NotATenant, rule_named, tenant_named};
pub use postern_toml::{PosternToml, config_identity};
pub use process_user::ProcessUser;
pub use programs::ProgramAdvice;
pub use rule_file::{LostDoor, OneTime, RuleFile};
pub use rule_head::{RuleHead, RuleHeadKeys};
pub use rules_source::RulesSource;
pub use sandbox_settings::SandboxSettings;
pub use source::ConfigSource;
pub use start_settings::StartSettings;
pub use tenant::{GrantedInterfaces, Tenant, TenantCeilings, TenantGrant};
pub use tenant_files::{FileBeside, NoFiles, OwnFiles, RuleText, TenantFiles, TenantFolder};
pub use tenant_source::TenantSource;
pub use tenant_user::TenantUser;
pub use trust::{Distrust, OpenError, Trust};
pub use unread::Unread;
pub use values::show_size;

pub use postern_text::{Mistake, Mistakes};
