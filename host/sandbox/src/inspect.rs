//! Inspect: what is wrong with a module that its imports, its exports, other sections and the features that it uses show, found before the compiler
//! spends half a minute on it.

use std::collections::HashSet;
use std::sync::LazyLock;

use wasmparser::{BinaryReaderError, ComponentTypeRef, Import, Parser, Payload, TypeRef};

use crate::features;
use crate::load_error::LoadError;
use crate::wasi_null::{self, WASI};

/// Global variables of one module; compilers make a few hundred at most.
const MAX_GLOBALS: u32 = 10_000;

/// What a rule must export.
const EXPORTS: [&str; 2] = ["configure", "judge"];

/// Whether a core module describes its world itself.
pub(crate) struct Found {
    pub(crate) describes_its_world: bool,
}

/// What was read of a module.
#[derive(Default)]
struct Sections {
    describes_its_world: bool,
    /// It is not linked yet.
    is_object: bool,
    /// It is to be loaded beside another that has the memory.
    is_dynamic_library: bool,
    /// It imports a memory that threads share.
    shares_memory: bool,
    /// What it imports and may not.
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Inspects a core module.
///
/// # Errors
/// What is wrong with it, in words that its author understands better than the encoder's.
pub(crate) fn inspect_core(module: &[u8]) -> Result<Found, LoadError> {
    let mut found = Sections::default();
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(invalid)? {
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    found.add_import(&import.map_err(invalid)?)?;
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    found.exports.push(export.map_err(invalid)?.name.to_owned());
                }
            }
            Payload::GlobalSection(reader) => check_globals(reader.count())?,
            Payload::CustomSection(reader) => match reader.name() {
                "linking" => found.is_object = true,
                "dylink.0" | "dylink" => found.is_dynamic_library = true,
                name if name.starts_with("component-type") => found.describes_its_world = true,
                _ => {}
            },
            _ => {}
        }
    }
    // What an object or a library imports is not its author's mistake, and what it uses is none before that.
    if found.is_object {
        return Err(LoadError::Object);
    }
    if found.is_dynamic_library {
        return Err(LoadError::DynamicLibrary);
    }
    if found.shares_memory {
        features::check(module)?;
    }
    check_imports(found.imports)?;
    features::check(module)?;
    let has = |name: &str| found.exports.iter().any(|export| export == name);
    if has("_start") && !has("_initialize") {
        return Err(LoadError::Command);
    }
    check_exports(found.exports, |export, wanted| {
        export == wanted || export.strip_prefix("cm32p2||") == Some(wanted)
    })?;
    Ok(Found { describes_its_world: found.describes_its_world })
}

/// Inspects a component, as [`inspect_core`] does a module.
///
/// # Errors
/// The same.
pub(crate) fn inspect_component(component: &[u8]) -> Result<(), LoadError> {
    let mut found = Sections::default();
    // How deep within nested components and modules, whose imports are the business of the component around them.
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(invalid)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(reader) if depth == 0 => {
                for import in reader {
                    let import = import.map_err(invalid)?;
                    let name = import.name.name;
                    // A world that uses a type imports its name, which gives it no authority.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) && !is_of_contract(name)? {
                        found.imports.push(name.to_owned());
                    }
                }
            }
            Payload::GlobalSection(reader) => check_globals(reader.count())?,
            Payload::ComponentExportSection(reader) if depth == 0 => {
                for export in reader {
                    found.exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    check_imports(found.imports)?;
    features::check(component)?;
    check_exports(found.exports, |export, wanted| export == wanted)
}

impl Sections {
    /// Takes down what a core module imports, if no rule gets it.
    fn add_import(&mut self, import: &Import<'_>) -> Result<(), LoadError> {
        let Import { module, name, ty } = import;
        self.shares_memory |= matches!(ty, TypeRef::Memory(memory) if memory.shared);
        let interface = module.strip_prefix("cm32p2|").unwrap_or(module);
        let is_offered = match interface {
            WASI => has_wasi(name),
            // What an interface of the contract has is for the encoder to say.
            _ if is_of_contract(interface)? => true,
            // The encoder knows some names of its own, `[export]`, `__main_module__`, and reports mistakes in them itself.
            _ => {
                interface.starts_with(['[', '$'])
                    || interface.starts_with("_ex_")
                    || interface == "__main_module__"
            }
        };
        if !is_offered {
            self.imports.push(format!("{module} {name}"));
        }
        Ok(())
    }
}

/// Whether this is an interface that a rule may import.
///
/// # Errors
/// If it is one of another version.
fn is_of_contract(name: &str) -> Result<bool, LoadError> {
    let (package, version) = name.split_once('@').unwrap_or((name, ""));
    match package {
        "postern:rule/host" | "postern:rule/types" if is_our_version(version) => Ok(true),
        "postern:rule/host" | "postern:rule/types" => {
            Err(LoadError::Version { name: name.to_owned(), version: version.to_owned() })
        }
        _ => Ok(false),
    }
}

/// Whether this function of WASI is there, without power, for languages that cannot start without it.
fn has_wasi(function: &str) -> bool {
    static FUNCTIONS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let sections = Parser::new(0).parse_all(wasi_null::ADAPTER).map_while(Result::ok);
        let exports = sections.filter_map(|section| match section {
            Payload::ExportSection(exports) => Some(exports),
            _ => None,
        });
        exports.flatten().map_while(Result::ok).map(|export| export.name).collect()
    });
    FUNCTIONS.contains(function)
}

fn check_imports(imports: Vec<String>) -> Result<(), LoadError> {
    if imports.is_empty() { Ok(()) } else { Err(LoadError::Imports(imports)) }
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

fn invalid(error: BinaryReaderError) -> LoadError {
    LoadError::Invalid(error.to_string())
}
