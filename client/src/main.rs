//! postern: arguments, run, exit code.

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use postern::cli::{Cli, Command};
use postern::cmd;
use postern::exit::Exit;
use postern_text::{panic, terminal};

fn main() -> Exit {
    panic::say_cleanly("postern");
    CompleteEnv::with_factory(Cli::command).complete();
    let done = match Cli::parse().command {
        Command::Knock(args) => cmd::knock::run(&args),
        Command::Profiles(args) => cmd::profiles::run(&args),
    };
    match done {
        Ok(()) => Exit::Success,
        Err(failure) => {
            // If standard error is gone nobody can be told; the exit code still says it.
            failure.lines().iter().for_each(|line| drop(terminal::err(line)));
            failure.exit
        }
    }
}
