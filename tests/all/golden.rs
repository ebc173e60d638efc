//! Modules that were built when the contract had their version: whatever changes here, they are loaded and say what they said.

use crate::examples::compiled::{Compiled, Stage};
use crate::examples::plays_all_scenarios;

#[test]
fn a_core_module_of_0_2_0() {
    check(include_bytes!("../guests/golden/knock-0.2.0.wasm"));
}

#[test]
fn a_component_of_0_2_0() {
    check(include_bytes!("../guests/golden/knock-0.2.0.component.wasm"));
}

fn check(module: &[u8]) {
    Stage::compile(module).perform(false, plays_all_scenarios::<Compiled>);
}
