//! RuleArgs: the command lines of `posternd rule`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use postern_config::TrustedKey;
use postern_text::duration;

/// What to do with a rule or its module.
#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// Make a folder with a rule that builds and passes its test as it stands.
    New(NewArgs),
    /// Play knocks from *.scenario files to a rule's module and compare what it says; the exit code is 0 if all is as expected, 1 if
    /// something differs, 2 if a file is wrong.
    Test(TestArgs),
    /// Say what a module is: contract, producer, imports, features, interest, size, hash, signature.
    Inspect(InspectArgs),
    /// Measure how long a module takes to load, to start and to judge, and what it needs.
    Bench(BenchArgs),
    /// Say whether a module is signed with one of these keys, by whom and what it is; the exit code is 1 if it is not.
    Verify(VerifyArgs),
}

/// Which rule to begin.
#[derive(Args, Debug)]
pub struct NewArgs {
    /// The rule's name, and that of its files.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The language; `?` in its place names those that there are.
    #[arg(long, short, value_name = "LANGUAGE")]
    pub lang: String,
    /// Where to make it; NAME in the working folder if nothing is said.
    #[arg(long, short, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// The folder guest-sdk of a checkout, which the rule depends on in place of the published packages; for languages that have such.
    #[arg(long, value_name = "FOLDER")]
    pub sdk: Option<PathBuf>,
}

/// Which scenarios to play.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Scenario files, or folders with *.scenario files.
    #[arg(required = true, value_name = "FOLDER|FILE")]
    pub paths: Vec<PathBuf>,
    /// The module, in place of those that the scenarios name.
    #[arg(long, short, value_name = "FILE.wasm")]
    pub module: Option<PathBuf>,
    /// Write what came out into the scenarios.
    #[arg(long, short)]
    pub update: bool,
    /// Show only what differs.
    #[arg(long, short)]
    pub quiet: bool,
    /// Write what came out as a JUnit report as well.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// A module and how it is configured.
#[derive(Args, Debug)]
pub struct ModuleArgs {
    /// The module: a file, or the name of a stock module.
    #[arg(value_name = "MODULE")]
    pub module: PathBuf,
    /// Its settings: JSON, or a file: a rule's file, a scenario, or one of JSON. The limits that are in there hold.
    #[arg(long, short, value_name = "FILE|JSON")]
    pub settings: Option<String>,
}

/// What to look at.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// Which module.
    #[command(flatten)]
    pub module: ModuleArgs,
}

/// What to measure.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Which module.
    #[command(flatten)]
    pub module: ModuleArgs,
    /// For how long it is called.
    #[arg(long = "for", default_value = "2s", value_name = "DURATION", value_parser = duration_of_bench)]
    pub lasts: Duration,
    /// Print an object of JSON, with times in nanoseconds and sizes in bytes.
    #[arg(long)]
    pub json: bool,
}

/// Which module, and whose signature.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The module.
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// Its signature; FILE.wasm.minisig if nothing is said.
    #[arg(long, short, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// A public key that counts, as `minisign -G` prints it behind -P and `trust` in postern.toml has it; may be repeated.
    #[arg(long = "key", short, required = true, value_name = "KEY")]
    pub keys: Vec<TrustedKey>,
}

fn duration_of_bench(text: &str) -> Result<Duration, String> {
    duration::parse_within(text, Duration::from_millis(10)..=Duration::from_secs(600))
        .map_err(|error| error.to_string())
}
