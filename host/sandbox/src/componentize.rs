//! Componentize: turns a plain core module into a component of our world, or says what is wrong with it.
//!
//! Rules in Go, Zig, C or AssemblyScript are core modules: their authors need no extra tool, because the world is
//! described here for them. A language runtime that insists on WASI gets one without any authority.

use std::borrow::Cow;

use postern_text::chain;
use wasmparser::{ComponentTypeRef, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use crate::contract::WIT;
use crate::load_error::LoadError;
use crate::survey::ModuleForm;
use crate::{direct, features};

/// `wasi_snapshot_preview1` without authority, assembled from the text beside this file.
const WASI_NULL_ADAPTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wasi_null_adapter.wasm"));
/// What it imports.
const RUNTIME_OUTPUT: &str = include_str!("runtime_output.wit");
const WASI: &str = "wasi_snapshot_preview1";
/// Global variables of one module; compilers make a few hundred at most.
const MAX_GLOBALS: u32 = 10_000;

/// What a rule must export.
const EXPORTS: [&str; 2] = ["configure", "judge"];

/// A rule's module as it can be compiled.
pub(crate) enum Form<'a> {
    /// A core module that can be called as it is.
    Direct(&'a [u8]),
    /// A component.
    Component(Cow<'a, [u8]>),
}

/// The rule in `bytes`; a core module has been checked as the component that it would be.
pub(crate) fn componentize(bytes: &[u8]) -> Result<Form<'_>, LoadError> {
    match ModuleForm::of(bytes)? {
        ModuleForm::Component => inspect_component(bytes).map(|()| Form::Component(bytes.into())),
        ModuleForm::Core => encode(bytes),
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

/// Inspects a component as [`inspect`] does a module, before the compiler spends a minute on it.
fn inspect_component(component: &[u8]) -> Result<(), LoadError> {
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

fn encode(module: &[u8]) -> Result<Form<'_>, LoadError> {
    let Encoded { component, resolve, world } = encode_component(module)?;
    if direct::fits(module, &component, &resolve, world) {
        return Ok(Form::Direct(module));
    }
    Ok(Form::Component(component.into()))
}

/// A component, and the world that it should be of.
pub(crate) struct Encoded {
    pub(crate) component: Vec<u8>,
    pub(crate) resolve: Resolve,
    pub(crate) world: WorldId,
}

/// The component that a core module makes.
pub(crate) fn encode_component(module: &[u8]) -> Result<Encoded, LoadError> {
    let found = inspect(module)?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str("rule.wit", WIT).map_err(internal)?;
    let world = resolve.select_world(&[package], Some("rule")).map_err(internal)?;
    let mut module = Cow::Borrowed(module);
    if !found.describes_its_world {
        embed_component_metadata(module.to_mut(), &resolve, world, StringEncoding::UTF8).map_err(internal)?;
    }
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.adapter(WASI, &wasi_null_adapter()?))
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| {
            features::explain(&module).map_or_else(|| LoadError::World(encoder_says(&error)), LoadError::from)
        })?;
    Ok(Encoded { component, resolve, world })
}

/// The WASI without power, which says itself what it imports.
fn wasi_null_adapter() -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("runtime_output.wit", RUNTIME_OUTPUT)?;
    let world = resolve.select_world(&[package], Some("runtime"))?;
    let mut adapter = WASI_NULL_ADAPTER.to_vec();
    embed_component_metadata(&mut adapter, &resolve, world, StringEncoding::UTF8)?;
    Ok(adapter)
}

struct Found {
    describes_its_world: bool,
}

/// Looks for common mistakes, to name them better than the encoder can.
fn inspect(module: &[u8]) -> Result<Found, LoadError> {
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

fn invalid(error: wasmparser::BinaryReaderError) -> LoadError {
    LoadError::Invalid(error.to_string())
}

fn internal(error: anyhow::Error) -> LoadError {
    LoadError::World(encoder_says(&error))
}

/// The whole chain of an error from the encoder.
fn encoder_says(error: &anyhow::Error) -> String {
    let text = chain(&**error).to_string();
    let prefix = "failed to decode world from module: module was not valid: ";
    text.strip_prefix(prefix).unwrap_or(&text).to_owned()
}
