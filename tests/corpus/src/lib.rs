//! What is fuzzed: a function for each kind of input that comes from outside, which panics if a promise about it is broken.
//!
//! Each takes any bytes. `tests/fuzz` calls them with what a fuzzer makes up; the test below with the files in `files/NAME`, which needs no
//! tools. A crash that a fuzzer finds becomes a file there. Nothing here knows how inputs are made.

mod conf;
mod decode;
mod settings;

pub use conf::knockd_conf;
pub use decode::decode;
pub use settings::{postern_toml, rule_file};

/// A function that takes any bytes, and panics if something is wrong.
pub type Target = fn(&[u8]);

/// All targets by name, which is that of the folder of files and of the fuzzer's binary.
pub const TARGETS: &[(&str, Target)] = &[
    ("decode", decode),
    ("postern_toml", postern_toml),
    ("rule_file", rule_file),
    ("knockd_conf", knockd_conf),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_corpus_is_taken() {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("files");
        for (name, target) in TARGETS {
            let inputs = fs::read_dir(files.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut count = 0;
            for input in inputs {
                let path = input.unwrap().path();
                // Seen if the target panics.
                println!("{}", path.display());
                target(&fs::read(path).unwrap());
                count += 1;
            }
            assert!(count > 1, "{name} has {count} files");
        }
    }

    #[test]
    fn every_target_has_a_fuzzer_and_every_folder_a_target() {
        let names = |folder: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
            let names = entries.map(|entry| entry.unwrap().path());
            names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
        };
        let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names("files"), targets);
        assert_eq!(names("../fuzz/targets"), targets);
    }
}
