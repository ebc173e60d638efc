//! The engine in a world that loses, delays and breaks things, with seeded chance: what must hold is looked at after every step.
//!
//! A case is a list of operations, made by proptest and shrunk by it when one fails. `POSTERN_SIMULATION_CASES` runs so many cases and
//! `POSTERN_SIMULATION_SEED` others; without them it is the same cases in every run.

mod claims;
mod commands;
mod configuration;
mod filter;
mod grants;
mod operation;
mod world;

use std::env;
use std::fmt::Debug;
use std::str::FromStr;

use proptest::collection::vec;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use operation::operation;
use world::World;

/// Cases of an ordinary run: some seconds without optimisation.
const CASES: u32 = 4000;
/// Operations of the longest case.
const LONGEST: usize = 120;

fn variable<T: FromStr<Err: Debug>>(name: &str, default: T) -> T {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error:?}")))
}

#[test]
fn whatever_happens_only_what_was_granted_is_open_and_it_is_closed_again() {
    let seed: u64 = variable("POSTERN_SIMULATION_SEED", 1);
    let cases = variable("POSTERN_SIMULATION_CASES", CASES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let result = runner.run(&vec(operation(), 1..LONGEST), |operations| {
        let mut world = World::new();
        for operation in operations {
            world.perform(operation);
        }
        world.calm_down();
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("POSTERN_SIMULATION_SEED={seed}: {reason}"),
        Err(TestError::Fail(reason, operations)) => {
            let operations: String =
                operations.iter().map(|operation| format!("\n    {operation:?}")).collect();
            panic!("POSTERN_SIMULATION_SEED={seed}: {reason}; the shortest way to it:{operations}");
        }
    }
}
