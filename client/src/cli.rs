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
    /// Say how the daemon of this machine is.
    #[cfg(unix)]
    Status(StatusArgs),
    /// List the doors that are open, and for whom.
    #[cfg(unix)]
    Doors(DoorsArgs),
    /// List the rules, and what has become of each.
    #[cfg(unix)]
    Rules(RulesArgs),
    /// List half-finished knocks.
    #[cfg(unix)]
    Clients(ClientsArgs),
    /// Say why an address did not get in.
    #[cfg(unix)]
    Explain(ExplainArgs),
    /// Say what the daemon reports, as it happens.
    #[cfg(unix)]
    Tail(TailArgs),
    /// Open a door by hand.
    #[cfg(unix)]
    Open(OpenArgs),
    /// Close a door by hand.
    #[cfg(unix)]
    Close(CloseArgs),
    /// Have the daemon read its configuration again.
    #[cfg(unix)]
    Reload(ReloadArgs),
    /// Keep what `posternd try` has put in place.
    #[cfg(unix)]
    Confirm(AskArgs),
}

/// Which daemon is asked, and how the answer looks.
#[cfg(unix)]
#[derive(Args, Debug)]
#[command(after_help = ASK_EXITS)]
pub struct AskArgs {
    /// The daemon's control socket; default: $POSTERN_SOCKET, or /run/postern/control.sock.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
    /// The answer as JSON: one object, or one in each line.
    #[arg(long)]
    pub json: bool,
}

#[cfg(unix)]
const ASK_EXITS: &str = "Exit status: 0 if all is well; 1 if something is missing, refused or not there; 2 if what was asked for makes no \
                         sense; 3 if no daemon answers; 4 if this user may not ask that.";

/// Whose rules the daemon is asked about.
#[cfg(unix)]
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// As this tenant sees it.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Which openings to list.
#[cfg(unix)]
#[derive(Args, Debug)]
pub struct DoorsArgs {
    /// Of this door.
    pub door: Option<String>,
    /// Opened by rules of this tenant.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// List them again each second.
    #[arg(long)]
    pub watch: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Which rules to list.
#[cfg(unix)]
#[derive(Args, Debug)]
pub struct RulesArgs {
    /// Of this tenant.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Whose half-finished knocks to list.
#[cfg(unix)]
#[derive(Args, Debug)]
pub struct ClientsArgs {
    /// Of this address.
    pub address: Option<IpAddr>,
    /// At rules of this tenant.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Whose failed knock to explain.
#[cfg(unix)]
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The client's address.
    pub address: IpAddr,
    /// Say what comes from it from now on, also to ports that no rule watches.
    #[arg(long)]
    pub follow: bool,
    /// As this tenant sees it.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Which reports to say.
#[cfg(unix)]
#[derive(Args, Debug)]
pub struct TailArgs {
    /// Of this tenant.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// Of the rule with this name.
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
    /// About this address, or one of this network.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,
    /// Of this kind, as the log calls it in `event`; may be given several times.
    #[arg(long = "kind", value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What to open by hand.
#[cfg(unix)]
#[derive(Args, Debug)]
pub struct OpenArgs {
    /// The door.
    pub door: String,
    /// For whom: an address or a network.
    pub client: String,
    /// For how long, such as 30m; default: as long as the door says.
    #[arg(long = "for", value_name = "TIME", value_parser = opening)]
    pub lasts: Option<Duration>,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// What to close by hand.
#[cfg(unix)]
#[derive(Args, Debug)]
pub struct CloseArgs {
    /// The door.
    pub door: String,
    /// For whom it is open, as `postern doors` says it.
    pub client: String,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// How to reload.
#[cfg(unix)]
#[derive(Args, Debug)]
pub struct ReloadArgs {
    /// Wait until the configuration is in force, or say what is wrong with it.
    #[arg(long)]
    pub wait: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub ask: AskArgs,
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
    /// Then connect to that door and hand the connection to ssh, for its `ProxyUseFdpass yes`; without the profile's `then`.
    #[cfg(unix)]
    #[arg(long, conflicts_with = "verbose")]
    pub fdpass: bool,
    /// Leave out the profile's `then` command.
    #[arg(long)]
    pub no_then: bool,
    /// Say what would be sent where and when, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
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

    /// Whether the profile's `then` command is not run.
    #[must_use]
    pub const fn leaves_then_out(&self) -> bool {
        #[cfg(unix)]
        let is_handed_over = self.fdpass;
        #[cfg(not(unix))]
        let is_handed_over = false;
        self.no_then || is_handed_over
    }
}

fn delay(text: &str) -> Result<Duration, DurationError> {
    parse_or_millis(text, Duration::ZERO..=LONGEST)
}

#[cfg(unix)]
fn opening(text: &str) -> Result<Duration, DurationError> {
    // The daemon knows how long a door may be open.
    duration::parse_within(text, Duration::from_millis(1)..=Duration::from_hours(24 * 3650))
}

fn timeout(text: &str) -> Result<Duration, DurationError> {
    duration::parse_within(text, Duration::from_millis(1)..=LONGEST)
}
