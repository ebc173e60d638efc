//! Cli: posternd's command line.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use postern_config::{NotATenant, Trust, tenant_named};
use postern_core::TenantId;

use crate::observe::Format;
use crate::role::Role;
use crate::try_run::time_to_try;

mod rule_args;

pub use rule_args::{BenchArgs, InspectArgs, ModuleArgs, NewArgs, RuleCommand, TestArgs, VerifyArgs};

const DEFAULT_CONFIG: &str = "/etc/postern/postern.toml";

/// Keeps ports closed until a client sends the right knock.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run in the foreground until SIGTERM or SIGINT; SIGHUP reloads.
    Run(RunArgs),
    /// As run, but the guard goes by itself when the time is over, unless it is confirmed: for a machine far away.
    Try(TryArgs),
    /// Read the configuration, load every module, say every mistake, and start nothing.
    Check(CheckArgs),
    /// Look at this machine, and say what would keep the daemon from its work or a client from the door. It changes nothing, sends nothing, and
    /// needs no daemon.
    Doctor(DoctorArgs),
    /// Say what the rules say of each packet of a capture file, in its own time, and open nothing; it takes no root and no daemon.
    Replay(ReplayArgs),
    /// Run /etc/knockd.conf, with knockd's own options; the same when called by the name `knockd`.
    #[command(disable_help_flag = true)]
    Knockd {
        /// As for knockd; -h says them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        options: Vec<OsString>,
    },
    /// Be one of the daemon's own processes; nobody calls this by hand.
    #[command(hide = true)]
    Role {
        /// Which one.
        role: Role,
    },
    /// Write, try and look at rules and their modules: without a daemon, a capture or any right.
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Remove the guard that a stopped daemon left: every port that it guarded is open again.
    Reset(ResetArgs),
}

/// Which configuration's guard to remove.
#[derive(Args, Debug)]
pub struct ResetArgs {
    /// The configuration that the guard was put up for; it need not be there any more.
    #[arg(long, short, default_value = DEFAULT_CONFIG, value_name = "FILE")]
    pub config: PathBuf,
}

/// Which configuration.
#[derive(Args, Debug)]
pub struct FileArgs {
    /// The configuration; rules are in the folder `rules` beside it.
    #[arg(long, short, default_value = DEFAULT_CONFIG, value_name = "FILE")]
    pub config: PathBuf,
    /// Take files that others than root and the daemon's own user can write, postern.toml included.
    #[arg(long)]
    pub no_strict_modes: bool,
}

impl FileArgs {
    /// Which owners' files are accepted.
    #[must_use]
    pub fn trust(&self) -> Trust {
        if self.no_strict_modes { Trust::Anybody } else { Trust::Strict }
    }
}

/// What to check.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Which configuration.
    #[command(flatten)]
    pub file: FileArgs,
    /// Check the rules of this tenant alone, as a user who may read its folder; that takes no root. What it is granted is what the daemon that
    /// runs has written down for it.
    #[arg(long, value_name = "NAME", value_parser = tenant, conflicts_with_all = ["config", "no_strict_modes"])]
    pub tenant: Option<TenantId>,
    /// What the tenant is granted, in place of what the daemon has written down.
    #[arg(long, value_name = "FILE", requires = "tenant")]
    pub grant: Option<PathBuf>,
}

/// For which configuration to look.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Which configuration.
    #[command(flatten)]
    pub file: FileArgs,
    /// Try what other firewalls do with packets of this client: one of them may keep it out and let others in.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// One JSON object a line: look, severity, and what was found with its remedy.
    #[arg(long)]
    pub json: bool,
}

/// What to replay, and with which rules.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// Which configuration.
    #[command(flatten)]
    pub file: FileArgs,
    /// Take the rule files of this folder alone, without a postern.toml: the doors that they name are there, and guard nothing.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub rules: Option<PathBuf>,
    /// The packets, as tcpdump -w or Wireshark saves them; - is standard input.
    #[arg(value_name = "CAPTURE.pcap[ng]")]
    pub capture: PathBuf,
    /// An address of the machine that captured them; may be repeated, or be several with commas between. Without any, every destination counts as
    /// that machine.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub local: Vec<IpAddr>,
    /// The interface that they count as captured on; the first of the configuration if nothing is said.
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Say every packet, also those that no rule asked for, and why.
    #[arg(long)]
    pub all: bool,
    /// One JSON object a line, with the names of the log's.
    #[arg(long)]
    pub json: bool,
    /// Say only where the rules of another postern.toml, or of another folder, tell something else; the exit code is 1 if they do.
    #[arg(long, value_name = "OTHER", conflicts_with_all = ["all", "html"])]
    pub against: Option<PathBuf>,
    /// Write a page that shows it, a lane for each client, and say only what it comes to.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl ReplayArgs {
    /// Of a capture in the folder of a rule, which is its author's: every packet that this rule asked for.
    pub(crate) fn of_rule(capture: PathBuf) -> Self {
        let folder = capture.parent().filter(|folder| !folder.as_os_str().is_empty());
        let rules = Some(folder.unwrap_or_else(|| Path::new(".")).to_owned());
        let file = FileArgs { config: PathBuf::new(), no_strict_modes: true };
        let (local, interface, against, html) = (Vec::new(), None, None, None);
        Self { file, rules, capture, local, interface, all: false, json: false, against, html }
    }
}

fn tenant(name: &str) -> Result<TenantId, NotATenant> {
    tenant_named(name)
}

/// How to try.
#[derive(Args, Debug)]
pub struct TryArgs {
    /// When the guard goes unless it is confirmed; from 1s to 24h.
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = time_to_try)]
    pub lasts: Duration,
    /// As for run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// How to run.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Which configuration.
    #[command(flatten)]
    pub file: FileArgs,
    /// Run everything in this process, with every right that any part of it needs, and not in one for each power.
    #[arg(long)]
    pub one_process: bool,
    /// How log lines look on standard error.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: Format,
    /// Least level of Postern's own log lines: error, warn, info, debug or trace; or a filter as tracing-subscriber takes it, such as
    /// `postern=debug,wasmtime=trace`.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
}
