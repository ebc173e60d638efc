//! Modules to test with.

use std::path::{Path, PathBuf};

pub(crate) use postern_tests::guest::{guest, judging};
use postern_tests::tool;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The name that this compiler of LLVM has here; the test is skipped where there is none.
pub(crate) fn clang(name: &str) -> Option<String> {
    let versions = (14..30).rev().map(|version| format!("{name}-{version}"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_here = |name: &String| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    std::iter::once(name.to_owned())
        .chain(versions)
        .find(is_here)
        .or_else(|| tool(name).map(|_| name.to_owned()))
}

/// The component that a core module makes: the host calls it another way.
pub(crate) fn component(module: &[u8]) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(root().join("guest-sdk/wit")).unwrap();
    let world = resolve.select_world(&[package], Some("rule")).unwrap();
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}
