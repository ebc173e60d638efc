//! Run: what `knockd` does from its command line to its exit status.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use postern_core::KNOCKD_DAEMON_VAR;
use postern_text::panic::PastPanic;
use postern_text::terminal;

use crate::background::{self, LauncherLink};
use crate::conf::{self, Conf};
use crate::daemon::Daemon;
use crate::known_conf::KnownConf;
use crate::log::{Channels, KnockdMessage, Terminal, system_text};
use crate::options::{self, Options, Parsed};
use crate::pid_file::{self, NotWritten, PidFile};
use crate::reports::KnockdLog;
use crate::source::KnockdSource;

/// The interface that knockd listens on by default.
const DEFAULT_INTERFACE: &str = "eth0";
/// Mistakes that are shown one by one; of more, only the number is.
const MOST_MISTAKES: usize = 100;
/// Most broken lines of one-time files that are reported at the start.
const MOST_BROKEN: usize = 16;

/// Runs as knockd with these arguments, the program's name left out; `D` runs the configuration.
#[must_use]
pub fn run<D: Daemon>(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.collect();
    let options = match options::parse(args.iter().cloned()) {
        Parsed::Run(options) => options,
        Parsed::Exit { stdout, stderr, status } => {
            if let Some(complaint) = stderr.strip_suffix('\n') {
                complain(complaint);
            }
            print(&stdout);
            return ExitCode::from(status);
        }
    };
    let is_launched = options.daemon && background::is_daemon();
    let terminal = if is_launched {
        background::borrow().map_err(|error| {
            format!("{KNOCKD_DAEMON_VAR} is set, but nobody launched this daemon ({error}); unset it")
        })
    } else {
        Terminal::own().map_err(|error| system_text(&error))
    };
    let terminal = match terminal {
        Ok(terminal) => terminal,
        Err(why) => {
            complain(format_args!("knockd: {why}"));
            return ExitCode::from(1);
        }
    };
    // A conversion prints nothing but its result on standard output.
    let is_conversion = options.convert;
    let (source, conf) = match KnockdSource::open(options) {
        Ok(opened) => opened,
        Err(mistakes) => {
            mistakes.iter().take(MOST_MISTAKES).for_each(|mistake| terminal.tell(mistake));
            if let more @ 1.. = mistakes.len().saturating_sub(MOST_MISTAKES) {
                terminal.tell(format_args!("and {more} more"));
            }
            if is_conversion {
                terminal.tell("knockd: nothing is printed");
            } else {
                // If the stream is closed, the usage is not wanted.
                let _ = terminal.print(&options::usage());
            }
            return ExitCode::from(1);
        }
    };
    if source.options.convert {
        return source.convert(&conf, &terminal, D::check_rules);
    }
    if source.options.daemon && !is_launched {
        return source.launch(&conf, &args);
    }
    source.run::<D>(&conf, terminal, is_launched.then(LauncherLink::of_daemon))
}

impl KnockdSource {
    /// Reads the configuration for the first time; a line for each mistake if there are any.
    pub(crate) fn open(options: Options) -> Result<(Self, Conf), Vec<String>> {
        let file = options.config.clone();
        let text = fs::read(&file).map_err(|error| {
            vec![format!("could not open configuration file '{}': {}", file.display(), system_text(&error))]
        })?;
        let (conf, mistakes) = Conf::parse(&file, &text);
        let mistakes: Vec<_> = mistakes.into_iter().chain(conf::one_time::check(&file, &conf)).collect();
        if !mistakes.is_empty() {
            if conf.use_syslog {
                let mut channels = Channels::new(None, false, false);
                channels.use_syslog();
                mistakes
                    .iter()
                    .filter_map(conf::ConfMistake::for_log)
                    .for_each(|message| channels.log_only(&message));
            }
            return Err(mistakes.iter().map(ToString::to_string).collect());
        }
        let interface = options.interface.clone().or_else(|| conf.interface.clone());
        let interface = interface.unwrap_or_else(|| DEFAULT_INTERFACE.to_owned());
        // As a daemon it will be in another folder when it reads again.
        let folder = env::current_dir().unwrap_or_default();
        let known_conf = Arc::new(KnownConf::new(folder.join(file), folder));
        let source = Self { options: Arc::new(options), interface, known_conf };
        let (_, mistakes) = source.read_conf(&());
        if !mistakes.is_empty() {
            return Err(mistakes.iter().map(ToString::to_string).collect());
        }
        Ok((source, conf))
    }

