//! Builds what the sandbox embeds: the stock rules, and the WASI without power.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let adapter = Path::new("src/wasi_null_adapter.wat");
    fs::write(out_dir.join("wasi_null_adapter.wasm"), wat::parse_file(adapter)?)?;
    println!("cargo::rerun-if-changed={}", adapter.display());
    let sequence = postern_sdk_build::build_rule_for_build_script("postern-rule-sequence")?;
    println!("cargo::rustc-env=POSTERN_RULE_SEQUENCE={}", sequence.display());
    Ok(())
}
