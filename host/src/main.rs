//! posternd: arguments, run, exit code.

use std::path::Path;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use clap::Parser;
use postern_text::{chain, panic, terminal};
use posternd::cli::{CheckArgs, Cli, Command, RunArgs, TryArgs};
use posternd::exit::Exit;
use posternd::{as_knockd, check, doctor, observe, replay, roles, rule, run};

/// The exit code if a command cannot be executed as its account; shells have the same.
const NOT_EXECUTED: u8 = 126;

fn main() -> ExitCode {
    panic::say_cleanly("posternd");
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if let Some((user, command)) = postern_runner::role_of(std::env::args_os().skip(1)) {
        drop(terminal::err(postern_runner::become_and_execute(&user, &command)));
        return ExitCode::from(NOT_EXECUTED);
    }
    if let Some(shim) = postern_runner::ShimCommand::of(std::env::args_os().skip(1)) {
        return ExitCode::from(shim.run());
    }
    if Path::new(&name).file_name().is_some_and(|name| name == "knockd") {
        return as_knockd::run(arguments);
    }
    let command_line = match Cli::try_parse() {
        Ok(command_line) => command_line,
        Err(error) if error.use_stderr() => {
            terminal::err_lines(error.render());
            return Exit::Usage.report();
        }
        // Asked for: the help, the version.
        Err(help) => help.exit(),
    };
    let done = match command_line.command {
        Command::Role { role } => return roles::run(role),
        Command::Knockd { options } => return as_knockd::run(options.into_iter()),
        Command::Run(args) => start(&args, None),
        Command::Try(TryArgs { lasts, run }) => start(&run, Some(lasts)),
        Command::Check(CheckArgs { tenant: Some(tenant), grant, .. }) => check::check_tenant(&tenant, grant),
        Command::Check(CheckArgs { file, .. }) => check::check(&file.config, file.trust()),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Rule(command) => rule::run(&command),
        Command::Reset(reset) => check::reset(&reset.config),
    };
    let exit = done.unwrap_or_else(|error| {
        // Not through the log, which may be what failed; if standard error is gone too, the exit code still says it.
        drop(terminal::err(format_args!("posternd: {}", chain(&*error))));
        Exit::CannotRun
    });
    exit.report()
}

/// Runs the daemon, maybe to try it for so long.
fn start(args: &RunArgs, lasts: Option<Duration>) -> anyhow::Result<Exit> {
    let (log, _until_the_end) = observe::start(args.log_format, &args.log_level)?;
    run::run(&args.file.config, args.file.trust(), args.one_process, lasts, log)
}
