//! `postern knock`: knocks, waits for the door, and runs what comes then.

use std::net::SocketAddr;

use anyhow::Context;
use postern_text::{chain, duration, terminal};

use crate::cli::KnockArgs;
use crate::exit::{CommandFailure, Nonsense};
#[cfg(unix)]
use crate::fdpass;
use crate::knock::{Notice, knock};
use crate::payload::Payload;
use crate::plan::plan;
use crate::profile::{Profile, ProfileError, ProfileFile, check_host};
use crate::resolve::resolve;
use crate::step::KnockStep;
use crate::tcp_door::DEFAULT_TIMEOUT;
use crate::then;
use crate::transport::StepTransport;

/// Does all that was asked for. Does not return if the profile's command could be started.
///
/// # Errors
/// If what was asked for makes no sense, or cannot be done.
pub fn run(args: &KnockArgs) -> Result<(), CommandFailure> {
    let profile = asked_for(args)?;
    #[cfg(unix)]
    if args.fdpass && !args.dry_run {
        return knock_and_hand_over(&profile);
    }
    let addresses = resolve(&profile.host, profile.family, profile.source)?;
    if args.dry_run {
        // If standard output is gone there is nobody to tell.
        dry_run(&profile, &addresses, args.leaves_then_out())
            .into_iter()
            .for_each(|line| drop(terminal::out(line)));
        return Ok(());
    }
    let knocked = knock(&profile, &addresses, |notice| {
        if args.verbose {
            say(&notice);
        }
    })?;
    if let Some(door) = &profile.wait {
        let timeout = profile.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let opened = door.wait(&knocked, profile.source, timeout)?;
        // Rounded up: nothing takes no time.
        let millis = opened.after.as_micros().div_ceil(1000);
        // If standard output is gone, the exit code still says it.
        drop(terminal::out(format_args!("open after {millis} ms")));
    }
    match &profile.then {
        Some(then) if !args.leaves_then_out() && !then::is_within() => {
            let argv = then.argv(&profile.host, profile.wait.as_ref().map(|door| door.port));
            let error = then::become_command(&argv);
            Err(error).with_context(|| format!("cannot run `{}`", argv[0])).map_err(CommandFailure::from)
        }
        _ => Ok(()),
    }
}

/// Knocks, connects to the door, and hands the connection to whoever started this. Standard output is for nothing else.
#[cfg(unix)]
fn knock_and_hand_over(profile: &Profile) -> Result<(), CommandFailure> {
    let Some(door) = &profile.wait else {
        let what = "--fdpass: there is no door to connect to; say which by --wait tcp/PORT, or `wait` in the profile";
        return Err(CommandFailure::usage(anyhow::anyhow!(what)));
    };
    if !fdpass::is_possible() {
        let what = "--fdpass: standard output is not a socket that takes a connection; it is for ssh, with \
                    `ProxyUseFdpass yes` beside the ProxyCommand";
        return Err(CommandFailure::usage(anyhow::anyhow!(what)));
    }
    let addresses = resolve(&profile.host, profile.family, profile.source)?;
    let knocked = knock(profile, &addresses, |_| ())?;
    let timeout = profile.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let connection = door.connect(&knocked, profile.source, timeout)?;
    // Whoever waits for a connection has not seen enough if it is gone, as a reader of text has.
    fdpass::hand_over(&connection)
        .map_err(|error| anyhow::anyhow!("cannot hand over the connection: {error}").into())
}

/// What would be done, a line for each packet and each thing after them. Payloads are not shown.
fn dry_run(profile: &Profile, addresses: &[SocketAddr], no_then: bool) -> Vec<String> {
    let from = profile.source.map_or_else(String::new, |source| format!(" from {source}"));
    let hits = plan(addresses, profile.steps.len(), profile.interval).into_iter().map(|hit| {
        let (step, mut to) = (&profile.steps[hit.step], addresses[hit.address]);
        to.set_port(step.port);
        let carries = match (step.transport, profile.payload.bytes().len()) {
            (StepTransport::Tcp, _) => ", a SYN".to_owned(),
            (StepTransport::Udp, 0) => ", empty".to_owned(),
            (StepTransport::Udp, bytes) => format!(", {bytes} bytes"),
        };
        format!("after {}: {} {to}{from}{carries}", duration::show(hit.due), step.transport)
    });
    let mut lines: Vec<_> = hits.collect();
    if let Some(door) = &profile.wait {
        let timeout = duration::show(profile.timeout.unwrap_or(DEFAULT_TIMEOUT));
        lines.push(format!("then: wait for {door}, {timeout} at most"));
    }
    if let Some(then) = profile.then.as_ref().filter(|_| !no_then) {
        lines.push(format!("then: run {}", then.written));
    }
    lines.push("nothing was sent".to_owned());
    lines
}

