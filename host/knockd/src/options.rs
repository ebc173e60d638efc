//! Options: knockd's command line, read as GNU getopt_long reads it.
//!
//! It prints nothing and touches no file: what there is to print comes back with the exit status. The variable
//! `POSIXLY_CORRECT` is not honoured: options may always follow operands.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What a knockd user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `-i`, at most 31 bytes; wins over the file's `Interface`. An empty one counts as not given.
    pub(crate) interface: Option<String>,
    /// `-d`: become a daemon and write the pidfile.
    pub(crate) daemon: bool,
    /// `-c`.
    pub(crate) config: PathBuf,
    /// `-D`: debug lines on standard output. Does not imply `verbose`.
    pub(crate) debug: bool,
    /// `-l`: look up the name of a source for the log.
    pub(crate) lookup: bool,
    /// `-p`; the file's `PidFile` overrides it.
    pub(crate) pidfile: PathBuf,
    /// `-g`; the file's `LogFile` overrides it. An empty one counts as not given.
    pub(crate) logfile: Option<PathBuf>,
    /// `-v`: status lines on standard output.
    pub(crate) verbose: bool,
    /// `-4`: take no IPv6 address of the interface.
    pub(crate) only_ipv4: bool,
    /// `-s`: accepted, without effect: nothing is kept that it could free.
    pub(crate) save_mem: bool,
    /// `--convert`, ours: print Postern's configuration and end.
    pub(crate) convert: bool,
    /// `--control-socket`, ours: answer `postern status` and the like there. Without it nobody can ask.
    pub(crate) control_socket: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interface: None,
            daemon: false,
            config: PathBuf::from("/etc/knockd.conf"),
            debug: false,
            lookup: false,
            pidfile: PathBuf::from("/var/run/knockd.pid"),
            logfile: None,
            verbose: false,
            only_ipv4: false,
            save_mem: false,
            convert: false,
            control_socket: None,
        }
    }
}

/// What follows from a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Run, or convert.
    Run(Options),
    /// Print and end; knockd ends with 0 even after an unknown option.
    Exit {
        /// For standard output, with its line feeds.
        stdout: String,
        /// For standard error, with its line feeds.
        stderr: String,
        /// The exit status.
        status: u8,
    },
}

/// Reads the arguments, which come without the program's name.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Parsed {
    match read(args) {
        Ok(options) => Parsed::Run(options),
        Err(Stop::Version) => Parsed::Exit { stdout: version(), stderr: String::new(), status: 0 },
        Err(Stop::Help) => Parsed::Exit { stdout: usage(), stderr: String::new(), status: 0 },
        Err(Stop::Wrong(said)) => {
            Parsed::Exit { stdout: usage(), stderr: format!("knockd: {said}\n"), status: 0 }
        }
    }
}

/// The usage text, which knockd also prints after a configuration that it could not read.
pub(crate) fn usage() -> String {
    let mut text = String::from("usage: knockd [options]\n\n");
    for flag in FLAGS {
        let short = flag.short.map_or_else(|| "    ".to_owned(), |short| format!("-{}, ", char::from(short)));
        let long = match flag.argument {
            Some(argument) => format!("--{} <{argument}>", flag.long),
            None => format!("--{}", flag.long),
        };
        text.push_str(&format!("  {short}{long:<20}  {}\n", flag.help));
    }
    text
}

/// The first two words are what scripts look at, so they are knockd's.
fn version() -> String {
    format!(
        "knockd 0.8\nprovided by posternd {}, which reads knockd's configuration\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Most bytes of an interface's name and of a path; the rest is cut without a word, as knockd does.
const LONGEST_INTERFACE: usize = 31;
const LONGEST_PATH: usize = 4095;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    Interface,
    Daemon,
    Config,
    Debug,
    Lookup,
    Pidfile,
    Logfile,
    Verbose,
    OnlyIpv4,
    SaveMem,
    Version,
    Help,
    Convert,
    ControlSocket,
}

struct OptionSpec {
    id: Id,
    short: Option<u8>,
    long: &'static str,
    argument: Option<&'static str>,
    help: &'static str,
}

impl OptionSpec {
    const fn new(
        id: Id,
        short: Option<u8>,
        long: &'static str,
        argument: Option<&'static str>,
        help: &'static str,
    ) -> Self {
        Self { id, short, long, argument, help }
    }

    /// Ours may not be abbreviated: `--con` has always meant `--config`.
    fn is_abbreviated_by(&self, name: &[u8]) -> bool {
        !matches!(self.id, Id::Convert | Id::ControlSocket) && self.long.as_bytes().starts_with(name)
    }
}

/// In the order in which knockd names the possibilities of an ambiguous name.
const FLAGS: [OptionSpec; 14] = [
    OptionSpec::new(Id::Verbose, Some(b'v'), "verbose", None, "print status lines"),
    OptionSpec::new(Id::Debug, Some(b'D'), "debug", None, "print debug lines"),
    OptionSpec::new(Id::Daemon, Some(b'd'), "daemon", None, "run in the background and write the pidfile"),
    OptionSpec::new(Id::Lookup, Some(b'l'), "lookup", None, "name the sources in the log by reverse DNS"),
    OptionSpec::new(Id::Interface, Some(b'i'), "interface", Some("name"), "listen on this interface"),
    OptionSpec::new(
        Id::Config,
        Some(b'c'),
        "config",
        Some("file"),
        "configuration (default /etc/knockd.conf)",
    ),
    OptionSpec::new(Id::Help, Some(b'h'), "help", None, "print this text"),
    OptionSpec::new(
        Id::Pidfile,
        Some(b'p'),
        "pidfile",
        Some("file"),
        "pidfile (default /var/run/knockd.pid)",
    ),
    OptionSpec::new(Id::Logfile, Some(b'g'), "logfile", Some("file"), "log to this file"),
    OptionSpec::new(Id::OnlyIpv4, Some(b'4'), "only-ip-v4", None, "ignore IPv6"),
    OptionSpec::new(Id::SaveMem, Some(b's'), "save-mem", None, "accepted, without effect"),
    OptionSpec::new(Id::Version, Some(b'V'), "version", None, "print the version"),
    OptionSpec::new(Id::Convert, None, "convert", None, "print the configuration in Postern's own form"),
    OptionSpec::new(
        Id::ControlSocket,
        None,
        "control-socket",
        Some("file"),
        "answer `postern status` and the like there",
    ),
];

enum Stop {
    Version,
    Help,
    /// What getopt says, without the program's name.
    Wrong(String),
}

fn read(mut args: impl Iterator<Item = OsString>) -> Result<Options, Stop> {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--" => break,
            [b'-', b'-', long @ ..] => read_long(&mut options, long, &mut args)?,
            [b'-', bundle @ ..] if !bundle.is_empty() => read_bundle(&mut options, bundle, &mut args)?,
            _operand => {}
        }
    }
    Ok(options)
}

