//! Cli: postern's command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::ArgValueCandidates;
use postern_text::{DurationError, duration};

use crate::complete::profile_names;
use crate::duration::{LONGEST, parse_or_millis};
use crate::profile::check_source;
use crate::resolve::AddressFamily;
use crate::tcp_door::TcpDoor;

/// Knocks at ports, so that a door opens.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Knock at a host.
    Knock(KnockArgs),
    /// List the profiles of a file, and say every mistake in it.
    Profiles(ProfilesArgs),
}

/// Where to knock, and how. What is said here takes precedence over a profile.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    override_usage = "postern knock [OPTIONS] HOST STEP...\n       postern knock [OPTIONS] PROFILE",
    after_help = "A STEP is PORT, PORT:tcp or PORT:udp; a port is a number or a service's name.\n\
                  Exit status: 0 if the knock was sent and the door, if one was waited for, is open; 1 if not; 2 if what \
                  was asked for makes no sense. A profile's `then` command ends with a status of its own."
)]
pub struct KnockArgs {
    /// Name or address; or, without steps, the name of a profile.
    #[arg(required_unless_present = "profile", conflicts_with = "profile", add = ArgValueCandidates::new(profile_names))]
    pub host: Option<String>,
    /// What to hit, in order.
    #[arg(value_name = "STEP", conflicts_with = "profile")]
    pub steps: Vec<String>,
    /// Hit every port by UDP, whatever its step says.
    #[arg(long, short)]
    pub udp: bool,
    /// From one hit to the next, such as 200ms or 1.5s; a number alone is milliseconds, as for `knock`. Kept after the last too,
    /// unless --wait is there.
    #[arg(long, short, value_name = "TIME", value_parser = delay, allow_negative_numbers = true)]
    pub delay: Option<Duration>,
    /// Say each hit.
    #[arg(long, short)]
    pub verbose: bool,
    /// Only IPv4 addresses of the host.
    #[arg(long, short = '4', overrides_with = "ipv6")]
    pub ipv4: bool,
    /// Only IPv6 addresses of the host.
    #[arg(long, short = '6', overrides_with = "ipv4")]
    pub ipv6: bool,
    /// The profile of this name.
    #[arg(long, short = 'l', value_name = "NAME", add = ArgValueCandidates::new(profile_names))]
    pub profile: Option<String>,
    /// Where profiles are.
    #[command(flatten)]
    pub file: FileArgs,
    /// Send from this address of this machine.
    #[arg(long, value_name = "ADDRESS", value_parser = check_source)]
    pub source: Option<IpAddr>,
    /// What UDP steps carry; others on this machine can see it in the list of processes.
    #[arg(long, value_name = "TEXT", conflicts_with = "payload_file")]
    pub payload: Option<String>,
    /// The same, from a file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub payload_file: Option<PathBuf>,
    /// Then wait until this door is open, and say how long it took.
    #[arg(long, value_name = "tcp/PORT", value_parser = TcpDoor::parse)]
    pub wait: Option<TcpDoor>,
    /// How long to wait for it, such as 500ms or 1m30s; default: 5s.
    #[arg(long, value_name = "TIME", value_parser = timeout, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
    /// Leave out the profile's `then` command.
    #[arg(long)]
    pub no_then: bool,
}

/// Which profiles to list.
#[derive(Args, Debug)]
pub struct ProfilesArgs {
    /// Names only, one a line.
    #[arg(long)]
    pub names: bool,
    /// Where profiles are.
    #[command(flatten)]
    pub file: FileArgs,
}

/// Where profiles are.
#[derive(Args, Debug)]
pub struct FileArgs {
    /// File of profiles: Postern's own if it ends in .toml, else python_port_knocker's; default:
    /// postern/profiles.toml in your folder for configuration.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

impl KnockArgs {
    /// The family that was asked for, if one was.
    #[must_use]
    pub const fn family(&self) -> Option<AddressFamily> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(AddressFamily::V4),
            (_, true) => Some(AddressFamily::V6),
            _ => None,
        }
    }
}

fn delay(text: &str) -> Result<Duration, DurationError> {
    parse_or_millis(text, Duration::ZERO..=LONGEST)
}

fn timeout(text: &str) -> Result<Duration, DurationError> {
    duration::parse_within(text, Duration::from_millis(1)..=LONGEST)
}
