//! Engine: wasmtime's settings, which whoever compiles and whoever runs what was compiled must have in common.

use std::hash::{Hash as _, Hasher};
use std::num::NonZeroUsize;

use postern_text::chain;
use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Engine};

use crate::setup_error::SetupError;

/// Guests run on our threads' stacks; see [`crate::Runtime::STACK`].
const MAX_WASM_STACK: usize = 256 << 10;

/// An engine with the settings of every compiler and every runtime.
pub(crate) fn engine() -> Result<Engine, SetupError> {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(MAX_WASM_STACK)
        .wasm_backtrace_max_frames(NonZeroUsize::new(16))
        // The same knocks give the same verdicts on every machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_simd(false)
        .wasm_memory64(false)
        // Off would make wasmtime 48 panic on a component composed of several modules, as QuickJS rules are.
        .wasm_multi_memory(true);
    Engine::new(&config).map_err(|error| SetupError::Engine(chain(&*error).to_string()))
}

/// What tells the compiler of an engine from every other whose code could not be run here, or was made by other rules: wasmtime's version
/// and settings, the processor's features, this crate's sources and the versions of all dependencies.
pub(crate) fn compiler_identity(engine: &Engine) -> [u8; 16] {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.write(env!("POSTERN_COMPILER_SOURCE").as_bytes());
    let digest: [u8; 32] = hasher.0.finalize().into();
    let mut identity = [0; 16];
    identity.copy_from_slice(&digest[..16]);
    identity
}

/// Takes what a type hashes, so that the result is the same in every process.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        digest.first_chunk().copied().map_or(0, u64::from_le_bytes)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_the_same_compiler() {
        let identity = || compiler_identity(&engine().unwrap());
        assert_eq!(identity(), identity());
        let mut other = Config::new();
        other.epoch_interruption(false);
        assert_ne!(identity(), compiler_identity(&Engine::new(&other).unwrap()));
    }
}