/// `--name`, `--name=value`, `--name value`, and names cut short.
fn read_long(
    options: &mut Options,
    written: &[u8],
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<(), Stop> {
    let (name, value) = match written.iter().position(|byte| *byte == b'=') {
        Some(at) => (&written[..at], Some(OsStr::from_bytes(&written[at + 1..]).to_owned())),
        None => (written, None),
    };
    let flag = find_long(name, written)?;
    if flag.argument.is_none() {
        if value.is_some() {
            return Err(Stop::Wrong(format!("option '--{}' doesn't allow an argument", flag.long)));
        }
        return apply(options, flag.id, OsString::new());
    }
    let Some(value) = value.or_else(|| rest.next()) else {
        return Err(Stop::Wrong(format!("option '--{}' requires an argument", flag.long)));
    };
    apply(options, flag.id, value)
}

/// Getopt shows the option as written, value and all, when it cannot tell which one it is.
fn find_long(name: &[u8], written: &[u8]) -> Result<&'static OptionSpec, Stop> {
    if let Some(flag) = FLAGS.iter().find(|flag| flag.long.as_bytes() == name) {
        return Ok(flag);
    }
    let shown = String::from_utf8_lossy(written);
    let candidates: Vec<&OptionSpec> = FLAGS.iter().filter(|flag| flag.is_abbreviated_by(name)).collect();
    match candidates[..] {
        [] => Err(Stop::Wrong(format!("unrecognized option '--{shown}'"))),
        [flag] => Ok(flag),
        _ => {
            let names: Vec<String> = candidates.iter().map(|flag| format!("'--{}'", flag.long)).collect();
            let names = names.join(" ");
            Err(Stop::Wrong(format!("option '--{shown}' is ambiguous; possibilities: {names}")))
        }
    }
}

/// `-vd`, `-ieth0`, `-i eth0`.
fn read_bundle(
    options: &mut Options,
    bundle: &[u8],
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<(), Stop> {
    for (at, short) in bundle.iter().enumerate() {
        let Some(flag) = FLAGS.iter().find(|flag| flag.short == Some(*short)) else {
            let shown = String::from_utf8_lossy(std::slice::from_ref(short));
            return Err(Stop::Wrong(format!("invalid option -- '{shown}'")));
        };
        if flag.argument.is_none() {
            apply(options, flag.id, OsString::new())?;
            continue;
        }
        let glued = &bundle[at + 1..];
        let value = if glued.is_empty() { rest.next() } else { Some(OsStr::from_bytes(glued).to_owned()) };
        let Some(value) = value else {
            let shown = char::from(*short);
            return Err(Stop::Wrong(format!("option requires an argument -- '{shown}'")));
        };
        return apply(options, flag.id, value);
    }
    Ok(())
}

fn apply(options: &mut Options, id: Id, value: OsString) -> Result<(), Stop> {
    match id {
        Id::Interface => options.interface = interface(value.as_bytes()),
        Id::Daemon => options.daemon = true,
        Id::Config => options.config = path(value),
        Id::Debug => options.debug = true,
        Id::Lookup => options.lookup = true,
        Id::Pidfile => options.pidfile = path(value),
        Id::Logfile => options.logfile = Some(path(value)).filter(|path| !path.as_os_str().is_empty()),
        Id::Verbose => options.verbose = true,
        Id::OnlyIpv4 => options.only_ipv4 = true,
        Id::SaveMem => options.save_mem = true,
        Id::Version => return Err(Stop::Version),
        Id::Help => return Err(Stop::Help),
        Id::Convert => options.convert = true,
        Id::ControlSocket => {
            options.control_socket = Some(path(value)).filter(|path| !path.as_os_str().is_empty())
        }
    }
    Ok(())
}

/// An interface's name as knockd keeps it; none if it is empty.
pub(crate) fn interface(written: &[u8]) -> Option<String> {
    let cut = &written[..written.len().min(LONGEST_INTERFACE)];
    (!cut.is_empty()).then(|| String::from_utf8_lossy(cut).into_owned())
}

fn path(written: OsString) -> PathBuf {
    let mut bytes = written.into_vec();
    bytes.truncate(LONGEST_PATH);
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests;
