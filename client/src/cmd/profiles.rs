//! `postern profiles`: lists profiles. Payloads are not shown.

use std::fmt::Display;
use std::io;

use postern_text::{Mistakes, duration, piece, terminal};

use crate::cli::ProfilesArgs;
use crate::exit::CommandFailure;
use crate::profile::{Profile, ProfileError, ProfileFile};

/// Lists the profiles that can be used, or the names of all.
///
/// # Errors
/// If there is a mistake in the file, after the list; or no file, if one was named.
pub fn run(args: &ProfilesArgs) -> Result<(), CommandFailure> {
    let path = super::profiles_path(args.file.file.as_ref())?;
    let file = match ProfileFile::read(&path) {
        Ok(file) => file,
        // A user without a file of their own has no profiles, and made no mistake.
        Err(ProfileError::Read { source, .. })
            if args.file.file.is_none() && source.kind() == io::ErrorKind::NotFound =>
        {
            if !args.names {
                drop(terminal::err(format_args!("postern: no profiles: there is no {}", path.display())));
            }
            return Ok(());
        }
        Err(error) => return Err(CommandFailure::usage(error)),
    };
    if args.names {
        print(file.names());
        return Ok(());
    }
    let names: Vec<_> = file.profiles().map(|(name, _)| piece(name).to_string()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let line = |(name, profile)| format!("{name:width$}  {}", describe(profile));
    print(names.iter().zip(file.profiles().map(|(_, profile)| profile)).map(line));
    match file.mistakes() {
        mistakes if mistakes.is_empty() => Ok(()),
        mistakes => Err(CommandFailure::usage(Mistakes::new(mistakes))),
    }
}

fn print(lines: impl Iterator<Item: Display>) {
    // The reader closed the pipe, and has seen enough.
    lines.for_each(|line| drop(terminal::out(line)));
}

fn describe(profile: &Profile) -> String {
    let mut text = profile.host.clone();
    for step in &profile.steps {
        text += &format!(" {step}");
    }
    if !profile.interval.is_zero() {
        text += &format!(", every {}", duration::show(profile.interval));
    }
    if let Some(door) = &profile.wait {
        text += &format!(", wait for {door}");
    }
    if let Some(then) = &profile.then {
        text += &format!(", then {}", then.written);
    }
    text
}
