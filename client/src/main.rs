//! postern: arguments, run, exit code.

use std::io::Write;

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use postern::cli::{Cli, Command};
use postern::cmd;
use postern::exit::Exit;

fn main() -> Exit {
    CompleteEnv::with_factory(Cli::command).complete();
    let done = match Cli::parse().command {
        Command::Knock(args) => cmd::knock::run(&args),
        Command::Profiles(args) => cmd::profiles::run(&args),
    };
    match done {
        Ok(()) => Exit::Success,
        Err(failure) => {
            // If standard error is gone nobody can be told; the exit code still says it.
            drop(writeln!(std::io::stderr(), "{failure}"));
            failure.exit
        }
    }
}