/// The profile, or what the command line says in place of one; and what it says on top.
fn asked_for(args: &KnockArgs) -> Result<Profile, CommandFailure> {
    let mut profile = match (&args.profile, &args.host) {
        (None, Some(host)) if !args.steps.is_empty() => typed(host, &args.steps)?,
        (Some(name), _) | (None, Some(name)) => from_file(args, name)?,
        (None, None) => return Err(CommandFailure::usage(anyhow::anyhow!("no host"))),
    };
    if args.udp {
        profile.steps = profile.steps.into_iter().map(KnockStep::by_udp).collect();
    }
    profile.interval = args.delay.unwrap_or(profile.interval);
    profile.family = args.family().unwrap_or(profile.family);
    profile.source = args.source.or(profile.source);
    profile.wait = args.wait.clone().or(profile.wait);
    profile.timeout = args.timeout.or(profile.timeout);
    let payload = match (&args.payload, &args.payload_file) {
        (Some(text), _) => Some(Payload::new(text.as_str())),
        (None, Some(path)) => Some(Payload::read(path)),
        (None, None) => None,
    };
    if let Some(payload) = payload {
        profile.payload = payload.map_err(|what| CommandFailure::usage(anyhow::anyhow!(what)))?;
    }
    let contradictions = profile.contradictions().into_iter().map(|(key, what)| format!("{key}: {what}"));
    none(contradictions.collect())?;
    Ok(profile)
}

fn typed(host: &str, steps: &[String]) -> Result<Profile, CommandFailure> {
    let mut mistakes = Vec::new();
    let host = check_host(host).map_err(|what| mistakes.push(what)).unwrap_or_default();
    let steps =
        steps.iter().filter_map(|text| KnockStep::parse(text).map_err(|what| mistakes.push(what)).ok());
    let profile = Profile::new(&host, steps.collect());
    none(mistakes)?;
    Ok(profile)
}

fn from_file(args: &KnockArgs, name: &str) -> Result<Profile, CommandFailure> {
    let path = super::profiles_path(args.file.file.as_ref())?;
    match ProfileFile::read(&path).and_then(|file| file.profile(name).cloned()) {
        Ok(profile) => Ok(profile),
        Err(ProfileError::Mistakes(mistakes)) => Err(CommandFailure::usage(mistakes)),
        // A user who forgot the steps would hear of a profile that they did not mean.
        Err(error) if args.profile.is_none() => {
            let why = chain(&error);
            Err(CommandFailure::usage(anyhow::anyhow!(
                "{why}; to knock at a host, say its steps: postern knock {name} STEP..."
            )))
        }
        Err(error) => Err(CommandFailure::usage(error)),
    }
}

fn none(mistakes: Vec<String>) -> Result<(), CommandFailure> {
    if mistakes.is_empty() { Ok(()) } else { Err(CommandFailure::usage(Nonsense(mistakes))) }
}

fn say(notice: &Notice<'_>) {
    // If standard output is gone, the knock goes on all the same.
    drop(match notice {
        Notice::Hitting(step, ip) => {
            terminal::out(format_args!("hitting {} {ip}:{}", step.transport, step.written))
        }
        Notice::GivenUp(ip, error) => terminal::err(format_args!("postern: gave up {ip}: {error}")),
    });
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use expect_test::expect_file;

    use super::*;
    use crate::cli::{Cli, Command};

    /// What a dry run of this says, if the host has these addresses.
    fn said(line: &str, addresses: &[&str]) -> String {
        let words = shlex::split(line).expect("it is a command line");
        let Ok(Cli { command: Command::Knock(args) }) = Cli::try_parse_from(words) else {
            panic!("{line} is no knock");
        };
        assert!(args.dry_run, "{line}");
        let profile = asked_for(&args).expect("it makes sense");
        let addresses: Vec<_> = addresses
            .iter()
            .map(|address| SocketAddr::new(address.parse().expect("an address"), 0))
            .collect();
        let said = dry_run(&profile, &addresses, args.leaves_then_out());
        let lines = said.iter().map(|said| format!("{}\n", postern_text::line(said)));
        format!("$ {line}\n{}\n", lines.collect::<String>())
    }

    /// `UPDATE_EXPECT=1` writes the file.
    #[test]
    fn what_a_dry_run_says_is_held_by_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("profiles.toml");
        let profile = "[home]\nhost = \"home.example\"\nsteps = [\"7000/udp\", \"8000\"]\nwait = \"tcp/22\"\ntimeout = \"30s\"\n\
                       payload = \"open sesame\"\nthen = \"ssh -p {port} {host}\"\n";
        std::fs::write(&file, profile).expect("it is ours");
        let file = file.display();
        let v4 = &["192.0.2.1"][..];
        let all = [
            said("postern knock --dry-run gate.example 7000:udp 8000 9000:udp", v4),
            said("postern knock --dry-run -d 200 gate.example 7000:udp 8000", &["2001:db8::1", "192.0.2.1"]),
            said("postern knock --dry-run -4 --source 192.0.2.9 -u gate.example 7000 8000 --wait tcp/22", v4),
            said("postern knock --dry-run gate.example 7000:udp --payload-file /dev/null", v4),
            said(&format!("postern knock --dry-run -f {file} home"), v4),
            said(&format!("postern knock --dry-run -f {file} home --no-then"), v4),
        ];
        let all = all.concat().replace(&file.to_string(), "profiles.toml");
        expect_file!["golden/dry-run.txt"].assert_eq(&all);
    }
}
