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
    let command_line = match Cli::try_parse() {
        Ok(command_line) => command_line,
        Err(error) if error.use_stderr() => {
            terminal::err_lines(error.render());
            return Exit::Usage;
        }
        // Asked for: the help, the version.
        Err(help) => help.exit(),
    };
    let done = match command_line.command {
        Command::Knock(args) => cmd::knock::run(&args),
        Command::Profiles(args) => cmd::profiles::run(&args),
    };
    match done {
        Ok(()) => Exit::Success,
        Err(failure) => {
            // If standard error is gone, the exit code still says it.
            failure.lines().iter().for_each(|line| drop(terminal::err(line)));
            failure.exit
        }
    }
}