    /// Starts the daemon that stays, unless one with the same pidfile runs.
    fn launch(&self, conf: &Conf, args: &[OsString]) -> ExitCode {
        let path = self.pid_file(conf);
        let why = match pid_file::holder(&path) {
            Some(pid) => format!(
                "{} is the pidfile of process {pid}, which runs; stop that, or name another with -p or PidFile",
                path.display()
            ),
            None => match background::launch(args) {
                Ok(status) => return status,
                Err(error) => format!("could not become a daemon: {}", system_text(&error)),
            },
        };
        complain(format_args!("knockd: {why}"));
        ExitCode::from(1)
    }

    /// Runs; in the background as soon as every interface has been tried, if there is a link to a launcher.
    fn run<D: Daemon>(self, conf: &Conf, terminal: Terminal, link: Option<LauncherLink>) -> ExitCode {
        let mut channels = Channels::new(Some(terminal), self.options.verbose, self.options.debug);
        if conf.use_syslog {
            channels.use_syslog();
        }
        if let Some(path) = self.known_conf.log_file() {
            channels.reopen(&path);
        }
        conf.echo.iter().for_each(|line| channels.debug(line));
        for (door, error) in conf::one_time::broken(conf, MOST_BROKEN) {
            channels.say(&KnockdMessage::BadSequence { door, error });
        }
        // Before the pidfile is there, and with it a process to send signals to.
        let daemon = D::start();
        let pid_file = match link.as_ref().map(|_| self.become_daemon(conf)).transpose() {
            Ok(pid_file) => pid_file,
            Err((path, NotWritten::Held)) => {
                let path = path.display();
                let text = format!("{path} is the pidfile of another daemon, which started at the same time");
                channels.say(&KnockdMessage::Ours { text });
                return ExitCode::from(1);
            }
            Err((path, NotWritten::Failed(error))) => {
                channels.say(&KnockdMessage::NoPidFile { path, why: system_text(&error) });
                None
            }
        };
        let channels = Arc::new(Mutex::new(channels));
        let (options, interface) = (Arc::clone(&self.options), self.interface.clone());
        let known_conf = Arc::clone(&self.known_conf);
        let log = KnockdLog::new(Arc::clone(&channels), options.lookup, known_conf, interface, D::words);
        let leave = log.leave_terminal();
        let tried = {
            let channels = Arc::clone(&channels);
            Box::new(move || {
                let Some(link) = link else { return true };
                leave();
                let is_wanted = link.release();
                if !is_wanted {
                    let text = "ending, since who started it was stopped meanwhile".to_owned();
                    channels.lock().past_panic().say(&KnockdMessage::Ours { text });
                }
                is_wanted
            })
        };
        let ended = match daemon {
            Ok(daemon) => daemon.run(Arc::new(self), Box::new(log), tried),
            Err(error) => Err(error.to_string()),
        };
        if let Some(pid_file) = pid_file {
            pid_file.remove();
        }
        match ended {
            // The signal's number is the exit status, as knockd has it.
            Ok(Some(signal)) => ExitCode::from(u8::try_from(signal).unwrap_or(0)),
            Ok(None) => ExitCode::from(1),
            Err(text) => {
                channels.lock().past_panic().say(&KnockdMessage::Ours { text });
                ExitCode::from(1)
            }
        }
    }

    /// With `-d`, in the process that stays: a session of its own, the root folder, and the pidfile.
    fn become_daemon(&self, conf: &Conf) -> Result<PidFile, (PathBuf, NotWritten)> {
        background::detach();
        let path = self.pid_file(conf);
        PidFile::write(path.clone()).map_err(|why| (path, why))
    }

    /// Where the pidfile is; a daemon is in the root folder.
    fn pid_file(&self, conf: &Conf) -> PathBuf {
        Path::new("/").join(conf.pid_file.as_ref().unwrap_or(&self.options.pidfile))
    }
}

/// Says a line on standard error. If that is gone the line is lost.
fn complain(line: impl Display) {
    drop(terminal::err(line));
}

/// Says lines of our own on standard output.
fn print(text: &str) {
    text.lines().for_each(|line| drop(terminal::out(line)));
}
