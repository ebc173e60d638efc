//! Builds what the sandbox embeds: the stock rules, the WASI without power, the watchdog's rule, and what tells this compiler from every
//! other.

use std::error::Error;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    for name in ["wasi_null_adapter", "probe"] {
        let source = Path::new("src").join(name).with_extension("wat");
        fs::write(out_dir.join(name).with_extension("wasm"), wat::parse_file(&source)?)?;
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let sequence = postern_sdk_build::build_rule_for_build_script("postern-rule-sequence")?;
    println!("cargo::rustc-env=POSTERN_RULE_SEQUENCE={}", sequence.display());
    println!("cargo::rustc-env=POSTERN_COMPILER_SOURCE={:016x}", hash_of_sources()?);
    Ok(())
}

/// A hash of all that decides what becomes of a module before and after wasmtime compiles it: this crate, the contract, and the versions of
/// all dependencies. Compiled code that was kept is not used by a daemon whose hash is another.
#[allow(clippy::disallowed_methods, reason = "what the crate may not do is not meant for its build")]
fn hash_of_sources() -> Result<u64, Box<dyn Error>> {
    let mut folders = vec![PathBuf::from("src"), PathBuf::from("../../guest-sdk/wit")];
    let mut files = vec![PathBuf::from("../../Cargo.lock")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let into = if entry.file_type()?.is_dir() { &mut folders } else { &mut files };
            into.push(entry.path());
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in ["src", "../../guest-sdk/wit", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={file}");
    }
    for file in files {
        hasher.write(&fs::read(file)?);
    }
    Ok(hasher.finish())
}
