//! Inspect: the common mistakes that a module's imports, exports and other sections show, found before the compiler spends a minute on it.

use wasmparser::{ComponentTypeRef, Parser, Payload};

use crate::componentize::WASI;
use crate::load_error::LoadError;

/// Global variables of one module; compilers make a few hundred at most.
const MAX_GLOBALS: u32 = 10_000;

/// What a rule must export.
const EXPORTS: [&str; 2] = ["configure", "judge"];

pub(crate) struct Found {
    pub(crate) describes_its_world: bool,
}

/// Looks for common mistakes of a core module, to name them better than the encoder can.
pub(crate) fn inspect_core(module: &[u8]) -> Result<Found, LoadError> {
    let mut found = Found { describes_its_world: false };
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(invalid)? {
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import.map_err(invalid)?;
                    check_core_import(import.module, import.name)?;
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    exports.push(export.map_err(invalid)?.name.to_owned());
                }
            }
            Payload::GlobalSection(reader) => check_globals(reader.count())?,
            Payload::CustomSection(reader) if reader.name().starts_with("component-type") => {
                found.describes_its_world = true;
            }
            _ => {}
        }
    }
    let has = |name: &str| exports.iter().any(|export| export == name);
    if has("_start") && !has("_initialize") {
        return Err(LoadError::Command);
    }
    check_exports(exports, |export, wanted| {
        export == wanted || export.strip_prefix("cm32p2||") == Some(wanted)
    })?;
    Ok(found)
}

/// Inspects a component as [`inspect_core`] does a module, before the compiler spends a minute on it.
pub(crate) fn inspect_component(component: &[u8]) -> Result<(), LoadError> {
    let mut exports = Vec::new();
    // How deep within nested components and modules, whose imports are the business of the component around them.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(invalid)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(reader) if depth == 0 => {
                for import in reader {
                    let import = import.map_err(invalid)?;
                    // A world that uses a type imports its name, which gives it no authority.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        check_import(import.name.name)?;
                    }
                }
            }
            Payload::GlobalSection(reader) => check_globals(reader.count())?,
            Payload::ComponentExportSection(reader) if depth == 0 => {
                for export in reader {
                    exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    check_exports(exports, |export, wanted| export == wanted)
}

fn check_core_import(module: &str, name: &str) -> Result<(), LoadError> {
    let interface = module.strip_prefix("cm32p2|").unwrap_or(module);
    match interface {
        WASI => Ok(()),
        _ if interface.starts_with("postern:rule/") => check_import(interface),
        // The encoder knows some names of its own, `[export]`, `__main_module__`, and reports mistakes in them itself.
        _ if interface.starts_with(['[', '_', '$']) => Ok(()),
        _ => Err(LoadError::Import(format!("{module} {name}"))),
    }
}

/// Whether a component may import this instance.
fn check_import(name: &str) -> Result<(), LoadError> {
    let (package, version) = name.split_once('@').unwrap_or((name, ""));
    match package {
        "postern:rule/host" | "postern:rule/types" if is_our_version(version) => Ok(()),
        "postern:rule/host" | "postern:rule/types" => Err(wrong_version(name, version)),
        _ => Err(LoadError::Import(name.to_owned())),
    }
}

/// Each instance keeps its globals outside of its memory, where no limit of a store counts them.
fn check_globals(count: u32) -> Result<(), LoadError> {
    if count > MAX_GLOBALS { Err(LoadError::Globals { count, most: MAX_GLOBALS }) } else { Ok(()) }
}

/// Checks that everything is there that a rule must export; it may export more.
fn check_exports(mut exports: Vec<String>, is: impl Fn(&str, &str) -> bool) -> Result<(), LoadError> {
    for wanted in EXPORTS {
        if !exports.iter().any(|export| is(export, wanted)) {
            exports.truncate(12);
            let exports = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            return Err(LoadError::Export { wanted, exports });
        }
    }
    Ok(())
}

fn is_our_version(version: &str) -> bool {
    version == "0.2" || version.strip_prefix("0.2.").is_some_and(|patch| patch.parse::<u32>().is_ok())
}

fn wrong_version(name: &str, version: &str) -> LoadError {
    let version = if version.is_empty() { "no version".to_owned() } else { format!("version {version}") };
    LoadError::Version { name: name.to_owned(), version }
}

fn invalid(error: wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Invalid(error.to_string())
}
