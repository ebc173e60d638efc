//! Componentize: turns a plain core module into a component of our world, or says what is wrong with it.
//!
//! Rules in Go, Zig, C or AssemblyScript are core modules: their authors need no extra tool, because the world is
//! described here for them. A language runtime that insists on WASI gets one without any authority.

use std::borrow::Cow;

use postern_text::chain;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use crate::contract::WIT;
use crate::direct;
use crate::inspect::{inspect_component, inspect_core};
use crate::load_error::LoadError;
use crate::survey::ModuleForm;
use crate::wasi_null::{self, WASI};

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
        ModuleForm::Component => {
            inspect_component(bytes)?;
            Ok(Form::Component(bytes.into()))
        }
        ModuleForm::Core => encode(bytes),
    }
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
    let found = inspect_core(module)?;
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
        .and_then(|encoder| encoder.adapter(WASI, &wasi_null::adapter()?))
        .and_then(|mut encoder| encoder.encode())
        .map_err(internal)?;
    Ok(Encoded { component, resolve, world })
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
