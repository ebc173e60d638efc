//! The WASI without power: what language runtimes insist on, without any authority.

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// `wasi_snapshot_preview1` without authority, assembled from the text beside this file.
pub(crate) const ADAPTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wasi_null_adapter.wasm"));
/// What it imports.
const RUNTIME_OUTPUT: &str = include_str!("runtime_output.wit");
/// The name of the interface.
pub(crate) const WASI: &str = "wasi_snapshot_preview1";

/// The WASI without power, which says itself what it imports.
pub(crate) fn adapter() -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("runtime_output.wit", RUNTIME_OUTPUT)?;
    let world = resolve.select_world(&[package], Some("runtime"))?;
    let mut adapter = ADAPTER.to_vec();
    embed_component_metadata(&mut adapter, &resolve, world, StringEncoding::UTF8)?;
    Ok(adapter)
}
