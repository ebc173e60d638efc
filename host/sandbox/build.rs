//! Builds what the sandbox embeds: the stock rules, the WASI without power, and the watchdog's rule.

use std::error::Error;
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
    Ok(())
}
