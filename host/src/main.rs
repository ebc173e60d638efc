//! posternd: arguments, run, exit code.

use std::io::Write;

use clap::Parser;
use posternd::cli::{Cli, Command};
use posternd::exit::Exit;
use posternd::{app, check, log};

fn main() -> Exit {
    let done = match Cli::parse().command {
        Command::Run(run) => {
            log::init(run.log_format, &run.log_level).and_then(|()| app::run(&run.file.config))
        }
        Command::Check(file) => check::check(&file.config),
        Command::Reset => check::reset(),
    };
    done.unwrap_or_else(|error| {
        // Not through the log, which may be what failed; if standard error is gone too nobody can be told.
        drop(writeln!(std::io::stderr(), "posternd: {error:#}"));
        Exit::CannotRun
    })
}
