//! Profile: a knock with a name, and the files that hold them.
//!
//! There are two kinds of file: Postern's own (`profile/own.rs`) and the one of the Python client (`profile/ini.rs`). The
//! ending `.toml` tells which one a file is.

mod home;
mod ini;
mod own;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use home::default_path;

use postern_text::{Mistake, Mistakes};

use crate::payload::Payload;
use crate::read_at_most::read_at_most;
use crate::resolve::AddressFamily;
use crate::step::KnockStep;
use crate::tcp_door::TcpDoor;
use crate::then::Then;
use crate::transport::StepTransport;

/// One knock: where, what, and what comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// A name or an address.
    pub host: String,
    /// What to hit, in order; at least one.
    pub steps: Vec<KnockStep>,
    /// From one hit to the next; at most an hour.
    pub interval: Duration,
    /// Which addresses of the host.
    pub family: AddressFamily,
    /// The address to send from.
    pub source: Option<IpAddr>,
    /// What UDP steps carry.
    pub payload: Payload,
    /// What must be open in the end.
    pub wait: Option<TcpDoor>,
    /// For how long that is waited for, at most an hour; [`DEFAULT_TIMEOUT`](crate::tcp_door::DEFAULT_TIMEOUT) if none.
    pub timeout: Option<Duration>,
    /// What to run in the end.
    pub then: Option<Then>,
}

/// A file of profiles.
#[derive(Debug)]
pub struct ProfileFile {
    path: PathBuf,
    entries: Vec<ProfileEntry>,
    /// Mistakes because of which no profile of the file is used.
    mistakes: Vec<Mistake>,
}

/// One profile of a file, or what is wrong with it.
#[derive(Debug)]
struct ProfileEntry {
    name: String,
    profile: Result<Profile, Vec<Mistake>>,
}

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no profile of this name.
    #[error("{} has no profile `{name}`; {}", path.display(), known(.names))]
    NoProfile {
        /// Which file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        names: Vec<String>,
    },
    /// It has one, with mistakes.
    #[error(transparent)]
    Mistakes(Mistakes),
}

/// Most bytes of a file of profiles.
const MOST_TEXT: usize = 1 << 20;

impl Profile {
    /// A knock with nothing special about it.
    #[must_use]
    pub fn new(host: &str, steps: Vec<KnockStep>) -> Self {
        Self {
            host: host.to_owned(),
            steps,
            interval: Duration::ZERO,
            family: AddressFamily::default(),
            source: None,
            payload: Payload::default(),
            wait: None,
            timeout: None,
            then: None,
        }
    }

    /// Parts that are each allowed, but not together; as pairs of a key and what is wrong.
    #[must_use]
    pub fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let is_other_family = self.source.is_some_and(|source| match self.family {
            AddressFamily::Both => false,
            AddressFamily::V4 => source.is_ipv6(),
            AddressFamily::V6 => source.is_ipv4(),
        });
        if is_other_family {
            found.push(("source", "is not of the family that was asked for".to_owned()));
        }
        let has_udp = self.steps.iter().any(|step| step.transport == StepTransport::Udp);
        if self.payload != Payload::default() && !has_udp {
            found.push(("payload", "no step carries it; only UDP steps do".to_owned()));
        }
        if self.wait.is_none() && self.timeout.is_some() {
            found.push(("timeout", "is for a door, and none is waited for; add wait".to_owned()));
        }
        if self.wait.is_none() && self.then.as_ref().is_some_and(Then::needs_port) {
            found.push(("then", "{port} is the port waited for, and none is; add wait".to_owned()));
        }
        found
    }
}

impl ProfileFile {
    /// Reads a file, whatever it holds.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let bytes = read_at_most(path, MOST_TEXT)
            .and_then(|bytes| bytes.ok_or_else(|| io::Error::other("it is longer than 1 MiB")))
            .map_err(|source| ProfileError::Read { path: path.to_owned(), source })?;
        Ok(Self::parse(path, &String::from_utf8_lossy(&bytes)))
    }

    fn parse(path: &Path, text: &str) -> Self {
        // Some editors begin a file with a mark of its encoding.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let is_own = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
        let (entries, mistakes) = if is_own { own::parse(path, text) } else { ini::parse(path, text) };
        Self { path: path.to_owned(), entries, mistakes }
    }

    /// The names of all profiles, right or wrong, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// All profiles that can be used, by name.
    pub fn profiles(&self) -> impl Iterator<Item = (&str, &Profile)> {
        self.entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.profile.as_ref().ok()?)))
    }

    /// Everything that is wrong in the file.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        let of_profiles = self.entries.iter().filter_map(|entry| entry.profile.as_ref().err()).flatten();
        self.mistakes.iter().chain(of_profiles).cloned().collect()
    }

    /// The profile of this name. A mistake in another profile does not matter.
    ///
    /// # Errors
    /// If there is none, or it has mistakes, or the file cannot be parsed.
    pub fn profile(&self, name: &str) -> Result<&Profile, ProfileError> {
        if !self.mistakes.is_empty() {
            return Err(ProfileError::Mistakes(Mistakes::new(self.mistakes())));
        }
        let entry =
            self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| ProfileError::NoProfile {
                path: self.path.clone(),
                name: name.to_owned(),
                names: self.names().map(str::to_owned).collect(),
            })?;
        entry.profile.as_ref().map_err(|mistakes| ProfileError::Mistakes(Mistakes::new(mistakes.clone())))
    }
}

/// A host's name or address, as far as it can be checked before it is looked up.
pub(crate) fn check_host(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with('-') || text.contains(char::is_whitespace) {
        return Err(format!("`{text}` is not a host; write a name or an address"));
    }
    Ok(text.to_owned())
}

/// An address to send from.
pub(crate) fn check_source(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address of this machine, such as 192.0.2.1"))
}

fn known(names: &[String]) -> String {
    if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) }
}
