//! Deserialize: compiled code becomes a module of this process. The one place for `unsafe` in the daemon.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd as _;

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::compiler::ArtifactCode;

/// The core module whose code this is.
pub(crate) fn module(engine: &Engine, code: &ArtifactCode) -> wasmtime::Result<Module> {
    match code {
        ArtifactCode::File(file) => mapped_module(engine, file).or_else(|error| {
            // Where such a file cannot be mapped its bytes can be copied.
            bytes_of(file).map_or(Err(error), |bytes| copied_module(engine, &bytes))
        }),
        ArtifactCode::Bytes(bytes) => copied_module(engine, bytes),
    }
}

/// The component whose code this is.
pub(crate) fn component(engine: &Engine, code: &ArtifactCode) -> wasmtime::Result<Component> {
    match code {
        ArtifactCode::File(file) => mapped_component(engine, file)
            .or_else(|error| bytes_of(file).map_or(Err(error), |bytes| copied_component(engine, &bytes))),
        ArtifactCode::Bytes(bytes) => copied_component(engine, bytes),
    }
}

fn bytes_of(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[allow(unsafe_code, reason = "nothing safe loads compiled code; see the comments")]
fn mapped_module(engine: &Engine, file: &File) -> wasmtime::Result<Module> {
    let file = file.try_clone()?;
    // SAFETY: what is run must be what wasmtime compiled, and must not change while it is mapped. An `ArtifactCode` is what `Compiler`
    // made, in a process of its own for one module. It comes here by two ways. Either in a sealed memory file, which nobody can write. Or
    // in a file of the compile cache: posternd's supervisor alone writes there (`postern_code`), root or the user that it runs as, and no
    // other user may write the folder or the file, which is checked each time, as is a checksum once in a process. It gets its name when
    // it is whole, is never written again, and goes by being unlinked, which does not touch what is mapped. A module that takes its own
    // compiler over gets hostile code for itself, but for no other module: see the threat model.
    unsafe { Module::deserialize_open_file(engine, file) }
}

#[allow(unsafe_code, reason = "nothing safe loads compiled code; see the comments")]
fn mapped_component(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    // Wasmtime opens components by name alone; this name is the open file's, whatever became of its own.
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: as for `mapped_module`.
    unsafe { Component::deserialize_file(engine, name) }
}

#[allow(unsafe_code, reason = "nothing safe loads compiled code; see the comments")]
fn copied_module(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Module> {
    // SAFETY: as for `mapped_module`; the bytes are copied.
    unsafe { Module::deserialize(engine, bytes) }
}

#[allow(unsafe_code, reason = "nothing safe loads compiled code; see the comments")]
fn copied_component(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: as for `mapped_module`; the bytes are copied.
    unsafe { Component::deserialize(engine, bytes) }
}
