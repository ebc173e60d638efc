//! postern: arguments, run, exit code.

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use postern::cli::{Cli, Command};
use postern::cmd;
#[cfg(unix)]
use postern::cmd::ask;
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
        Command::Knock(args) => cmd::knock::run(&args).map(|()| Exit::Success),
        Command::Profiles(args) => cmd::profiles::run(&args).map(|()| Exit::Success),
        #[cfg(unix)]
        Command::Status(args) => ask::status::run(&args),
        #[cfg(unix)]
        Command::Doors(args) => ask::doors::list(&args),
        #[cfg(unix)]
        Command::Rules(args) => ask::rules::run(&args),
        #[cfg(unix)]
        Command::Clients(args) => ask::clients::run(&args),
        #[cfg(unix)]
        Command::Explain(args) => ask::events::explain(&args),
        #[cfg(unix)]
        Command::Tail(args) => ask::events::tail(&args),
        #[cfg(unix)]
        Command::Open(args) => ask::doors::open(&args),
        #[cfg(unix)]
        Command::Close(args) => ask::doors::close(&args),
        #[cfg(unix)]
        Command::Reload(args) => ask::reload::reload(&args),
        #[cfg(unix)]
        Command::Confirm(args) => ask::reload::confirm(&args),
    };
    match done {
        Ok(exit) => exit,
        Err(failure) => {
            // If standard error is gone, the exit code still says it.
            failure.lines().iter().for_each(|line| drop(terminal::err(line)));
            failure.exit
        }
    }
}
