//! The contract as it was when it was frozen, and modules that were built then: whatever changes here, they are loaded and say what they said.

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

#[test]
fn the_contract_is_frozen() {
    let now = declarations(include_str!("../../guest-sdk/wit/rule.wit"));
    let frozen = declarations(include_str!("../guests/golden/rule-0.2.0.wit"));
    assert!(
        now == frozen,
        "a changed type or a new export is a new version of the contract, served beside this one"
    );
}

/// What a contract declares: only its words may be bettered.
fn declarations(contract: &str) -> Vec<&str> {
    let code = contract.lines().map(|line| line.split("//").next().unwrap_or_default().trim());
    code.filter(|line| !line.is_empty()).collect()
}

fn check(module: &[u8]) {
    Stage::compile(module).perform(false, plays_all_scenarios::<Compiled>);
}
