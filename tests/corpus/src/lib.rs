//! What is fuzzed: a function for each kind of input that comes from outside, which panics if a promise about it is broken.
//!
//! Each takes any bytes. `tests/fuzz` calls them with what a fuzzer makes up; the test below with the files in `files/NAME`, which needs no
//! tools. A crash that a fuzzer finds becomes a file there. Nothing here knows how inputs are made.

mod conf;
mod decode;
mod link;
#[cfg(feature = "modules")]
mod modules;
mod settings;

pub use conf::knockd_conf;
pub use decode::decode;
pub use link::link;
#[cfg(feature = "modules")]
pub use modules::{direct, module};
pub use settings::{postern_toml, rule_file};

/// A function that takes any bytes, and panics if something is wrong.
pub type Target = fn(&[u8]);

/// All targets by name, which is that of the folder of files and of the fuzzer's binary.
pub const TARGETS: &[(&str, Target)] = &[
    ("decode", decode),
    ("postern_toml", postern_toml),
    ("rule_file", rule_file),
    ("knockd_conf", knockd_conf),
    ("link", link),
    #[cfg(feature = "modules")]
    ("module", module),
    #[cfg(feature = "modules")]
    ("direct", direct),
];

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};
    use std::{env, fs};

    use postern_tests::Random;

    use super::*;

    /// Most bytes of an input that is made up.
    const LONGEST: usize = 8192;

    fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("files").join(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// One of the inputs, with a few changes.
    fn made_up(inputs: &[(PathBuf, Vec<u8>)], random: &mut Random) -> Vec<u8> {
        let mut input = inputs[random.below(inputs.len())].1.clone();
        for _ in 0..=random.below(6) {
            let at = random.below(input.len() + 1);
            let end = at + random.below(input.len() - at + 1).min(64);
            match random.below(6) {
                0 if at < input.len() => input[at] = random.byte(),
                1 if at < input.len() => input[at] ^= 1 << random.below(8),
                2 => drop(input.drain(at..end)),
                3 => {
                    let part = input[at..end].to_vec();
                    input.splice(at..at, part);
                }
                4 => {
                    let other = &inputs[random.below(inputs.len())].1;
                    let from = random.below(other.len() + 1);
                    input.splice(at..end, other[from..].iter().copied().take(64));
                }
                _ => {
                    let odd: [&[u8]; 6] = [
                        &[0],
                        &[0xff; 4],
                        &[0, 0, 0, 0x80],
                        b"\n",
                        "\u{202e}".as_bytes(),
                        b"99999999999999999999",
                    ];
                    input.splice(at..at, odd[random.below(odd.len())].iter().copied());
                }
            }
        }
        input.truncate(LONGEST);
        input
    }

    /// What a fuzzer does, without knowing what it reaches. `POSTERN_FUZZ_SECONDS` does it for so long with each target.
    #[test]
    fn what_is_nearly_a_file_of_the_corpus_is_taken() {
        let seconds = env::var("POSTERN_FUZZ_SECONDS").map(|text| Duration::from_secs(text.parse().unwrap()));
        for (name, target) in TARGETS {
            let (inputs, mut random, begun) = (inputs(name), Random::new(4711), Instant::now());
            let mut count = 0_u64;
            while seconds.as_ref().map_or(count < 300, |seconds| begun.elapsed() < *seconds) {
                let input = made_up(&inputs, &mut random);
                let done = std::panic::catch_unwind(|| target(&input));
                assert!(done.is_ok(), "{name}: {:?}", String::from_utf8_lossy(&input));
                count += 1;
            }
            println!("{name}: {count} inputs");
        }
    }

    #[test]
    fn every_file_of_the_corpus_is_taken() {
        for (name, target) in TARGETS {
            let inputs = inputs(name);
            assert!(inputs.len() > 1, "{name} has {} files", inputs.len());
            for (path, input) in inputs {
                // Seen if the target panics.
                println!("{}", path.display());
                target(&input);
            }
        }
    }

    #[cfg(feature = "modules")]
    #[test]
    fn every_target_has_a_fuzzer_and_every_folder_a_target() {
        use std::collections::BTreeSet;

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
